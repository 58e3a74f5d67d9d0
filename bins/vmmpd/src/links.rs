//! Messages to other parties: each has a connection of its own, made when there is
//! something to say. What can't be said is dropped; whatever matters is said again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use vmmp::Message;
use vmmp::Party;
use vmmp::delta::DeltaError;
use vmmp::io::channel::{Channel, Keys, show_key};
use vmmp::io::greeting::{self, Purpose};
use vmmp::io::stream::{Address, Stream};
use vmmp::wire::{self, Frame};

use crate::error::Error;

/// The kind of a record that holds a frame of [`wire`].
pub(crate) const FRAME: u8 = 32;

/// How long making a connection may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// After a failure nothing is tried for so long.
const PAUSE: Duration = Duration::from_millis(300);

/// A failure that lasts is logged so often.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// Messages that wait for a peer, at most.
const WAITING: usize = 1024;

/// Where a party listens, and its key.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) address: Address,
    pub(crate) key: [u8; 32],
}

/// The way to every other party.
pub(crate) struct Links(BTreeMap<Party, SyncSender<Message>>);

impl Links {
    pub(crate) fn start(keys: &Arc<Keys>, contacts: &BTreeMap<Party, Contact>) -> Result<Self, Error> {
        let mut links = BTreeMap::new();
        for (party, contact) in contacts {
            let (sender, messages) = sync_channel(WAITING);
            let (keys, contact) = (Arc::clone(keys), contact.clone());
            thread::Builder::new()
                .name(format!("to-{}", label(party)))
                .spawn(move || speak(&keys, &contact, &messages))
                .map_err(Error::Thread)?;
            links.insert(party.clone(), sender);
        }
        Ok(Self(links))
    }

    /// Says something, sooner or later, if the other side can be reached.
    pub(crate) fn send(&self, to: &Party, message: Message) {
        match self.0.get(to) {
            // One that is full has lost more than this already.
            Some(link) => drop(link.try_send(message)),
            None => tracing::warn!("{} is not in the configuration; it is told nothing", label(to)),
        }
    }
}

pub(crate) fn label(party: &Party) -> String {
    match party {
        Party::Agent => "the agent".into(),
        Party::Peer(name) => name.to_string(),
    }
}

/// Makes a connection to a party.
pub(crate) fn connect(keys: &Keys, contact: &Contact, purpose: Purpose) -> Result<Channel, DeltaError> {
    let with = |source| DeltaError::Io { action: format!("reach {}", contact.address), source };
    let mut stream = Stream::connect(&contact.address, PATIENCE).map_err(with)?;
    stream.set_patience(Some(PATIENCE)).map_err(with)?;
    greeting::say(&mut stream, purpose).map_err(with)?;
    let channel =
        Channel::connect(stream, keys, &contact.key).map_err(|why| not_let_in(why, keys, contact))?;
    channel.set_patience(None)?;
    Ok(channel)
}

/// Whoever doesn't know our key hangs up and says nothing; then here is what to look at.
fn not_let_in(error: DeltaError, keys: &Keys, contact: &Contact) -> DeltaError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let address = &contact.address;
    match error {
        DeltaError::Io { source, .. }
            if matches!(source.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) =>
        {
            let why = format!(
                "it hangs up during the handshake; its configuration must have our key {}, and the one that we \
                 have of it must be its own",
                show_key(&keys.public)
            );
            DeltaError::Io { action: format!("be let in by {address}"), source: std::io::Error::other(why) }
        }
        error => error,
    }
}

fn speak(keys: &Keys, contact: &Contact, messages: &Receiver<Message>) {
    let mut channel: Option<Channel> = None;
    let mut failed: Option<Instant> = None;
    let mut logged: Option<Instant> = None;
    for message in messages {
        if failed.is_some_and(|at| at.elapsed() < PAUSE) {
            continue;
        }
        let mut bytes = Vec::new();
        if let Err(error) = wire::encode(&Frame::Message(message), &mut bytes) {
            tracing::error!("a message can't be sent: {error}");
            continue;
        }
        // The other side was restarted, maybe; what is written then is lost.
        channel = channel.filter(|channel| !channel.writer.has_ended());
        let mut said = || -> Result<(), DeltaError> {
            let channel = match &mut channel {
                Some(channel) => channel,
                None => channel.insert(connect(keys, contact, Purpose::Messages)?),
            };
            channel.writer.send(FRAME, &bytes)
        };
        match said() {
            Ok(()) => (failed, logged) = (None, None),
            Err(error) => {
                channel = None;
                failed = Some(Instant::now());
                if logged.is_none_or(|at| at.elapsed() > LOG_AGAIN) {
                    tracing::warn!("{error}; it is tried again when there is more to say");
                    logged = failed;
                }
            }
        }
    }
}
