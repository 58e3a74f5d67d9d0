//! The origin: where a machine is, and from where it is fetched.
//!
//! ```text
//!            Begin            held, Ready            handed over
//!  (holds) --------> Sending ------------> Releasing ------------> Released
//!     ^                 |                      |                    |     |
//!     |  given up, failed, Aborted             | failed     Aborted |     | Taken
//!     +-----------------+----------------------+--------------------+     v
//!                                                                       (gone)
//! ```
//!
//! Before `Released` is in the journal the origin may keep the machine as it likes;
//! afterwards only the destination says whose it is.

use std::collections::BTreeMap;

use crate::action::{Action, Effect, Outcome, Party};
use crate::message::Message;
use crate::name::{MachineId, MethodName, MigrationId, PeerName, Ticket};
use crate::record::Record;
use crate::timing::{Moment, Timing};

/// The origin's part in all migrations of machines that are at one provider.
#[derive(Clone, Debug)]
pub struct Origin {
    timing: Timing,
    holdings: BTreeMap<MachineId, u64>,
    sendings: BTreeMap<MigrationId, Sending>,
}

#[derive(Clone, Debug)]
struct Sending {
    machine: MachineId,
    to: PeerName,
    ticket: Ticket,
    stage: Stage,
    /// When the destination was last heard of.
    heard: Moment,
    /// When something was last said.
    said: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sending { is_held: bool, is_ready: bool },
    Releasing,
    Released,
}

impl Origin {
    /// A provider that holds nothing yet.
    pub fn new(timing: Timing) -> Self {
        Self { timing, holdings: BTreeMap::new(), sendings: BTreeMap::new() }
    }

    /// Takes a record of the journal in, at a restart.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::Holds { machine, version } => {
                self.holdings.insert(machine.clone(), *version);
            }
            Record::Removed { machine } => {
                self.holdings.remove(machine);
            }
            Record::Sending { id, machine, to, ticket } => {
                let sending = Sending {
                    machine: machine.clone(),
                    to: to.clone(),
                    ticket: *ticket,
                    stage: Stage::Sending { is_held: false, is_ready: false },
                    heard: Moment::ZERO,
                    said: Moment::ZERO,
                };
                self.sendings.insert(*id, sending);
            }
            Record::Released { id, .. } => {
                if let Some(sending) = self.sendings.get_mut(id) {
                    sending.stage = Stage::Released;
                }
            }
            Record::Kept { id } => {
                self.sendings.remove(id);
            }
            Record::Gone { id } => {
                if let Some(sending) = self.sendings.remove(id) {
                    self.holdings.remove(&sending.machine);
                }
            }
            _ => {}
        }
    }

    /// After the journal: gives up what was not released, and has whatever the
    /// monitor has handed over without a release come back.
    pub fn recover(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let open: Vec<MigrationId> =
            self.sendings.iter().filter(|(_, s)| s.stage != Stage::Released).map(|(id, _)| *id).collect();
        for id in open {
            self.keep(id, "the origin was restarted", actions);
        }
        for sending in self.sendings.values_mut() {
            (sending.heard, sending.said) = (now, Moment::ZERO);
        }
        let released: Vec<&MachineId> = self.sendings.values().map(|sending| &sending.machine).collect();
        for machine in self.holdings.keys().filter(|machine| !released.contains(machine)) {
            actions.push(Action::Effect(Effect::Restore { machine: machine.clone() }));
        }
    }

    /// A machine was made here, or has come.
    pub fn add(&mut self, machine: MachineId, version: u64, actions: &mut Vec<Action>) {
        self.holdings.insert(machine.clone(), version);
        actions.push(Action::Journal(Record::Holds { machine, version }));
    }

    /// A machine is no more. Not one that is being sent: is it gone?
    pub fn remove(&mut self, machine: &MachineId, actions: &mut Vec<Action>) -> bool {
        if self.is_sending(machine) || self.holdings.remove(machine).is_none() {
            return false;
        }
        actions.push(Action::Journal(Record::Removed { machine: machine.clone() }));
        true
    }

    /// As [`Origin::add`], of what the journal has already.
    pub(crate) fn note(&mut self, machine: MachineId, version: u64) {
        self.holdings.insert(machine, version);
    }

    /// The machines that are here, and their versions. One that is being released
    /// counts as here until the destination has it.
    pub fn holdings(&self) -> &BTreeMap<MachineId, u64> {
        &self.holdings
    }

    /// Is a migration of this machine under way?
    pub fn is_sending(&self, machine: &MachineId) -> bool {
        self.sendings.values().any(|sending| sending.machine == *machine)
    }

    /// Is nothing under way?
    pub fn is_idle(&self) -> bool {
        self.sendings.is_empty()
    }

    /// The destination is fetching: it has not gone.
    pub fn activity(&mut self, now: Moment, id: MigrationId) {
        if let Some(sending) = self.sendings.get_mut(&id) {
            sending.heard = now;
        }
    }

    /// Takes a message of the destination `from` in.
    pub fn message(&mut self, now: Moment, from: &PeerName, message: &Message, actions: &mut Vec<Action>) {
        let id = message.id();
        let known = self.sendings.get_mut(&id).filter(|sending| sending.to == *from);
        match message {
            Message::Begin { ticket, machine, version, method, .. } => {
                self.begin(now, from, id, *ticket, machine, *version, method, actions);
            }
            Message::Ready { ticket, .. } => match known {
                Some(sending) if sending.ticket == *ticket => {
                    sending.heard = now;
                    if let Stage::Sending { is_ready, .. } = &mut sending.stage {
                        *is_ready = true;
                        self.release_when_due(id, actions);
                    }
                }
                _ => refuse(from, id, *ticket, "no such migration is under way here", actions),
            },
            Message::Taken { ticket, .. } => {
                if let Some(sending) = known
                    && sending.ticket == *ticket
                    && sending.stage == Stage::Released
                {
                    let machine = sending.machine.clone();
                    self.sendings.remove(&id);
                    self.holdings.remove(&machine);
                    // First: a machine handed over that no record speaks of comes back.
                    actions.push(Action::Effect(Effect::Forget { machine }));
                    actions.push(Action::Journal(Record::Gone { id }));
                }
                send(from, Message::Gone { id, ticket: *ticket }, actions);
            }
            Message::Aborted { ticket, .. }
                if known.is_some_and(|s| s.ticket == *ticket && s.stage != Stage::Releasing) =>
            {
                self.end_here(id, actions);
            }
            _ => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    fn begin(
        &mut self,
        now: Moment,
        from: &PeerName,
        id: MigrationId,
        ticket: Ticket,
        machine: &MachineId,
        version: u64,
        method: &MethodName,
        actions: &mut Vec<Action>,
    ) {
        let refusal = match self.holdings.get(machine) {
            None => Some(format!("machine {machine} is not here")),
            Some(here) if *here != version => {
                Some(format!("machine {machine} is here with version {here}, not {version}"))
            }
            Some(_) => None,
        };
        let refusal = refusal.or_else(|| {
            let other = self.sendings.iter().find(|(_, sending)| sending.machine == *machine)?;
            let (other, sending) = other;
            let is_again = *other == id && sending.to == *from && sending.ticket == ticket;
            (!is_again).then(|| format!("migration {other} of machine {machine} is under way"))
        });
        if let Some(reason) = refusal {
            return refuse(from, id, ticket, &reason, actions);
        }
        if let Some(sending) = self.sendings.get_mut(&id) {
            // The destination has not heard us.
            sending.heard = now;
            match sending.stage {
                Stage::Sending { is_held: true, .. } => {
                    send(from, Message::Accept { id, ticket }, actions);
                }
                Stage::Sending { .. } => send(from, Message::Wait { id, ticket }, actions),
                _ => {}
            }
            return;
        }
        let stage = Stage::Sending { is_held: false, is_ready: false };
        let (machine, to) = (machine.clone(), from.clone());
        actions.push(Action::Journal(Record::Sending {
            id,
            machine: machine.clone(),
            to: to.clone(),
            ticket,
        }));
        actions.push(Action::Effect(Effect::Hold { id, machine: machine.clone(), method: method.clone() }));
        self.sendings.insert(id, Sending { machine, to, ticket, stage, heard: now, said: now });
    }

    /// Takes in what became of an effect.
    pub fn outcome(&mut self, now: Moment, id: MigrationId, outcome: Outcome, actions: &mut Vec<Action>) {
        let Some(sending) = self.sendings.get_mut(&id) else { return };
        match (outcome, sending.stage) {
            (Outcome::Held(Ok(())), Stage::Sending { is_held: false, is_ready }) => {
                sending.stage = Stage::Sending { is_held: true, is_ready };
                sending.heard = now;
                send(&sending.to, Message::Accept { id, ticket: sending.ticket }, actions);
                self.release_when_due(id, actions);
            }
            (Outcome::HandedOver(Ok(())), Stage::Releasing) => {
                sending.stage = Stage::Released;
                let ticket = sending.ticket;
                actions.push(Action::Journal(Record::Released { id, ticket }));
                self.say_release(now, id, actions);
            }
            (Outcome::Held(Err(reason)) | Outcome::HandedOver(Err(reason)), stage)
                if stage != Stage::Released =>
            {
                self.keep(id, &reason, actions);
            }
            _ => {}
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let ids: Vec<MigrationId> = self.sendings.keys().copied().collect();
        for id in ids {
            let Some(sending) = self.sendings.get(&id) else { continue };
            match sending.stage {
                Stage::Sending { .. } if now >= sending.heard + self.timing.patience => {
                    self.keep(id, "nothing was heard of the destination", actions);
                }
                Stage::Released if now >= sending.said + self.timing.again => {
                    self.say_release(now, id, actions);
                }
                _ => {}
            }
        }
    }

    /// When [`Origin::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Moment> {
        let due = |sending: &Sending| match sending.stage {
            Stage::Sending { .. } => Some(sending.heard + self.timing.patience),
            Stage::Releasing => None,
            Stage::Released => Some(sending.said + self.timing.again),
        };
        self.sendings.values().filter_map(due).min()
    }

    fn release_when_due(&mut self, id: MigrationId, actions: &mut Vec<Action>) {
        let Some(sending) = self.sendings.get_mut(&id) else { return };
        if sending.stage == (Stage::Sending { is_held: true, is_ready: true }) {
            sending.stage = Stage::Releasing;
            actions.push(Action::Effect(Effect::HandOver { id, machine: sending.machine.clone() }));
        }
    }

    fn say_release(&mut self, now: Moment, id: MigrationId, actions: &mut Vec<Action>) {
        let Some(sending) = self.sendings.get_mut(&id) else { return };
        sending.said = now;
        let version = self.holdings.get(&sending.machine).map_or(0, |version| version + 1);
        send(&sending.to, Message::Release { id, ticket: sending.ticket, version }, actions);
    }

    /// Ends a migration before its release, and tells the destination.
    fn keep(&mut self, id: MigrationId, reason: &str, actions: &mut Vec<Action>) {
        let Some((to, ticket)) = self.sendings.get(&id).map(|s| (s.to.clone(), s.ticket)) else { return };
        self.end_here(id, actions);
        refuse(&to, id, ticket, reason, actions);
    }

    /// The migration is over, and the machine stays.
    fn end_here(&mut self, id: MigrationId, actions: &mut Vec<Action>) {
        let Some(sending) = self.sendings.remove(&id) else { return };
        actions.push(Action::Journal(Record::Kept { id }));
        actions.push(Action::Effect(Effect::Restore { machine: sending.machine }));
    }

    /// The records that give this state again.
    pub fn records(&self) -> Vec<Record> {
        let holds = self
            .holdings
            .iter()
            .map(|(machine, version)| Record::Holds { machine: machine.clone(), version: *version });
        let mut records: Vec<Record> = holds.collect();
        for (id, s) in &self.sendings {
            let (machine, to, ticket) = (s.machine.clone(), s.to.clone(), s.ticket);
            records.push(Record::Sending { id: *id, machine, to, ticket });
            if s.stage == Stage::Released {
                records.push(Record::Released { id: *id, ticket });
            }
        }
        records
    }
}

fn send(to: &PeerName, message: Message, actions: &mut Vec<Action>) {
    actions.push(Action::Send { to: Party::Peer(to.clone()), message });
}

fn refuse(to: &PeerName, id: MigrationId, ticket: Ticket, reason: &str, actions: &mut Vec<Action>) {
    send(to, Message::Refuse { id, ticket, reason: reason.to_owned() }, actions);
}
