//! Migrations in a simulated world, with faults, and what must hold whatever happens.
//!
//! A world has an agent and some providers. Messages take time and may be lost,
//! late or doubled; a party may crash before and after each of its actions (messages,
//! journal writes, effects), loses all but its journal and its monitor then, and
//! starts again some time later. From one seed follows one course of events.
//!
//! ```
//! use vmmp::simulator::{Faults, World};
//!
//! let outcome = World::new(3, 1, Faults::Random { seed: 7, per_thousand: 20 }).run();
//! assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
//! ```

mod fault;
mod node;
mod random;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

pub use fault::{Fault, Faults};

use crate::action::{Action, Effect, Outcome, Party};
use crate::agent::News;
use crate::message::Message;
use crate::name::{MachineId, MethodName, MigrationId, PeerName, Ticket};
use crate::timing::{Moment, Timing};

use fault::Injector;
use node::{Node, Role};
use random::Random;

/// After this, no faults happen any more, and everything must come right.
const PEACE: Moment = Duration::from_secs(400);

/// A world that is not at rest by then never will be.
const END: Moment = Duration::from_secs(2000);

/// How many migrations each machine makes.
const ROUNDS: usize = 3;

/// What was not as it must be, with the course of events that led to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at {at:?}, with {faults:?}\n{}", .events.join("\n"))]
pub struct Violation {
    /// What.
    pub what: String,
    /// When.
    pub at: Moment,
    /// With which faults.
    pub faults: Faults,
    /// The last events before it.
    pub events: Vec<String>,
}

/// What a run has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Places where a fault could have been.
    pub steps: u64,
    /// Faults that there were.
    pub faults: u64,
    /// Migrations that have succeeded.
    pub succeeded: u64,
    /// Migrations that have failed.
    pub failed: u64,
}

/// A simulated world.
pub struct World {
    now: Moment,
    events: BinaryHeap<Reverse<(Moment, u64)>>,
    what: BTreeMap<u64, Event>,
    number: u64,
    nodes: Vec<Node>,
    injector: Injector,
    random: Random,
    machines: Vec<MachineId>,
    rounds: BTreeMap<MachineId, usize>,
    tickets: u64,
    summary: Summary,
    log: Vec<String>,
    is_peace: bool,
}

#[derive(Debug)]
enum Event {
    Deliver { from: usize, to: usize, message: Message },
    Done { node: usize, epoch: u64, effect: Effect },
    Tick { node: usize },
    Restart { node: usize },
    Migrate { machine: MachineId },
    Cancel { id: MigrationId },
    Peace,
}

impl World {
    /// An agent, `providers` providers, and `machines` machines at the first of them.
    pub fn new(providers: usize, machines: usize, faults: Faults) -> Self {
        let seed = match faults {
            Faults::Random { seed, .. } => seed,
            _ => 1,
        };
        let timing = Timing::default();
        let machine = |i| MachineId::new(&format!("vm-{i}")).expect("letters and digits are a name");
        let machines: Vec<MachineId> = (0..machines).map(machine).collect();
        let nodes = (0..=providers).map(|i| Node::new(i, timing)).collect();
        let mut world = Self {
            now: Moment::ZERO,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            number: 0,
            nodes,
            injector: Injector::new(faults),
            random: Random::new(seed),
            rounds: BTreeMap::new(),
            machines: machines.clone(),
            tickets: 0,
            summary: Summary::default(),
            log: Vec::new(),
            is_peace: false,
        };
        for machine in machines {
            world.nodes[1].monitor.make(&machine);
            let provider = world.nodes[1].provider_mut().expect("it has just begun");
            let actions = provider.add(machine.clone(), 1);
            let agent = world.nodes[0].agent_mut().expect("it has just begun");
            let mut placed = Vec::new();
            agent.place(machine.clone(), node::name(1), 1, &mut placed);
            // Before anything can go wrong.
            world.nodes[1].keep(&actions);
            world.nodes[0].keep(&placed);
            world.at(Duration::from_millis(1), Event::Migrate { machine });
        }
        world.at(PEACE, Event::Peace);
        world
    }

    /// Lets it run until it is at rest.
    ///
    /// # Errors
    /// Something was not as it must be.
    pub fn run(mut self) -> Result<Summary, Box<Violation>> {
        while let Some(Reverse((at, number))) = self.events.pop() {
            let Some(event) = self.what.remove(&number) else { continue };
            self.now = at;
            if self.now > END {
                return Err(self.violation("the world does not come to rest"));
            }
            self.happen(event);
            self.check_at_any_time()?;
        }
        self.check_at_rest()?;
        self.summary.steps = self.injector.steps();
        self.summary.faults = self.injector.count();
        Ok(self.summary)
    }

    fn at(&mut self, at: Moment, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number)));
        self.what.insert(self.number, event);
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.injector.is_noting() {
            let text = format!("{:>10.3} {}", self.now.as_secs_f64(), text());
            self.log.push(text);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => {
                self.note(|| format!("{} -> {}: {message:?}", node::name(from), node::name(to)));
                self.tickets += 1;
                let (now, ticket) = (self.now, Ticket(self.tickets));
                let party = if from == 0 { Party::Agent } else { Party::Peer(node::name(from)) };
                let actions = self.nodes[to].message(now, &party, &message, ticket);
                self.carry_out(to, actions);
            }
            Event::Done { node, epoch, effect } => {
                // At a crash it was decided what had been done of it, and others have
                // put an end to it.
                let found = self.nodes[node].pending.iter().position(|pending| *pending == effect);
                if let Some(at) = found.filter(|_| self.nodes[node].epoch == epoch) {
                    self.nodes[node].pending.remove(at);
                    let outcome = self.finish(node, &effect);
                    self.note(|| format!("{}: {effect:?}: {outcome:?}", node::name(node)));
                    let now = self.now;
                    if let (Some(id), Some(outcome), Some(provider)) =
                        (effect.awaited(), outcome, self.nodes[node].provider_mut())
                    {
                        let actions = provider.outcome(now, id, outcome);
                        self.carry_out(node, actions);
                    }
                }
            }
            Event::Tick { node } => {
                let actions = self.nodes[node].tick(self.now);
                self.carry_out(node, actions);
            }
            Event::Restart { node } => {
                let actions = self.nodes[node].restart(self.now);
                self.note(|| format!("{} is up again", node::name(node)));
                self.carry_out(node, actions);
            }
            Event::Migrate { machine } => self.migrate(&machine),
            Event::Cancel { id } => {
                let mut actions = Vec::new();
                let now = self.now;
                if let Some(agent) = self.nodes[0].agent_mut() {
                    agent.cancel(now, id, "the user has cancelled it", &mut actions);
                }
                self.carry_out(0, actions);
            }
            Event::Peace => {
                self.is_peace = true;
                self.injector.end();
                // One more migration of each machine must work now.
                for machine in self.machines.clone() {
                    self.rounds.insert(machine.clone(), ROUNDS);
                    let at = self.now + Duration::from_secs(200);
                    self.at(at, Event::Migrate { machine });
                }
            }
        }
    }

    /// Sends a machine to another provider, if the agent can be asked now.
    fn migrate(&mut self, machine: &MachineId) {
        let round = self.rounds.entry(machine.clone()).or_default();
        *round += 1;
        if *round <= ROUNDS {
            // Again later, whatever becomes of this one.
            let at = self.now + Duration::from_secs(60 + self.random.below(60));
            self.at(at, Event::Migrate { machine: machine.clone() });
        }
        let to = 1 + self.random.below(self.nodes.len() as u64 - 1) as usize;
        self.tickets += 1;
        let id = MigrationId(self.tickets);
        if !self.is_peace && self.random.below(8) == 0 {
            let at = self.now + Duration::from_millis(self.random.below(3000));
            self.at(at, Event::Cancel { id });
        }
        let method = MethodName::new("DELTA").expect("capital letters are a method's name");
        let (now, mut actions) = (self.now, Vec::new());
        if let Some(agent) = self.nodes[0].agent_mut() {
            // A machine that is there already, or under way, is no fault.
            let _ = agent.migrate(now, id, machine, &node::name(to), &method, &mut actions);
        }
        self.carry_out(0, actions);
    }

    /// Carries actions out in order, until a crash.
    fn carry_out(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            let fault = self.injector.next(matches!(action, Action::Send { .. }), &mut self.random);
            if fault == Some(Fault::CrashBefore) {
                return self.crash(node);
            }
            self.note(|| format!("{} does {action:?} ({fault:?})", node::name(node)));
            match action {
                Action::Send { to, message } => self.send(node, &to, message, fault),
                Action::Journal(record) => self.nodes[node].journal.push(record),
                Action::Effect(effect) if effect.awaited().is_some() => {
                    self.nodes[node].pending.push(effect.clone());
                    let epoch = self.nodes[node].epoch;
                    let at = self.now + Duration::from_millis(1 + self.random.below(2000));
                    self.at(at, Event::Done { node, epoch, effect });
                }
                Action::Effect(effect) => {
                    self.finish(node, &effect);
                }
            }
            if fault == Some(Fault::CrashAfter) {
                return self.crash(node);
            }
        }
        if let Some(agent) = self.nodes[node].agent_mut() {
            for news in agent.news() {
                if let News::Ended { result, .. } = news {
                    match result {
                        Ok(_) => self.summary.succeeded += 1,
                        Err(_) => self.summary.failed += 1,
                    }
                }
            }
        }
        if self.random.below(16) == 0 {
            self.nodes[node].compact();
        }
        if let Some(at) = self.nodes[node].next_tick() {
            let at = at.max(self.now);
            // Earlier ones that are still to come do no harm.
            if self.nodes[node].ticks_at.is_none_or(|planned| at < planned || planned <= self.now) {
                self.nodes[node].ticks_at = Some(at);
                self.at(at, Event::Tick { node });
            }
        }
    }

    fn send(&mut self, from: usize, to: &Party, message: Message, fault: Option<Fault>) {
        let to = match to {
            Party::Agent => 0,
            Party::Peer(name) => node::number(name),
        };
        let soon = Duration::from_millis(1 + self.random.below(50));
        // As long as a cut may last.
        let late = Duration::from_millis(self.random.below(100_000));
        let delays: &[Duration] = match fault {
            Some(Fault::Lose) => &[],
            Some(Fault::Delay) => &[late],
            Some(Fault::Double) => &[soon, late],
            _ => &[soon],
        };
        for delay in delays {
            self.at(self.now + *delay, Event::Deliver { from, to, message: message.clone() });
        }
    }

    fn crash(&mut self, node: usize) {
        self.note(|| format!("{} crashes", node::name(node)));
        // What was under way may have been done, or not.
        for effect in std::mem::take(&mut self.nodes[node].pending) {
            if self.random.below(2) == 0 {
                self.finish(node, &effect);
            }
        }
        self.nodes[node].crash();
        let at = self.now + Duration::from_millis(10 + self.random.below(60_000));
        self.at(at, Event::Restart { node });
    }

    /// Does what an effect is; the outcome of one that is awaited.
    fn finish(&mut self, node: usize, effect: &Effect) -> Option<Outcome> {
        let is_unlucky = !self.is_peace && self.injector.is_random() && self.random.below(50) == 0;
        let unlucky = || Err("the monitor has failed".to_owned());
        let origin_has = match effect {
            Effect::Fetch { origin, machine, .. } => {
                let origin = &self.nodes[node::number(origin)];
                origin.is_up() && origin.monitor.is_held(machine)
            }
            _ => false,
        };
        self.nodes[node].pending.retain(|pending| !node::ends(effect, pending));
        let monitor = &mut self.nodes[node].monitor;
        Some(match effect {
            Effect::Hold { .. } if is_unlucky => Outcome::Held(unlucky()),
            Effect::Hold { machine, .. } => Outcome::Held(monitor.hold(machine)),
            Effect::HandOver { .. } if is_unlucky => Outcome::HandedOver(unlucky()),
            Effect::HandOver { machine, .. } => Outcome::HandedOver(monitor.hand_over(machine)),
            Effect::Fetch { .. } if is_unlucky => Outcome::Fetched(unlucky()),
            Effect::Fetch { id, .. } if origin_has => {
                monitor.copies.insert(*id);
                Outcome::Fetched(Ok(()))
            }
            Effect::Fetch { .. } => Outcome::Fetched(Err("the origin can't be reached".to_owned())),
            Effect::Complete { .. } if is_unlucky => Outcome::Completed(unlucky()),
            Effect::Complete { id, .. } => Outcome::Completed(match monitor.copies.contains(id) {
                true => Ok(()),
                false => Err("it is not here".to_owned()),
            }),
            Effect::Restore { machine } => {
                monitor.restore(machine);
                return None;
            }
            Effect::Forget { machine } => {
                monitor.forget(machine);
                return None;
            }
            Effect::Discard { id, .. } => {
                monitor.copies.remove(id);
                return None;
            }
            Effect::Own { id, machine, .. } => {
                if monitor.copies.remove(id) {
                    monitor.make(machine);
                }
                return None;
            }
        })
    }

    fn violation(&self, what: impl Into<String>) -> Box<Violation> {
        let events = self.log[self.log.len().saturating_sub(200)..].to_vec();
        Box::new(Violation { what: what.into(), at: self.now, faults: self.injector.faults(), events })
    }

    /// No machine can run at two places.
    fn check_at_any_time(&self) -> Result<(), Box<Violation>> {
        for machine in &self.machines {
            let places = self.nodes.iter().filter(|node| node.monitor.can_run(machine)).count();
            if places > 1 {
                return Err(self.violation(format!("{machine} can run at {places} places")));
            }
        }
        Ok(())
    }

    /// Every machine can run at one place, everybody agrees, and nothing is left over.
    fn check_at_rest(&self) -> Result<(), Box<Violation>> {
        for machine in &self.machines {
            let runs: Vec<&Node> = self.nodes.iter().filter(|node| node.monitor.can_run(machine)).collect();
            let [place] = runs[..] else {
                return Err(self.violation(format!("{machine} can run at {} places", runs.len())));
            };
            let Role::Provider(provider) = &place.role else {
                return Err(self.violation(format!("{} is down", place.name)));
            };
            let Role::Agent(agent) = &self.nodes[0].role else {
                return Err(self.violation("the agent is down"));
            };
            let known = agent.places().get(machine);
            let held = provider.holdings().get(machine);
            if known.map(|(name, version)| (name, version)) != held.map(|version| (&place.name, version)) {
                return Err(self.violation(format!(
                    "{machine} runs at {} as version {held:?}, and the agent believes {known:?}",
                    place.name
                )));
            }
        }
        for node in &self.nodes {
            if !node.is_idle() || node.monitor.has_leftovers() {
                return Err(self.violation(format!("{} has something left over: {node:?}", node.name)));
            }
            let extra = node.provider().map_or(0, |provider| {
                provider.holdings().keys().filter(|machine| !node.monitor.can_run(machine)).count()
            });
            if extra > 0 {
                return Err(self.violation(format!("{} believes to hold {extra} machines more", node.name)));
            }
        }
        Ok(())
    }
}
