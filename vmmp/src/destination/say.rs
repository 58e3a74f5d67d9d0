//! What the destination says, and to whom.

use super::{Destination, Fetch, Stage};
use crate::action::{Action, Party};
use crate::message::Message;
use crate::name::MigrationId;
use crate::timing::Moment;

impl Destination {
    pub(super) fn say_begin(&mut self, now: Moment, id: MigrationId, actions: &mut Vec<Action>) {
        self.tell_origin(now, id, actions, |fetch| Message::Begin {
            id,
            ticket: fetch.ticket,
            machine: fetch.request.machine.clone(),
            version: fetch.request.version,
            method: fetch.request.method.clone(),
        });
    }

    pub(super) fn say_ready(&mut self, now: Moment, id: MigrationId, actions: &mut Vec<Action>) {
        self.tell_origin(now, id, actions, |fetch| Message::Ready { id, ticket: fetch.ticket });
    }

    /// Tells the origin how it ended.
    pub(super) fn say_end(&mut self, now: Moment, id: MigrationId, actions: &mut Vec<Action>) {
        self.tell_origin(now, id, actions, |fetch| match &fetch.stage {
            Stage::Aborted { reason } => {
                Message::Aborted { id, ticket: fetch.ticket, reason: reason.clone() }
            }
            _ => Message::Taken { id, ticket: fetch.ticket },
        });
    }

    pub(super) fn say_heartbeat(&mut self, now: Moment, id: MigrationId, actions: &mut Vec<Action>) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        fetch.said_to_agent = now;
        to_agent(Message::Heartbeat { id, progress: fetch.progress }, actions);
    }

    pub(super) fn say_outcome(&mut self, now: Moment, id: MigrationId, actions: &mut Vec<Action>) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        fetch.said_to_agent = now;
        let result = match &fetch.stage {
            Stage::Aborted { reason } => Err(reason.clone()),
            _ => Ok(fetch.version),
        };
        to_agent(Message::Outcome { id, machine: Some(fetch.request.machine.clone()), result }, actions);
    }

    pub(super) fn tell_origin(
        &mut self,
        now: Moment,
        id: MigrationId,
        actions: &mut Vec<Action>,
        message: impl FnOnce(&Fetch) -> Message,
    ) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        fetch.said_to_origin = now;
        let to = Party::Peer(fetch.request.origin.clone());
        actions.push(Action::Send { to, message: message(fetch) });
    }
}

pub(super) fn to_agent(message: Message, actions: &mut Vec<Action>) {
    actions.push(Action::Send { to: Party::Agent, message });
}
