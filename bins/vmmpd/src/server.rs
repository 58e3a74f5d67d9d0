//! Listening: connections of other parties and of users.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use vmmp::io::channel::{Channel, Keys};
use vmmp::io::greeting::{self, Opening, Purpose};
use vmmp::io::stream::{Address, Listener, Stream};
use vmmp::wire::{Decoder, Frame};
use vmmp::{Message, Party, text};

use crate::control::Conversation;
use crate::error::Error;
use crate::links::{FRAME, PATIENCE, label};

/// Connections at a time, at most.
const MOST: usize = 512;

/// What is done with connections.
pub(crate) trait Handler: Send + Sync + 'static {
    /// A message has come.
    fn message(&self, from: &Party, message: Message);

    /// A connection for data of a migration. Returns when it is done with it.
    fn data(&self, from: &Party, channel: Channel);

    /// A user's connection. Returns when it is done with it.
    fn user(&self, name: &str, conversation: Conversation);

    /// A message of version 1.0, which nobody vouches for; what is answered.
    fn text(&self, message: &text::Message) -> Option<text::Message>;
}

/// Whom a key belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Whose {
    Party(Party),
    User(String),
}

/// Listens for parties, which must have one of these keys.
pub(crate) fn listen(
    address: &Address,
    keys: &Arc<Keys>,
    whose: &Arc<BTreeMap<[u8; 32], Whose>>,
    handler: &Arc<impl Handler>,
) -> Result<(), Error> {
    let wrong = |source| Error::Listen { address: address.clone(), source };
    let listener = Listener::bind(address).map_err(wrong)?;
    let (keys, whose, handler) = (Arc::clone(keys), Arc::clone(whose), Arc::clone(handler));
    serve(listener, move |stream| {
        if let Err(why) = admit(stream, &keys, &whose, &*handler) {
            tracing::warn!("a connection was refused: {why}");
        }
    })
}

/// Listens for users of this machine; the socket's permissions say who may.
pub(crate) fn listen_for_users(address: &Address, handler: &Arc<impl Handler>) -> Result<(), Error> {
    let wrong = |source| Error::Listen { address: address.clone(), source };
    let listener = Listener::bind(address).map_err(wrong)?;
    let handler = Arc::clone(handler);
    serve(listener, move |stream| handler.user("a user of this machine", Conversation::Plain(stream)))
}

fn serve(listener: Listener, work: impl Fn(Stream) + Send + Sync + 'static) -> Result<(), Error> {
    let work = Arc::new(work);
    let count = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        loop {
            let stream = match listener.accept() {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!("a connection could not be taken: {error}");
                    thread::sleep(std::time::Duration::from_millis(100));
                    continue;
                }
            };
            if count.load(Relaxed) >= MOST {
                tracing::warn!("{MOST} connections are open already; another one was refused");
                continue;
            }
            count.fetch_add(1, Relaxed);
            let (work, counted) = (Arc::clone(&work), Arc::clone(&count));
            let spawned = thread::Builder::new().name("connection".into()).spawn(move || {
                work(stream);
                counted.fetch_sub(1, Relaxed);
            });
            if let Err(error) = spawned {
                count.fetch_sub(1, Relaxed);
                tracing::warn!("a connection could not be taken: {error}");
            }
        }
    };
    thread::Builder::new().name("listen".into()).spawn(accept).map(drop).map_err(Error::Thread)
}

fn admit(
    mut stream: Stream,
    keys: &Keys,
    whose: &BTreeMap<[u8; 32], Whose>,
    handler: &impl Handler,
) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    stream.set_patience(Some(PATIENCE)).map_err(failed)?;
    let purpose = match greeting::hear(&mut stream) {
        Ok(Opening::Secure(purpose)) => purpose,
        Ok(Opening::Text(begin)) => return converse(stream, &begin, handler),
        Err(error) => return Err(error.to_string()),
    };
    let allowed: Vec<[u8; 32]> = whose.keys().copied().collect();
    let channel = Channel::accept(stream, keys, &allowed).map_err(|error| error.to_string())?;
    channel.set_patience(None).map_err(|error| error.to_string())?;
    match (whose.get(&channel.peer), purpose) {
        (Some(Whose::Party(party)), Purpose::Messages) => hear(party, channel, handler),
        (Some(Whose::Party(party)), Purpose::Data) => {
            handler.data(party, channel);
            Ok(())
        }
        (Some(Whose::User(name)), Purpose::Control) => {
            handler.user(name, Conversation::Secure(Box::new(channel)));
            Ok(())
        }
        (Some(Whose::Party(party)), _) => Err(format!("{} is a provider, not a user", label(party))),
        (Some(Whose::User(name)), _) => Err(format!("{name} is a user, not a provider")),
        (None, _) => Err("its key is unknown".into()),
    }
}

/// Takes messages until the other side has no more.
fn hear(party: &Party, mut channel: Channel, handler: &impl Handler) -> Result<(), String> {
    let mut decoder = Decoder::default();
    loop {
        let Ok((kind, body)) = channel.reader.receive() else { return Ok(()) };
        if kind != FRAME {
            return Err(format!("{} sends record {kind} in place of a message", label(party)));
        }
        decoder.push(&body);
        loop {
            match decoder.next_frame() {
                Ok(Some(Frame::Message(message))) => handler.message(party, message),
                Ok(Some(Frame::Data(_))) => return Err(format!("{} sends data", label(party))),
                Ok(None) => break,
                Err(error) => return Err(format!("{}: {error}", label(party))),
            }
        }
    }
}

/// Answers messages of version 1.0.
fn converse(mut stream: Stream, begin: &[u8], handler: &impl Handler) -> Result<(), String> {
    let mut decoder = text::Decoder::default();
    decoder.push(begin);
    let mut buffer = [0; 1024];
    loop {
        while let Some(message) = decoder.next_message() {
            let message = message.map_err(|error| error.to_string())?;
            if let Some(answer) = handler.text(&message) {
                stream.write_all(answer.to_string().as_bytes()).map_err(|error| error.to_string())?;
            }
        }
        match std::io::Read::read(&mut stream, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => decoder.push(&buffer[..length]),
            Err(error) => return Err(error.to_string()),
        }
    }
}
