//! A party in the simulated world: its state, its journal, its monitor.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Effect, MachineId, Message, MigrationId, Moment, Party, PeerName, Ticket, Timing};
use crate::agent::Agent;
use crate::provider::Provider;
use crate::record::{self, Record};

/// A party; number 0 is the agent.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: PeerName,
    timing: Timing,
    is_agent: bool,
    pub(super) role: Role,
    pub(super) journal: Vec<Record>,
    pub(super) monitor: Monitor,
    /// Grows with every crash.
    pub(super) epoch: u64,
    /// Effects that were begun.
    pub(super) pending: Vec<Effect>,
    pub(super) ticks_at: Option<Moment>,
}

#[derive(Debug)]
pub(super) enum Role {
    Down,
    Agent(Box<Agent>),
    Provider(Box<Provider>),
}

/// The monitor of a provider, which survives crashes of the provider.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    machines: BTreeMap<MachineId, State>,
    /// Data of machines that are being fetched.
    pub(super) copies: BTreeSet<MigrationId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    Held,
    Departed,
}

pub(super) fn name(number: usize) -> PeerName {
    PeerName::new(&format!("p{number}")).expect("a letter and digits are a name")
}

pub(super) fn number(name: &PeerName) -> usize {
    name.as_str()[1..].parse().expect("names of this world are a letter and a number")
}

/// Does carrying out the one put an end to the other, which is under way?
pub(super) fn ends(effect: &Effect, other: &Effect) -> bool {
    match (effect, other) {
        (Effect::Restore { machine }, Effect::Hold { machine: held, .. }) => machine == held,
        (
            Effect::Discard { id, .. },
            Effect::Fetch { id: other, .. } | Effect::Complete { id: other, .. },
        ) => id == other,
        _ => false,
    }
}

impl Node {
    pub(super) fn new(number: usize, timing: Timing) -> Self {
        let mut node = Self {
            name: name(number),
            timing,
            is_agent: number == 0,
            role: Role::Down,
            journal: Vec::new(),
            monitor: Monitor::default(),
            epoch: 0,
            pending: Vec::new(),
            ticks_at: None,
        };
        node.restart(Moment::ZERO);
        node
    }

    pub(super) fn is_up(&self) -> bool {
        !matches!(self.role, Role::Down)
    }

    pub(super) fn agent_mut(&mut self) -> Option<&mut Agent> {
        match &mut self.role {
            Role::Agent(agent) => Some(agent),
            _ => None,
        }
    }

    pub(super) fn provider(&self) -> Option<&Provider> {
        match &self.role {
            Role::Provider(provider) => Some(provider),
            _ => None,
        }
    }

    pub(super) fn provider_mut(&mut self) -> Option<&mut Provider> {
        match &mut self.role {
            Role::Provider(provider) => Some(provider),
            _ => None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        match &self.role {
            Role::Down => false,
            Role::Agent(agent) => agent.is_idle(),
            Role::Provider(provider) => provider.is_idle(),
        }
    }

    pub(super) fn crash(&mut self) {
        self.role = Role::Down;
        self.epoch += 1;
        self.ticks_at = None;
    }

    /// Starts with what the journal holds.
    pub(super) fn restart(&mut self, now: Moment) -> Vec<Action> {
        // Through the form that it has on disk.
        let mut bytes = record::HEADER.to_vec();
        bytes.extend(self.journal.iter().flat_map(Record::to_bytes));
        let (records, _) = record::read(&bytes).expect("what was written can be read");
        if self.is_agent {
            let mut agent = Agent::new(self.timing);
            records.iter().for_each(|record| agent.replay(record));
            let mut actions = Vec::new();
            agent.recover(now, &mut actions);
            self.role = Role::Agent(Box::new(agent));
            return actions;
        }
        let (provider, actions) = Provider::restore(self.timing, &records, now);
        self.role = Role::Provider(Box::new(provider));
        actions
    }

    pub(super) fn message(
        &mut self,
        now: Moment,
        from: &Party,
        message: &Message,
        ticket: Ticket,
    ) -> Vec<Action> {
        match (&mut self.role, from) {
            (Role::Agent(agent), Party::Peer(from)) => {
                let mut actions = Vec::new();
                agent.message(now, from, message, &mut actions);
                actions
            }
            (Role::Provider(provider), _) => provider.message(now, from, message, ticket),
            _ => Vec::new(),
        }
    }

    pub(super) fn tick(&mut self, now: Moment) -> Vec<Action> {
        match &mut self.role {
            Role::Down => Vec::new(),
            Role::Agent(agent) => {
                let mut actions = Vec::new();
                agent.tick(now, &mut actions);
                actions
            }
            Role::Provider(provider) => provider.tick(now),
        }
    }

    pub(super) fn next_tick(&self) -> Option<Moment> {
        match &self.role {
            Role::Down => None,
            Role::Agent(agent) => agent.next_tick(),
            Role::Provider(provider) => provider.next_tick(),
        }
    }

    /// Writes the journal anew, with what is still of use.
    pub(super) fn compact(&mut self) {
        match &self.role {
            Role::Down => {}
            Role::Agent(agent) => self.journal = agent.records(),
            Role::Provider(provider) => self.journal = provider.records(),
        }
    }

    /// Carries out actions that are records only.
    pub(super) fn keep(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Journal(record) = action {
                self.journal.push(record.clone());
            }
        }
    }
}

impl Monitor {
    pub(super) fn make(&mut self, machine: &MachineId) {
        self.machines.entry(machine.clone()).or_insert(State::Runs);
    }

    pub(super) fn can_run(&self, machine: &MachineId) -> bool {
        matches!(self.machines.get(machine), Some(State::Runs | State::Held))
    }

    pub(super) fn is_held(&self, machine: &MachineId) -> bool {
        self.machines.get(machine) == Some(&State::Held)
    }

    pub(super) fn hold(&mut self, machine: &MachineId) -> Result<(), String> {
        self.change(machine, |state| state != State::Departed, State::Held)
    }

    pub(super) fn hand_over(&mut self, machine: &MachineId) -> Result<(), String> {
        self.change(machine, |state| state == State::Held, State::Departed)
    }

    fn change(&mut self, machine: &MachineId, from: impl Fn(State) -> bool, to: State) -> Result<(), String> {
        match self.machines.get_mut(machine) {
            Some(state) if from(*state) => {
                *state = to;
                Ok(())
            }
            state => Err(format!("{machine} is {state:?}")),
        }
    }

    pub(super) fn restore(&mut self, machine: &MachineId) {
        if let Some(state) = self.machines.get_mut(machine) {
            *state = State::Runs;
        }
    }

    pub(super) fn forget(&mut self, machine: &MachineId) {
        self.machines.remove(machine);
    }

    /// Is there anything but machines that run?
    pub(super) fn has_leftovers(&self) -> bool {
        !self.copies.is_empty() || self.machines.values().any(|state| *state != State::Runs)
    }
}
