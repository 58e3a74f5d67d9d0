//! The destination: to where a machine is fetched. It decides how a migration ends.
//!
//! ```text
//!   Request          Accept            fetched          Release             completed
//!  --------> Asking --------> Fetching --------> Ready ---------> Completing ---------> Owned
//!               |                |                 |                  |                   |
//!               +----------------+--------+--------+------------------+                   |
//!                 refused, given up,      v                                               v
//!                 cancelled, failed    Aborted ------ known to the agent ----------->  (closed)
//! ```
//!
//! `Owned` and `Aborted` are in the journal before anybody hears of them, and a
//! migration has one of the two, for ever. `Owned` needs a release of this attempt,
//! so the origin can't have the machine any more.

mod journal;
mod say;

use std::collections::BTreeMap;

use crate::action::{Action, Effect, Outcome, Party};
use crate::message::{Message, Progress, Request};
use crate::name::{MigrationId, Ticket};
use crate::origin::Origin;
use crate::record::Record;
use crate::timing::{Moment, Timing};

use say::to_agent;

/// The destination's part in all migrations to one provider.
#[derive(Clone, Debug)]
pub struct Destination {
    timing: Timing,
    fetches: BTreeMap<MigrationId, Fetch>,
}

#[derive(Clone, Debug)]
struct Fetch {
    request: Request,
    ticket: Ticket,
    stage: Stage,
    progress: Progress,
    /// When the origin was last heard of.
    heard: Moment,
    /// When something was last said to the origin, and to the agent.
    said_to_origin: Moment,
    said_to_agent: Moment,
    /// What the origin has released it as.
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Asking,
    Fetching,
    Ready,
    Completing,
    Owned { agent_knows: bool, origin_knows: bool },
    Aborted { reason: String },
}

impl Destination {
    /// Nothing is under way.
    pub fn new(timing: Timing) -> Self {
        Self { timing, fetches: BTreeMap::new() }
    }

    /// After the journal: aborts what was under way, and has the monitor take what is
    /// ours but what it may not have got. `settled` are the migrations of which the
    /// journal says that it has.
    pub fn recover(
        &mut self,
        now: Moment,
        settled: &[MigrationId],
        here: &mut Origin,
        actions: &mut Vec<Action>,
    ) {
        let ids: Vec<MigrationId> = self.fetches.keys().copied().collect();
        for id in ids {
            let Some(fetch) = self.fetches.get_mut(&id) else { continue };
            fetch.heard = now;
            match &fetch.stage {
                Stage::Owned { .. } if settled.contains(&id) => {}
                Stage::Owned { .. } => {
                    here.note(fetch.request.machine.clone(), fetch.version);
                    own(fetch, actions);
                }
                Stage::Aborted { .. } => discard(fetch, actions),
                _ => self.abort(now, id, "the destination was restarted", actions),
            }
        }
    }

    /// Is nothing under way?
    pub fn is_idle(&self) -> bool {
        self.fetches.is_empty()
    }

    /// How far a migration is.
    pub fn progress(&mut self, now: Moment, id: MigrationId, progress: Progress) {
        if let Some(fetch) = self.fetches.get_mut(&id) {
            fetch.progress = progress;
            fetch.heard = now;
        }
    }

    /// Takes a message of the agent in. `ticket`: a number that was never used, for a
    /// migration that begins. `here`: the same provider's part as an origin.
    pub fn agent_message(
        &mut self,
        now: Moment,
        message: &Message,
        ticket: Ticket,
        here: &Origin,
        actions: &mut Vec<Action>,
    ) {
        match message {
            Message::Request(request) => self.request(now, request, ticket, here, actions),
            Message::Cancel { id, reason } => match self.fetches.get(id).map(|fetch| &fetch.stage) {
                Some(Stage::Owned { .. } | Stage::Aborted { .. }) => self.say_outcome(now, *id, actions),
                Some(_) => self.abort(now, *id, reason, actions),
                None => {
                    let result = Err("the destination knows of no such migration".to_owned());
                    to_agent(Message::Outcome { id: *id, machine: None, result }, actions);
                }
            },
            Message::Acknowledge { id, version } => {
                let Some(fetch) = self.fetches.get_mut(id) else { return };
                match &mut fetch.stage {
                    Stage::Owned { agent_knows, .. } if *version == Some(fetch.version) => {
                        *agent_knows = true;
                        self.close_when_known(*id, actions);
                    }
                    Stage::Aborted { .. } if version.is_none() => {
                        self.fetches.remove(id);
                        actions.push(Action::Journal(Record::Closed { id: *id }));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn request(
        &mut self,
        now: Moment,
        request: &Request,
        ticket: Ticket,
        here: &Origin,
        actions: &mut Vec<Action>,
    ) {
        let id = request.id;
        if let Some(fetch) = self.fetches.get(&id) {
            return match fetch.stage {
                Stage::Owned { .. } | Stage::Aborted { .. } => self.say_outcome(now, id, actions),
                _ => self.say_heartbeat(now, id, actions),
            };
        }
        let others = self.fetches.iter().find(|(_, fetch)| fetch.request.machine == request.machine);
        let refusal = match others {
            Some((other, fetch)) if !matches!(fetch.stage, Stage::Owned { .. }) => {
                Some(format!("migration {other} of machine {} is under way", request.machine))
            }
            _ if here.holdings().contains_key(&request.machine) => {
                Some(format!("machine {} is here already", request.machine))
            }
            _ => None,
        };
        if let Some(reason) = refusal {
            let machine = Some(request.machine.clone());
            return to_agent(Message::Outcome { id, machine, result: Err(reason) }, actions);
        }
        actions.push(Action::Journal(Record::Started { request: request.clone(), ticket }));
        self.fetches.insert(id, Fetch::new(request.clone(), ticket, now));
        self.say_begin(now, id, actions);
        self.say_heartbeat(now, id, actions);
    }

    /// Takes a message of an origin in.
    pub fn origin_message(
        &mut self,
        now: Moment,
        from: &Party,
        message: &Message,
        actions: &mut Vec<Action>,
    ) {
        let id = message.id();
        let ticket_of = |message: &Message| match message {
            Message::Accept { ticket, .. }
            | Message::Wait { ticket, .. }
            | Message::Refuse { ticket, .. }
            | Message::Release { ticket, .. }
            | Message::Gone { ticket, .. } => Some(*ticket),
            _ => None,
        };
        let Some(ticket) = ticket_of(message) else { return };
        let known = self
            .fetches
            .get_mut(&id)
            .filter(|fetch| fetch.ticket == ticket && Party::Peer(fetch.request.origin.clone()) == *from);
        let Some(fetch) = known else {
            // An attempt that is no more, and never will be again.
            if matches!(message, Message::Release { .. }) {
                let reason = "this attempt is over".to_owned();
                let message = Message::Aborted { id, ticket, reason };
                actions.push(Action::Send { to: from.clone(), message });
            }
            return;
        };
        fetch.heard = now;
        match (message, &mut fetch.stage) {
            (Message::Accept { .. }, Stage::Asking) => {
                fetch.stage = Stage::Fetching;
                actions.push(Action::Effect(Effect::Fetch {
                    id,
                    ticket,
                    machine: fetch.request.machine.clone(),
                    origin: fetch.request.origin.clone(),
                    method: fetch.request.method.clone(),
                }));
            }
            (Message::Refuse { reason, .. }, Stage::Asking | Stage::Fetching | Stage::Ready) => {
                let reason = format!("the origin: {reason}");
                self.abort(now, id, &reason, actions);
            }
            (Message::Release { version, .. }, Stage::Ready) => {
                fetch.version = *version;
                fetch.stage = Stage::Completing;
                let machine = fetch.request.machine.clone();
                actions.push(Action::Effect(Effect::Complete { id, machine }));
            }
            (Message::Release { .. }, Stage::Owned { .. } | Stage::Aborted { .. }) => {
                self.say_end(now, id, actions);
            }
            (Message::Gone { .. }, Stage::Owned { origin_knows, .. }) => {
                *origin_knows = true;
                self.close_when_known(id, actions);
            }
            _ => {}
        }
    }

    /// Takes in what became of an effect. `here`: the same provider's part as an origin.
    pub fn outcome(
        &mut self,
        now: Moment,
        id: MigrationId,
        outcome: Outcome,
        here: &mut Origin,
        actions: &mut Vec<Action>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        fetch.heard = now;
        match (outcome, &fetch.stage) {
            (Outcome::Fetched(Ok(())), Stage::Fetching) => {
                fetch.stage = Stage::Ready;
                self.say_ready(now, id, actions);
            }
            (Outcome::Completed(Ok(())), Stage::Completing) => {
                fetch.stage = Stage::Owned { agent_knows: false, origin_knows: false };
                let version = fetch.version;
                actions.push(Action::Journal(Record::Owned { id, version }));
                own(fetch, actions);
                here.note(fetch.request.machine.clone(), version);
                self.say_end(now, id, actions);
                self.say_outcome(now, id, actions);
            }
            (Outcome::Fetched(Err(reason)), Stage::Fetching)
            | (Outcome::Completed(Err(reason)), Stage::Completing) => {
                self.abort(now, id, &reason, actions);
            }
            _ => {}
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Timing { again, heartbeat, patience, .. } = self.timing;
        let ids: Vec<MigrationId> = self.fetches.keys().copied().collect();
        for id in ids {
            let Some(fetch) = self.fetches.get(&id) else { continue };
            let is_silent = now >= fetch.heard + patience;
            let say = now >= fetch.said_to_origin + again;
            match fetch.stage {
                Stage::Asking | Stage::Fetching | Stage::Ready if is_silent => {
                    self.abort(now, id, "the origin does not answer", actions);
                }
                Stage::Asking if say => self.say_begin(now, id, actions),
                Stage::Ready if say => self.say_ready(now, id, actions),
                Stage::Owned { origin_knows: false, .. } if say => self.say_end(now, id, actions),
                _ => {}
            }
            let Some(fetch) = self.fetches.get(&id) else { continue };
            let is_over = matches!(fetch.stage, Stage::Owned { .. } | Stage::Aborted { .. });
            let knows = matches!(fetch.stage, Stage::Owned { agent_knows: true, .. });
            if is_over && !knows && now >= fetch.said_to_agent + again {
                self.say_outcome(now, id, actions);
            } else if !is_over && now >= fetch.said_to_agent + heartbeat {
                self.say_heartbeat(now, id, actions);
            }
        }
    }

    /// When [`Destination::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Moment> {
        let Timing { again, heartbeat, patience, .. } = self.timing;
        let due = |fetch: &Fetch| {
            let origin = match fetch.stage {
                Stage::Asking | Stage::Ready => {
                    Some((fetch.said_to_origin + again).min(fetch.heard + patience))
                }
                Stage::Fetching => Some(fetch.heard + patience),
                Stage::Owned { origin_knows: false, .. } => Some(fetch.said_to_origin + again),
                _ => None,
            };
            let agent = match fetch.stage {
                Stage::Owned { agent_knows: true, .. } => None,
                Stage::Owned { .. } | Stage::Aborted { .. } => Some(fetch.said_to_agent + again),
                _ => Some(fetch.said_to_agent + heartbeat),
            };
            [origin, agent].into_iter().flatten().min()
        };
        self.fetches.values().filter_map(due).min()
    }

    fn abort(&mut self, now: Moment, id: MigrationId, reason: &str, actions: &mut Vec<Action>) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        fetch.stage = Stage::Aborted { reason: reason.to_owned() };
        actions.push(Action::Journal(Record::Aborted { id, reason: reason.to_owned() }));
        discard(fetch, actions);
        self.say_end(now, id, actions);
        self.say_outcome(now, id, actions);
    }

    fn close_when_known(&mut self, id: MigrationId, actions: &mut Vec<Action>) {
        let stage = self.fetches.get(&id).map(|fetch| &fetch.stage);
        if stage == Some(&Stage::Owned { agent_knows: true, origin_knows: true }) {
            self.fetches.remove(&id);
            actions.push(Action::Journal(Record::Closed { id }));
        }
    }
}

impl Fetch {
    fn new(request: Request, ticket: Ticket, now: Moment) -> Self {
        Self {
            request,
            ticket,
            stage: Stage::Asking,
            progress: Progress::default(),
            heard: now,
            said_to_origin: now,
            said_to_agent: now,
            version: 0,
        }
    }
}

fn own(fetch: &Fetch, actions: &mut Vec<Action>) {
    let (id, machine, version) = (fetch.request.id, fetch.request.machine.clone(), fetch.version);
    actions.push(Action::Journal(Record::Holds { machine: machine.clone(), version }));
    actions.push(Action::Effect(Effect::Own { id, machine, version }));
    actions.push(Action::Journal(Record::Settled { id }));
}

fn discard(fetch: &Fetch, actions: &mut Vec<Action>) {
    let (id, machine) = (fetch.request.id, fetch.request.machine.clone());
    actions.push(Action::Effect(Effect::Discard { id, machine }));
}
