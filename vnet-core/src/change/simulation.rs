//! Frames under way while a topology changes, at every moment and at every speed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::generate::VmSpec;
use crate::link::LinkId;
use crate::mac::MacAddr;
use crate::name::{HostName, InterfaceName};
use crate::network::RuleVersion;
use crate::route::{Port, resolve};
use crate::rule::Rule;
use crate::topology::Topology;

use super::{Plan, Stage};

/// One thing that happens at once.
#[derive(Clone, Debug)]
pub(super) enum Event {
    LinkUp(LinkId),
    LinkDown(LinkId),
    Prepare(HostName, RuleVersion, BTreeSet<Rule>),
    Commit(HostName, RuleVersion),
    Retire(HostName, RuleVersion),
    AddRule(HostName, RuleVersion, Rule),
    DeleteRule(HostName, RuleVersion, Rule),
    /// Frames that have entered before are at their destinations.
    Drained,
}

/// The events of a plan; `shuffle` puts those of each stage in any order.
pub(super) fn events(plan: &Plan, mut shuffle: impl FnMut(&mut Vec<Event>)) -> Vec<Event> {
    let mut all = Vec::new();
    for stage in &plan.stages {
        let mut events: Vec<Event> = match stage {
            Stage::LinksUp { links } => links.iter().map(|link| Event::LinkUp(link.id())).collect(),
            Stage::LinksReplaced { links } => {
                let ids = links.iter().map(|link| link.new.id());
                ids.flat_map(|id| [Event::LinkDown(id.clone()), Event::LinkUp(id)]).collect()
            }
            Stage::PrepareRules { version, rules } => rules
                .iter()
                .map(|(host, rules)| Event::Prepare(host.clone(), *version, rules.clone()))
                .collect(),
            Stage::CommitRules { version, hosts } => {
                hosts.iter().map(|host| Event::Commit(host.clone(), *version)).collect()
            }
            Stage::Drain => vec![Event::Drained],
            Stage::RetireRules { version, hosts } => {
                hosts.iter().map(|host| Event::Retire(host.clone(), *version)).collect()
            }
            Stage::LinksDown { links } => links.iter().cloned().map(Event::LinkDown).collect(),
        };
        if !matches!(stage, Stage::LinksReplaced { .. }) {
            shuffle(&mut events);
        }
        all.extend(events);
    }
    all
}

/// All daemons at one moment.
#[derive(Clone, Debug)]
struct State {
    links: BTreeSet<LinkId>,
    rules: BTreeMap<(HostName, RuleVersion), BTreeSet<Rule>>,
    stamps: BTreeMap<HostName, RuleVersion>,
}

impl State {
    fn of(topology: &Topology, hosts: &BTreeSet<HostName>, version: RuleVersion) -> Self {
        let rules_of = |host: &HostName| topology.rules_of(host).cloned().collect();
        Self {
            links: topology.links.keys().cloned().collect(),
            rules: hosts.iter().map(|host| ((host.clone(), version), rules_of(host))).collect(),
            stamps: hosts.iter().map(|host| (host.clone(), version)).collect(),
        }
    }

    fn apply(&mut self, event: &Event) {
        match event.clone() {
            Event::LinkUp(link) => drop(self.links.insert(link)),
            Event::LinkDown(link) => drop(self.links.remove(&link)),
            Event::Prepare(host, version, rules) => drop(self.rules.insert((host, version), rules)),
            Event::Commit(host, version) => drop(self.stamps.insert(host, version)),
            Event::Retire(host, version) => drop(self.rules.remove(&(host, version))),
            Event::AddRule(host, version, rule) => {
                self.rules.entry((host, version)).or_default().insert(rule);
            }
            Event::DeleteRule(host, version, rule) => {
                self.rules.entry((host, version)).or_default().remove(&rule);
            }
            Event::Drained => {}
        }
    }
}

type Deliveries = BTreeMap<(HostName, InterfaceName), u64>;

/// Sends a frame from each VM to each other and to all, before the first
/// event, between any two and after the last; and lets each copy of it reach
/// its next daemon after any number of further events. Says which frame was
/// lost or duplicated.
pub(super) fn check(
    before: &Topology,
    hosts: &BTreeSet<HostName>,
    version: RuleVersion,
    events: &[Event],
    vms: &[VmSpec],
) -> Result<(), String> {
    let mut states = vec![State::of(before, hosts, version)];
    for event in events {
        let mut state = states[states.len() - 1].clone();
        state.apply(event);
        states.push(state);
    }
    for sender in vms {
        let destinations = vms.iter().filter(|vm| *vm != sender).map(|vm| vm.mac);
        for destination in destinations.chain([MacAddr::BROADCAST]) {
            let receives =
                |vm: &&VmSpec| *vm != sender && (destination.is_broadcast() || destination == vm.mac);
            let expected: Deliveries =
                vms.iter().filter(receives).map(|vm| ((vm.host.clone(), vm.interface.clone()), 1)).collect();
            let mut flight =
                Flight { states: &states, events, source: sender.mac, destination, known: HashMap::new() };
            for (start, state) in states.iter().enumerate() {
                let stamp = state.stamps[&sender.host];
                let arrival = Arrival {
                    host: sender.host.clone(),
                    ingress: Port::Interface(sender.interface.clone()),
                    stamp,
                    links_left: 20,
                };
                let end = (start..events.len())
                    .find(|i| matches!(events[*i], Event::Drained))
                    .unwrap_or(events.len());
                let what = || format!("frame {} -> {destination} sent before event {start}", sender.mac);
                let deliveries =
                    flight.deliveries(&arrival, start, end).map_err(|e| format!("{}: {e}", what()))?;
                if deliveries != expected {
                    return Err(format!("{}: {deliveries:?} instead of {expected:?}", what()));
                }
            }
        }
    }
    Ok(())
}

/// A copy of a frame that reaches a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Arrival {
    host: HostName,
    ingress: Port,
    stamp: RuleVersion,
    links_left: u8,
}

struct Flight<'a> {
    states: &'a [State],
    events: &'a [Event],
    source: MacAddr,
    destination: MacAddr,
    known: HashMap<(Arrival, usize, usize), Result<Deliveries, String>>,
}

impl Flight<'_> {
    /// Where the copies of a frame end that reaches a daemon at `start` or
    /// later, if that doesn't depend on when.
    fn deliveries(&mut self, arrival: &Arrival, start: usize, end: usize) -> Result<Deliveries, String> {
        let key = (arrival.clone(), start, end);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let now = self.deliveries_at(arrival, start, end);
        let deliveries = if start == end || now.is_err() {
            now
        } else {
            match self.deliveries(arrival, start + 1, end) {
                Ok(later) if Ok(&later) != now.as_ref() => {
                    Err(format!("{now:?}, but {later:?} after {:?}", self.events[start]))
                }
                later => later,
            }
        };
        self.known.insert(key, deliveries.clone());
        deliveries
    }

    fn deliveries_at(&mut self, arrival: &Arrival, moment: usize, end: usize) -> Result<Deliveries, String> {
        let state = &self.states[moment];
        let Arrival { host, ingress, stamp, links_left } = arrival;
        let Some(rules) = state.rules.get(&(host.clone(), *stamp)) else {
            return Err(format!("{host} has no rules {stamp:?} before event {moment}"));
        };
        let mut deliveries = Deliveries::new();
        for output in resolve(rules, ingress, self.source, self.destination).outputs {
            let peer = match output {
                Port::Interface(interface) => {
                    *deliveries.entry((host.clone(), interface)).or_default() += 1;
                    continue;
                }
                Port::Link(peer) => peer,
            };
            if *links_left == 0 || !state.links.contains(&LinkId::new(host, &peer)) {
                return Err(format!("{host} can't send to {peer} before event {moment}"));
            }
            let next = Arrival {
                host: peer,
                ingress: Port::Link(host.clone()),
                stamp: *stamp,
                links_left: links_left - 1,
            };
            for (port, copies) in self.deliveries(&next, moment, end)? {
                *deliveries.entry(port).or_default() += copies;
            }
        }
        Ok(deliveries)
    }
}
