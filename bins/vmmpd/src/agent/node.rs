//! The agent's state machine with its journal, in one thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use vmmp::io::journal::Journal;
use vmmp::{Action, Agent, MachineId, Message, MethodName, MigrationId, News, Party, PeerName, Timing};

use crate::control::{AgentReply, Place, UnderWay};
use crate::error::Error;
use crate::links::Links;

/// Journals longer than this are written anew.
const LONG: u64 = 1 << 20;

/// What happens to the agent.
pub(super) enum Event {
    /// A provider has said something.
    Message(PeerName, Message),
    /// A provider is asked for its methods.
    Ask { of: PeerName, machine: MachineId, answer: Sender<Vec<MethodName>> },
    /// A user wants a migration; what becomes of it goes to `replies`.
    Migrate { machine: MachineId, to: PeerName, method: MethodName, replies: Sender<AgentReply> },
    /// A user wants to stop one.
    Cancel { id: MigrationId, reason: String, replies: Sender<AgentReply> },
    /// A user wants to know what there is.
    List { replies: Sender<AgentReply> },
    /// A user wants to know how things go on.
    Watch { id: Option<MigrationId>, replies: Sender<AgentReply> },
}

struct Watcher {
    id: Option<MigrationId>,
    replies: Sender<AgentReply>,
}

pub(super) struct Node {
    agent: Agent,
    journal: Journal,
    links: Links,
    begun: Instant,
    watchers: Vec<Watcher>,
    questions: BTreeMap<MigrationId, Sender<Vec<MethodName>>>,
}

impl Node {
    pub(super) fn open(journal: &Path, timing: Timing, links: Links) -> Result<Self, Error> {
        let (journal, records) = Journal::open(journal)?;
        let mut agent = Agent::new(timing);
        records.iter().for_each(|record| agent.replay(record));
        let begun = Instant::now();
        let mut node =
            Self { agent, journal, links, begun, watchers: Vec::new(), questions: BTreeMap::new() };
        node.journal.rewrite(&node.agent.records())?;
        let mut actions = Vec::new();
        node.agent.recover(node.begun.elapsed(), &mut actions);
        node.carry_out(actions)?;
        Ok(node)
    }

    /// Goes on until the journal fails.
    pub(super) fn run(mut self, events: &Receiver<Event>) -> Result<(), Error> {
        loop {
            let now = self.begun.elapsed();
            let due = self.agent.next_tick().map_or(Duration::from_secs(60), |at| at.saturating_sub(now));
            let mut actions = Vec::new();
            match events.recv_timeout(due) {
                Ok(event) => self.take(event, &mut actions)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.agent.tick(self.begun.elapsed(), &mut actions);
            self.carry_out(actions)?;
            self.tell();
            if self.journal.bytes() > LONG {
                self.journal.rewrite(&self.agent.records())?;
            }
        }
    }

    fn take(&mut self, event: Event, actions: &mut Vec<Action>) -> Result<(), Error> {
        let now = self.begun.elapsed();
        match event {
            Event::Message(_, Message::Results { id, methods, .. }) => {
                if let Some(answer) = self.questions.remove(&id) {
                    // Whoever has asked may not wait any longer.
                    let _ = answer.send(methods);
                }
            }
            Event::Message(from, message) => self.agent.message(now, &from, &message, actions),
            Event::Ask { of, machine, answer } => {
                let id = new_id()?;
                // Questions that were never answered.
                if self.questions.len() > 1000 {
                    self.questions.pop_first();
                }
                self.questions.insert(id, answer);
                self.links.send(&Party::Peer(of), Message::Query { id, machine });
            }
            Event::Migrate { machine, to, method, replies } => {
                let id = new_id()?;
                let reply = match self.agent.migrate(now, id, &machine, &to, &method, actions) {
                    Ok(()) => {
                        self.watchers.push(Watcher { id: Some(id), replies: replies.clone() });
                        tracing::info!("migration {id}: {machine} to {to} by {method}");
                        AgentReply::Begun { id, method }
                    }
                    Err(refused) => AgentReply::Error { message: refused.to_string() },
                };
                let _ = replies.send(reply);
            }
            Event::Cancel { id, reason, replies } => {
                let reply = match self.agent.cancel(now, id, &reason, actions) {
                    true => AgentReply::Cancelling,
                    false => AgentReply::Error { message: format!("no migration {id} is under way") },
                };
                let _ = replies.send(reply);
            }
            Event::List { replies } => {
                let _ = replies.send(self.list());
            }
            Event::Watch { id: Some(id), replies } if self.agent.migrations().all(|m| m.0 != id) => {
                let message = format!("no migration {id} is under way; `vmmp list` shows what is");
                let _ = replies.send(AgentReply::Error { message });
            }
            Event::Watch { id, replies } => self.watchers.push(Watcher { id, replies }),
        }
        Ok(())
    }

    /// Records are on disk before anything is said of them.
    fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), Error> {
        for action in actions {
            match action {
                Action::Journal(record) => self.journal.write(&record)?,
                Action::Send { to, message } => {
                    self.journal.sync()?;
                    self.links.send(&to, message);
                }
                // The agent has no machines.
                Action::Effect(_) => {}
            }
        }
        self.journal.sync()?;
        Ok(())
    }

    /// Tells users what has happened.
    fn tell(&mut self) {
        for news in self.agent.news() {
            let (about, is_end, reply) = match news {
                News::Progress { id, progress } => (id, false, AgentReply::Progress { id, progress }),
                News::Ended { id, machine, result } => {
                    match &result {
                        Ok(version) => tracing::info!("migration {id}: {machine} is there ({version})"),
                        Err(why) => tracing::warn!("migration {id}: {machine} is where it was: {why}"),
                    }
                    (id, true, AgentReply::Ended { id, machine, result })
                }
            };
            self.watchers.retain(|watcher| {
                let is_meant = watcher.id.is_none_or(|id| id == about);
                let hears = !is_meant || watcher.replies.send(reply.clone()).is_ok();
                hears && !(is_end && watcher.id == Some(about))
            });
        }
    }

    fn list(&self) -> AgentReply {
        let machines = self.agent.places().iter().map(|(machine, (provider, version))| Place {
            machine: machine.clone(),
            provider: provider.clone(),
            version: *version,
        });
        let migrations = self.agent.migrations().map(|(id, request, to, progress)| UnderWay {
            id,
            machine: request.machine.clone(),
            from: request.origin.clone(),
            to: to.clone(),
            method: request.method.clone(),
            progress,
        });
        AgentReply::List { machines: machines.collect(), migrations: migrations.collect() }
    }
}

/// A number that was never used, and isn't 0.
fn new_id() -> Result<MigrationId, Error> {
    Ok(MigrationId(random_number()?.max(1)))
}

/// From the system's random numbers.
pub(crate) fn random_number() -> Result<u64, Error> {
    let path = Path::new("/dev/urandom");
    let mut octets = [0; 8];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut octets));
    read.map_err(|source| Error::File { action: "read", path: path.to_owned(), source })?;
    Ok(u64::from_be_bytes(octets))
}
