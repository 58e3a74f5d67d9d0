//! A peer that says what the test wants, with a provider's keys, over real sockets.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use vmmp::Message;
use vmmp::io::channel::{Channel, Keys};
use vmmp::io::greeting::{self, Opening, Purpose};
use vmmp::io::stream::{Address, Listener, Stream};
use vmmp::wire::{self, Decoder, Frame};

use super::PATIENCE;

/// The kind of a record that holds a frame, as the daemons have it.
pub const FRAME: u8 = 32;

pub struct FakePeer {
    keys: Keys,
    to: Address,
    other: [u8; 32],
    messages: Receiver<Message>,
}

impl FakePeer {
    /// Takes the place of the provider `name`, which must not run, in talks with `other`.
    pub fn of(folder: &Path, name: &str, other: &str) -> Self {
        let keys = |name: &str| Keys::load_or_make(&folder.join(name).join("key")).expect("it is there");
        let listener = Listener::bind(&Address::Unix(folder.join(format!("{name}.wire"))));
        let listener = listener.expect("nobody else listens there");
        let (sender, messages) = channel();
        let (mine, other_key) = (keys(name), keys(other).public);
        thread::spawn(move || {
            while let Ok(mut stream) = listener.accept() {
                let Ok(Opening::Secure(Purpose::Messages)) = greeting::hear(&mut stream) else { continue };
                let Ok(mut channel) = Channel::accept(stream, &mine, &[other_key]) else { continue };
                let mut decoder = Decoder::default();
                while let Ok((FRAME, body)) = channel.reader.receive() {
                    decoder.push(&body);
                    while let Ok(Some(Frame::Message(message))) = decoder.next_frame() {
                        if sender.send(message).is_err() {
                            return;
                        }
                    }
                }
            }
        });
        let to = Address::Unix(folder.join(format!("{other}.wire")));
        Self { keys: keys(name), to, other: other_key, messages }
    }

    /// A connection to the other provider.
    pub fn connect(&self, purpose: Purpose) -> Channel {
        let mut stream = Stream::connect(&self.to, Duration::from_secs(20)).expect("it listens");
        stream.set_patience(Some(PATIENCE)).expect("it is open");
        greeting::say(&mut stream, purpose).expect("it listens");
        Channel::connect(stream, &self.keys, &self.other).expect("it knows the key")
    }

    pub fn say(&self, message: Message) {
        let mut bytes = Vec::new();
        wire::encode(&Frame::Message(message), &mut bytes).expect("it is short");
        self.connect(Purpose::Messages).writer.send(FRAME, &bytes).expect("it listens");
    }

    /// The next message that `wanted` takes.
    pub fn hear<T>(&self, wanted: impl Fn(&Message) -> Option<T>) -> T {
        loop {
            let message = self.messages.recv_timeout(PATIENCE).expect("it answers");
            if let Some(found) = wanted(&message) {
                return found;
            }
        }
    }

    /// Why the other one refuses what was said.
    pub fn refusal(&self, message: Message) -> String {
        self.say(message);
        self.hear(|message| match message {
            Message::Refuse { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }
}
