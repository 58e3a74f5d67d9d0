//! The provider's state machine with its journal, in one thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use vmmp::io::journal::Journal;
use vmmp::{
    Action, Effect, MachineId, Message, MigrationId, Outcome, Party, Progress, Provider, Record, Ticket,
    Timing,
};

use super::effects;
use super::host::{Host, vm_id};
use crate::agent::random_number;
use crate::error::Error;
use crate::links::{Links, label};

/// Journals longer than this are written anew.
const LONG: u64 = 1 << 20;

/// How often machines that should run are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What happens to a provider.
pub(super) enum Event {
    /// Somebody has said something.
    Message(Party, Message),
    /// What became of an effect.
    Outcome(MigrationId, Outcome),
    /// A migration goes on.
    Progress(MigrationId, Progress),
    /// A machine was made here.
    Created(MachineId),
    /// A machine was deleted here.
    Deleted(MachineId),
    /// Which machines are here, with their versions, and is each being sent?
    List(Sender<Vec<(MachineId, u64, bool)>>),
}

pub(super) struct Node {
    provider: Provider,
    journal: Journal,
    links: Links,
    host: Arc<Host>,
    begun: Instant,
    looked: Instant,
}

impl Node {
    pub(super) fn open(
        journal: &Path,
        timing: Timing,
        links: Links,
        host: &Arc<Host>,
    ) -> Result<Self, Error> {
        let (journal, records) = Journal::open(journal)?;
        let begun = Instant::now();
        let (provider, actions) = Provider::restore(timing, &records, Duration::ZERO);
        let host = Arc::clone(host);
        let mut node = Self { provider, journal, links, host, begun, looked: begun };
        for record in &records {
            node.note(record);
        }
        node.adopt()?;
        node.carry_out(actions)?;
        node.journal.rewrite(&node.provider.records())?;
        let holdings = node.provider.holdings().clone();
        for (machine, version) in holdings {
            node.links.send(&Party::Agent, Message::Holds { machine, version });
        }
        Ok(node)
    }

    /// Brings what the driver has together with what the journal says.
    fn adopt(&mut self) -> Result<(), Error> {
        for status in self.host.driver.list()? {
            let Ok(machine) = MachineId::new(status.config.id.as_str()) else { continue };
            if self.provider.holdings().contains_key(&machine) {
                continue;
            }
            if effects::is_leftover(&self.host, &machine, status.state) {
                self.host.discard_later(&machine);
                continue;
            }
            // It was made, and before that could be written down the daemon ended.
            tracing::info!("machine {machine} is here, and was not in the journal: it is now");
            let actions = self.provider.add(machine, 1);
            self.carry_out(actions)?;
        }
        Ok(())
    }

    /// Goes on until the journal fails.
    pub(super) fn run(mut self, events: &Receiver<Event>) -> Result<(), Error> {
        loop {
            let now = self.begun.elapsed();
            let due = self.provider.next_tick().map_or(LOOK, |at| at.saturating_sub(now).min(LOOK));
            let actions = match events.recv_timeout(due) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            self.carry_out(actions)?;
            let actions = self.provider.tick(self.begun.elapsed());
            self.carry_out(actions)?;
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                self.look_after();
            }
            if self.journal.bytes() > LONG && self.host.lanes.is_idle() {
                self.journal.rewrite(&self.provider.records())?;
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<Vec<Action>, Error> {
        let now = self.begun.elapsed();
        Ok(match event {
            Event::Message(Party::Agent, Message::Query { id, machine }) => {
                let host = Arc::clone(&self.host);
                let is_here = self.provider.holdings().contains_key(&machine);
                let methods = host.methods(is_here.then_some(&machine));
                self.links.send(&Party::Agent, Message::Results { id, machine, methods });
                Vec::new()
            }
            Event::Message(from, message) => {
                if let Message::Aborted { id, reason, .. } = &message {
                    tracing::warn!("migration {id} has failed at {}: {reason}", label(&from));
                }
                self.provider.message(now, &from, &message, Ticket(random_number()?))
            }
            Event::Outcome(id, outcome) => self.provider.outcome(now, id, outcome),
            Event::Progress(id, progress) => {
                self.provider.progress(now, id, progress);
                Vec::new()
            }
            Event::Created(machine) => {
                self.links.send(&Party::Agent, Message::Holds { machine: machine.clone(), version: 1 });
                self.provider.add(machine, 1)
            }
            Event::Deleted(machine) => {
                let version = self.provider.holdings().get(&machine).copied().unwrap_or(0);
                self.links.send(&Party::Agent, Message::Removed { machine: machine.clone(), version });
                self.provider.remove(&machine)
            }
            Event::List(answer) => {
                let all =
                    self.provider.holdings().iter().map(|(machine, version)| {
                        (machine.clone(), *version, self.provider.is_sending(machine))
                    });
                // Whoever has asked may have gone.
                let _ = answer.send(all.collect());
                Vec::new()
            }
        })
    }

    /// Does what is asked for, in order. Records are on disk before anything else
    /// is done.
    fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), Error> {
        for action in actions {
            match action {
                Action::Journal(record) => {
                    if let Record::Aborted { id, reason } = &record {
                        tracing::warn!("migration {id}: the machine does not come here: {reason}");
                    }
                    self.note(&record);
                    self.journal.write(&record)?;
                }
                Action::Send { to, message } => {
                    if let Message::Refuse { id, reason, .. } = &message {
                        tracing::warn!("migration {id}: {} does not get the machine: {reason}", label(&to));
                    }
                    self.journal.sync()?;
                    self.links.send(&to, message);
                }
                Action::Effect(effect) => {
                    self.journal.sync()?;
                    self.begin(effect);
                }
            }
        }
        self.journal.sync()?;
        Ok(())
    }

    fn begin(&self, effect: Effect) {
        let is_here = |machine: &MachineId| self.provider.holdings().contains_key(machine);
        match effect {
            Effect::Own { id, machine, version } => effects::own(&self.host, id, &machine, version),
            // What has come by another migration stays.
            Effect::Discard { machine, id } if is_here(&machine) => self.host.abort_incoming(id),
            effect => effects::begin(&self.host, effect),
        }
    }

    /// What records tell of migrations that effects don't.
    fn note(&self, record: &Record) {
        match record {
            Record::Sending { id, to, ticket, .. } => self.host.note_sending(*id, to, *ticket),
            Record::Started { request, ticket } => self.host.note_started(request, *ticket),
            _ => {}
        }
    }

    /// Machines that should run and have ended by themselves are started again.
    fn look_after(&self) {
        if !self.host.restart {
            return;
        }
        for machine in self.provider.holdings().keys() {
            if self.provider.is_sending(machine) || !self.host.running.is_wanted(machine) {
                continue;
            }
            let host = Arc::clone(&self.host);
            let name = machine.clone();
            // Behind whatever is being done with it.
            self.host.lanes.push_if_idle(machine, move || {
                if vm_id(&name).is_ok() {
                    host.let_run(&name);
                }
            });
        }
    }
}
