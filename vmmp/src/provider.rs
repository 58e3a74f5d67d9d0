//! A provider: origin of the machines that it has, destination of those that come.

use std::collections::BTreeMap;

use crate::action::{Action, Effect, Outcome, Party};
use crate::destination::Destination;
use crate::message::{Message, Progress};
use crate::name::{MachineId, MigrationId, Ticket};
use crate::origin::Origin;
use crate::record::Record;
use crate::timing::{Moment, Timing};

/// Both parts of one provider, with one journal.
#[derive(Clone, Debug)]
pub struct Provider {
    origin: Origin,
    destination: Destination,
}

impl Provider {
    /// A provider that holds nothing.
    pub fn new(timing: Timing) -> Self {
        Self { origin: Origin::new(timing), destination: Destination::new(timing) }
    }

    /// The provider as its journal has it, and what it has to do first.
    pub fn restore(timing: Timing, records: &[Record], now: Moment) -> (Self, Vec<Action>) {
        let mut provider = Self::new(timing);
        let mut settled = Vec::new();
        for record in records {
            provider.origin.replay(record);
            provider.destination.replay(record);
            if let Record::Settled { id } = record {
                settled.push(*id);
            }
        }
        let mut actions = Vec::new();
        // The origin's first: what has left in the meantime must not come back.
        provider.origin.recover(now, &mut actions);
        provider.destination.recover(now, &settled, &mut provider.origin, &mut actions);
        (provider, actions)
    }

    /// A machine was made here.
    pub fn add(&mut self, machine: MachineId, version: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        self.origin.add(machine, version, &mut actions);
        actions
    }

    /// A machine was deleted here. One that is being sent stays.
    pub fn remove(&mut self, machine: &MachineId) -> Vec<Action> {
        let mut actions = Vec::new();
        self.origin.remove(machine, &mut actions);
        actions
    }

    /// Is a migration of this machine to another provider under way?
    pub fn is_sending(&self, machine: &MachineId) -> bool {
        self.origin.is_sending(machine)
    }

    /// The machines that are here, and their versions.
    pub fn holdings(&self) -> &BTreeMap<MachineId, u64> {
        self.origin.holdings()
    }

    /// Is nothing under way?
    pub fn is_idle(&self) -> bool {
        self.origin.is_idle() && self.destination.is_idle()
    }

    /// Takes a message in. `ticket`: a number that was never used.
    pub fn message(&mut self, now: Moment, from: &Party, message: &Message, ticket: Ticket) -> Vec<Action> {
        let mut actions = Vec::new();
        match (from, message) {
            (Party::Agent, _) => {
                self.destination.agent_message(now, message, ticket, &self.origin, &mut actions);
            }
            (
                Party::Peer(peer),
                Message::Begin { .. }
                | Message::Ready { .. }
                | Message::Taken { .. }
                | Message::Aborted { .. },
            ) => self.origin.message(now, peer, message, &mut actions),
            (Party::Peer(_), _) => self.destination.origin_message(now, from, message, &mut actions),
        }
        actions
    }

    /// Takes in what became of an effect.
    pub fn outcome(&mut self, now: Moment, id: MigrationId, outcome: Outcome) -> Vec<Action> {
        let mut actions = Vec::new();
        match outcome {
            Outcome::Held(_) | Outcome::HandedOver(_) => {
                self.origin.outcome(now, id, outcome, &mut actions);
            }
            Outcome::Fetched(_) | Outcome::Completed(_) => {
                self.destination.outcome(now, id, outcome, &mut self.origin, &mut actions);
            }
        }
        actions
    }

    /// As destination: how far it is. As origin: data is being fetched.
    pub fn progress(&mut self, now: Moment, id: MigrationId, progress: Progress) {
        self.destination.progress(now, id, progress);
        self.origin.activity(now, id);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        self.origin.tick(now, &mut actions);
        self.destination.tick(now, &mut actions);
        actions
    }

    /// When [`Provider::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Moment> {
        [self.origin.next_tick(), self.destination.next_tick()].into_iter().flatten().min()
    }

    /// The records that give this state again, for a journal that has grown long.
    pub fn records(&self) -> Vec<Record> {
        let mut records = self.origin.records();
        records.extend(self.destination.records());
        records
    }
}

impl Effect {
    /// The migration whose outcome is awaited; `None`: the effect is done at once.
    pub fn awaited(&self) -> Option<MigrationId> {
        match self {
            Self::Hold { id, .. }
            | Self::HandOver { id, .. }
            | Self::Fetch { id, .. }
            | Self::Complete { id, .. } => Some(*id),
            _ => None,
        }
    }
}
