//! Users of the agent: each connection has a thread that asks the agent's.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use vmmp::{MachineId, Message, MethodName, Party, PeerName, text};

use super::node::Event;
use crate::control::{AgentReply, AgentRequest, Conversation};
use crate::server::Handler;

/// How long providers may take to name their methods.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hands on to the agent what comes.
pub(super) struct Users {
    pub(super) events: Sender<Event>,
}

impl Handler for Users {
    fn message(&self, from: &Party, message: Message) {
        if let Party::Peer(from) = from {
            // Nobody hears it when the program ends.
            let _ = self.events.send(Event::Message(from.clone(), message));
        }
    }

    fn data(&self, from: &Party, _: vmmp::io::channel::Channel) {
        tracing::warn!("{} sends data to the agent, which takes none", crate::links::label(from));
    }

    fn user(&self, name: &str, mut conversation: Conversation) {
        while let Ok(request) = conversation.hear::<AgentRequest>() {
            tracing::debug!("{name} asks: {request:?}");
            let (sender, replies) = channel();
            let first = self.ask(request, sender);
            if self.answer(first, &replies, &mut conversation).is_err() {
                return;
            }
        }
    }

    fn text(&self, message: &text::Message) -> Option<text::Message> {
        tracing::warn!("a message of version 1.0 that nobody vouches for is not taken: {message}");
        None
    }
}

impl Users {
    /// What is answered at once; `None`: replies come.
    fn ask(&self, request: AgentRequest, replies: Sender<AgentReply>) -> Option<AgentReply> {
        let event = match request {
            AgentRequest::Query { machine, to } => {
                let methods = self.methods(&machine, &to);
                return Some(match methods {
                    Ok(methods) => AgentReply::Methods { methods },
                    Err(message) => AgentReply::Error { message },
                });
            }
            AgentRequest::Migrate { machine, to, method: Some(method) } => {
                Event::Migrate { machine, to, method, replies }
            }
            AgentRequest::Migrate { machine, to, method: None } => match self.methods(&machine, &to) {
                Ok(methods) => match methods.into_iter().next() {
                    Some(method) => Event::Migrate { machine, to, method, replies },
                    None => {
                        let message = format!("no method can move {machine} to {to} as it is now");
                        return Some(AgentReply::Error { message });
                    }
                },
                Err(message) => return Some(AgentReply::Error { message }),
            },
            AgentRequest::List => Event::List { replies },
            AgentRequest::Watch { id } => Event::Watch { id, replies },
            AgentRequest::Cancel { id, reason } => Event::Cancel { id, reason, replies },
        };
        match self.events.send(event) {
            Ok(()) => None,
            Err(_) => Some(AgentReply::Error { message: "the agent ends".into() }),
        }
    }

    /// Hands replies on until the last one.
    fn answer(
        &self,
        first: Option<AgentReply>,
        replies: &Receiver<AgentReply>,
        conversation: &mut Conversation,
    ) -> std::io::Result<()> {
        if let Some(reply) = first {
            return conversation.say(&reply);
        }
        for reply in replies {
            conversation.say(&reply)?;
            if !matches!(
                reply,
                AgentReply::Begun { .. } | AgentReply::Progress { .. } | AgentReply::Ended { .. }
            ) {
                break;
            }
        }
        Ok(())
    }

    /// What both sides have, in the order of the origin.
    fn methods(&self, machine: &MachineId, to: &PeerName) -> Result<Vec<MethodName>, String> {
        let (sender, replies) = channel();
        let ends = || "the agent ends".to_owned();
        self.events.send(Event::List { replies: sender }).map_err(|_| ends())?;
        let Ok(AgentReply::List { machines, .. }) = replies.recv() else { return Err(ends()) };
        let place = machines.into_iter().find(|place| place.machine == *machine);
        let place = place.ok_or_else(|| {
            format!("no machine {machine} is known; is the provider that has it connected?")
        })?;
        let ask = |of: &PeerName| {
            let (answer, methods) = channel();
            let event = Event::Ask { of: of.clone(), machine: machine.clone(), answer };
            self.events.send(event).map_err(|_| ends())?;
            Ok::<_, String>(methods)
        };
        let (there, here) = (ask(&place.provider)?, ask(to)?);
        let hear = |of: &PeerName, methods: Receiver<Vec<MethodName>>| {
            methods.recv_timeout(PATIENCE).map_err(|_| {
                format!("{of} does not say how it could; is it running, and in the configuration?")
            })
        };
        let (sends, takes) = (hear(&place.provider, there)?, hear(to, here)?);
        Ok(sends.into_iter().filter(|method| takes.contains(method)).collect())
    }
}
