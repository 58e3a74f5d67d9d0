//! The agent: the central server's part. It knows where every machine is, asks
//! destinations to fetch them, and notices when one falls silent.
//!
//! ```text
//!   migrate             Outcome
//!  ---------> Asked ----------------------------------> (finished)
//!               |                                           ^
//!               | no heartbeat for too long, cancelled      | Outcome
//!               +-----------------> Cancelling -------------+
//! ```
//!
//! A machine's place changes with a higher version alone, so that whatever arrives
//! late or twice leaves the newest truth.

use std::collections::BTreeMap;

use crate::action::{Action, Party};
use crate::message::{Message, Progress, Request};
use crate::name::{MachineId, MethodName, MigrationId, PeerName};
use crate::record::Record;
use crate::timing::{Moment, Timing};

/// Why a migration was not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedRequest {
    /// The agent knows no such machine.
    #[error("no machine {0} is known; add it with the provider that has it")]
    UnknownMachine(MachineId),
    /// It is on its way already.
    #[error("machine {machine} is on its way (migration {id}); wait for it, or cancel it")]
    UnderWay {
        /// The machine.
        machine: MachineId,
        /// The migration.
        id: MigrationId,
    },
    /// It is where it should go.
    #[error("machine {machine} is at {place} already")]
    AlreadyThere {
        /// The machine.
        machine: MachineId,
        /// Where it is.
        place: PeerName,
    },
    /// The migration's number was used before.
    #[error("migration {0} was begun before")]
    UsedId(MigrationId),
}

/// Something that whoever asked for a migration wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It goes on.
    Progress {
        /// Which migration.
        id: MigrationId,
        /// How far it is.
        progress: Progress,
    },
    /// It has ended.
    Ended {
        /// Which migration.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
        /// Its new version, or why it is where it was.
        result: Result<u64, String>,
    },
}

/// The central server's part in all migrations.
#[derive(Clone, Debug)]
pub struct Agent {
    timing: Timing,
    places: BTreeMap<MachineId, (PeerName, u64)>,
    migrations: BTreeMap<MigrationId, Migration>,
    news: Vec<News>,
}

#[derive(Clone, Debug)]
struct Migration {
    destination: PeerName,
    request: Request,
    /// `None`: it goes on.
    cancelled: Option<String>,
    progress: Progress,
    has_begun: bool,
    heard: Moment,
    said: Moment,
}

impl Agent {
    /// An agent that knows no machine.
    pub fn new(timing: Timing) -> Self {
        Self { timing, places: BTreeMap::new(), migrations: BTreeMap::new(), news: Vec::new() }
    }

    /// Takes a record of the journal in, at a restart.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::Placed { machine, place, version } => {
                self.places.insert(machine.clone(), (place.clone(), *version));
            }
            Record::Requested { destination, request } => {
                let migration = Migration {
                    destination: destination.clone(),
                    request: request.clone(),
                    cancelled: None,
                    progress: Progress::default(),
                    has_begun: false,
                    heard: Moment::ZERO,
                    said: Moment::ZERO,
                };
                self.migrations.insert(request.id, migration);
            }
            Record::Cancelled { id, reason } => {
                if let Some(migration) = self.migrations.get_mut(id) {
                    migration.cancelled = Some(reason.clone());
                }
            }
            Record::Removed { machine } => {
                self.places.remove(machine);
            }
            Record::Finished { id } => {
                self.migrations.remove(id);
            }
            _ => {}
        }
    }

    /// After the journal: asks again about everything that was under way.
    pub fn recover(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let ids: Vec<MigrationId> = self.migrations.keys().copied().collect();
        for id in ids {
            if let Some(migration) = self.migrations.get_mut(&id) {
                migration.heard = now;
            }
            self.say(now, id, actions);
        }
    }

    /// A machine is there.
    pub fn place(&mut self, machine: MachineId, place: PeerName, version: u64, actions: &mut Vec<Action>) {
        if self.places.get(&machine).is_some_and(|(_, known)| *known >= version) {
            return;
        }
        self.places.insert(machine.clone(), (place.clone(), version));
        actions.push(Action::Journal(Record::Placed { machine, place, version }));
    }

    /// Where each machine is, and its version.
    pub fn places(&self) -> &BTreeMap<MachineId, (PeerName, u64)> {
        &self.places
    }

    /// The migrations that are under way: machine, destination and progress.
    pub fn migrations(&self) -> impl Iterator<Item = (MigrationId, &Request, &PeerName, Progress)> {
        self.migrations.iter().map(|(id, m)| (*id, &m.request, &m.destination, m.progress))
    }

    /// Is nothing under way?
    pub fn is_idle(&self) -> bool {
        self.migrations.is_empty()
    }

    /// What has happened since this was asked last.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Begins a migration. `id` must never have been used.
    pub fn migrate(
        &mut self,
        now: Moment,
        id: MigrationId,
        machine: &MachineId,
        destination: &PeerName,
        method: &MethodName,
        actions: &mut Vec<Action>,
    ) -> Result<(), RefusedRequest> {
        let Some((place, version)) = self.places.get(machine) else {
            return Err(RefusedRequest::UnknownMachine(machine.clone()));
        };
        if self.migrations.contains_key(&id) {
            return Err(RefusedRequest::UsedId(id));
        }
        if let Some((id, _)) = self.migrations.iter().find(|(_, m)| m.request.machine == *machine) {
            return Err(RefusedRequest::UnderWay { machine: machine.clone(), id: *id });
        }
        if place == destination {
            return Err(RefusedRequest::AlreadyThere { machine: machine.clone(), place: place.clone() });
        }
        let request = Request {
            id,
            machine: machine.clone(),
            version: *version,
            origin: place.clone(),
            method: method.clone(),
        };
        let destination = destination.clone();
        actions.push(Action::Journal(Record::Requested {
            destination: destination.clone(),
            request: request.clone(),
        }));
        let progress = Progress::default();
        let migration = Migration {
            destination,
            request,
            cancelled: None,
            progress,
            has_begun: false,
            heard: now,
            said: now,
        };
        self.migrations.insert(id, migration);
        self.say(now, id, actions);
        Ok(())
    }

    /// Stops a migration, if the destination doesn't have the machine yet. Is it
    /// under way?
    pub fn cancel(&mut self, now: Moment, id: MigrationId, reason: &str, actions: &mut Vec<Action>) -> bool {
        let Some(migration) = self.migrations.get_mut(&id) else { return false };
        if migration.cancelled.is_none() {
            migration.cancelled = Some(reason.to_owned());
            actions.push(Action::Journal(Record::Cancelled { id, reason: reason.to_owned() }));
            self.say(now, id, actions);
        }
        true
    }

    /// Takes a message of the destination `from` in.
    pub fn message(&mut self, now: Moment, from: &PeerName, message: &Message, actions: &mut Vec<Action>) {
        match message {
            Message::Heartbeat { id, progress } => {
                match self.migrations.get_mut(id).filter(|migration| migration.destination == *from) {
                    Some(migration) => {
                        (migration.heard, migration.has_begun) = (now, true);
                        migration.progress = *progress;
                        self.news.push(News::Progress { id: *id, progress: *progress });
                    }
                    // An old request that has arrived late.
                    None => {
                        send(from, Message::Cancel { id: *id, reason: "it was given up".into() }, actions);
                    }
                }
            }
            Message::Holds { machine, version } => {
                self.place(machine.clone(), from.clone(), *version, actions);
            }
            Message::Removed { machine, version } => {
                let known = self.places.get(machine);
                if known.is_some_and(|(place, known)| place == from && known <= version) {
                    self.places.remove(machine);
                    actions.push(Action::Journal(Record::Removed { machine: machine.clone() }));
                }
            }
            Message::Outcome { id, machine, result } => {
                // Whoever has a machine with a newer version has it.
                if let (Some(machine), Ok(version)) = (machine, result) {
                    self.place(machine.clone(), from.clone(), *version, actions);
                }
                let is_of_ours = |migration: &&Migration| migration.destination == *from;
                if let Some(migration) = self.migrations.get(id).filter(is_of_ours) {
                    let machine = migration.request.machine.clone();
                    let result = match (result, &migration.cancelled) {
                        (Err(why), Some(cancelled)) if why != cancelled => {
                            Err(format!("{cancelled} ({why})"))
                        }
                        (result, _) => result.clone(),
                    };
                    self.migrations.remove(id);
                    actions.push(Action::Journal(Record::Finished { id: *id }));
                    self.news.push(News::Ended { id: *id, machine, result });
                }
                send(from, Message::Acknowledge { id: *id, version: result.as_ref().ok().copied() }, actions);
            }
            _ => {}
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let ids: Vec<MigrationId> = self.migrations.keys().copied().collect();
        for id in ids {
            let Some(migration) = self.migrations.get(&id) else { continue };
            if migration.cancelled.is_none() && now >= migration.heard + self.timing.silence {
                let reason =
                    format!("nothing was heard of {} for {:?}", migration.destination, self.timing.silence);
                self.cancel(now, id, &reason, actions);
            } else if migration.speaks() && now >= migration.said + self.timing.again {
                self.say(now, id, actions);
            }
        }
    }

    /// When [`Agent::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Moment> {
        let due = |migration: &Migration| {
            let silence = migration.cancelled.is_none().then(|| migration.heard + self.timing.silence);
            let again = migration.speaks().then(|| migration.said + self.timing.again);
            [silence, again].into_iter().flatten().min()
        };
        self.migrations.values().filter_map(due).min()
    }

    /// Asks for it, or for its end.
    fn say(&mut self, now: Moment, id: MigrationId, actions: &mut Vec<Action>) {
        let Some(migration) = self.migrations.get_mut(&id) else { return };
        migration.said = now;
        let message = match &migration.cancelled {
            None => Message::Request(migration.request.clone()),
            Some(reason) => Message::Cancel { id, reason: reason.clone() },
        };
        send(&migration.destination, message, actions);
    }

    /// The records that give this state again.
    pub fn records(&self) -> Vec<Record> {
        let placed = self.places.iter().map(|(machine, (place, version))| Record::Placed {
            machine: machine.clone(),
            place: place.clone(),
            version: *version,
        });
        let mut records: Vec<Record> = placed.collect();
        for (id, migration) in &self.migrations {
            let (destination, request) = (migration.destination.clone(), migration.request.clone());
            records.push(Record::Requested { destination, request });
            if let Some(reason) = &migration.cancelled {
                records.push(Record::Cancelled { id: *id, reason: reason.clone() });
            }
        }
        records
    }
}

impl Migration {
    /// Is something said again until it is answered? A destination that sends
    /// heartbeats has the request.
    fn speaks(&self) -> bool {
        self.cancelled.is_some() || !self.has_begun
    }
}

fn send(to: &PeerName, message: Message, actions: &mut Vec<Action>) {
    actions.push(Action::Send { to: Party::Peer(to.clone()), message });
}
