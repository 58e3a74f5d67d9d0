//! Other parties that come: messages, data, and version 1.0.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmmp::io::channel::Channel;
use vmmp::{Message, MigrationId, Party, Ticket, text};

use super::host::Host;
use super::method::kind;
use super::node::Event;
use super::{behind, requests, tunnel};
use crate::control::{Conversation, ProviderRequest};
use crate::links::label;
use crate::server::Handler;

/// What a connection for data is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) id: MigrationId,
    pub(super) ticket: Ticket,
    pub(super) part: Part,
}

/// Which part of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    /// The destination fetches the machine.
    Machine,
    /// The origin's monitor sends memory.
    Memory,
    /// The origin's monitor sends disks.
    Disks,
    /// The destination's monitor reads disks of a machine that runs there already.
    Behind,
    /// The destination has all of them.
    AllIsHere,
}

impl Hello {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        // Numbers and a word have a JSON form.
        serde_json::to_vec(&self).expect("it has a JSON form")
    }
}

/// Hands on to the provider what comes.
pub(super) struct Visitors(pub(super) Arc<Host>);

impl Handler for Visitors {
    fn message(&self, from: &Party, message: Message) {
        self.0.tell(Event::Message(from.clone(), message));
    }

    fn data(&self, from: &Party, channel: Channel) {
        if let Err(why) = self.serve(from, channel) {
            tracing::info!("data for {}: {why}", label(from));
        }
    }

    fn user(&self, name: &str, mut conversation: Conversation) {
        while let Ok(request) = conversation.hear::<ProviderRequest>() {
            tracing::debug!("{name} asks: {request:?}");
            if conversation.say(&requests::answer(&self.0, request)).is_err() {
                return;
            }
        }
    }

    fn text(&self, message: &text::Message) -> Option<text::Message> {
        match message {
            text::Message::Query { machine } => {
                let methods = self.0.methods(Some(machine));
                Some(text::Message::Results { machine: machine.clone(), methods })
            }
            text::Message::Req { machine, version, .. } => {
                tracing::warn!(
                    "version 1.0 asks for a migration of {machine}; nobody vouches for it, and it is refused: \
                     use the agent"
                );
                let (machine, version) = (machine.clone(), *version);
                Some(text::Message::Resp { machine, version, success: false })
            }
            _ => None,
        }
    }
}

impl Visitors {
    fn serve(&self, from: &Party, mut channel: Channel) -> Result<(), String> {
        let hello: Hello = match channel.reader.receive().map_err(|error| error.to_string())? {
            (kind::HELLO, body) => serde_json::from_slice(&body).map_err(|error| error.to_string())?,
            (kind, _) => return Err(format!("record {kind} in place of the first one")),
        };
        let closer = channel.closer().map_err(|error| error.to_string())?;
        let unknown = format!("no such attempt at migration {} is under way here", hello.id);
        match hello.part {
            Part::Machine => {
                let outgoing = self.0.outgoing(hello.id).filter(|outgoing| {
                    outgoing.ticket == hello.ticket && Party::Peer(outgoing.to.clone()) == *from
                });
                let Some(outgoing) = outgoing else {
                    // It may have hung up, too.
                    let _ = channel.writer.send(kind::FAILED, unknown.as_bytes());
                    return Err(unknown);
                };
                outgoing.connections.add(closer);
                outgoing.method.serve(&self.0, &outgoing, channel)
            }
            Part::Behind => behind::serve(&self.0, from, hello, channel),
            Part::AllIsHere => behind::let_go(&self.0, from, hello, channel),
            Part::Memory | Part::Disks => {
                let incoming = self.0.incoming(hello.id).filter(|incoming| {
                    incoming.ticket == hello.ticket && Party::Peer(incoming.from.clone()) == *from
                });
                let incoming = incoming.ok_or(unknown)?;
                incoming.connections.add(closer);
                tunnel::take(&self.0, &incoming, hello.part, channel)
            }
        }
    }
}
