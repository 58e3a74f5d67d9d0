//! What daemons say to each other about a link, behind the
//! [encapsulation header](vnet_core::encap).
//!
//! | kind | body |
//! | --- | --- |
//! | `Hello`, `HelloAck` | incarnations (16), echo (8), name of the sender's host, name of the receiver's, features (1) |
//! | `Keepalive`, `KeepaliveAck` | incarnations (16), echo (8), delay (8) |
//! | `Close` | incarnations (16), echo (8), reason (1), text |
//! | `SizeProbe` | incarnations (16), padding up to the length to be tried |
//! | `SizeAck` | incarnations (16), length of the probe with its encapsulation header (4) |
//!
//! *Incarnations* are two numbers: the sender's, and the receiver's as the sender
//! knows it (0: not at all). *Echo* is the timestamp of the message that is
//! answered, or 0; *delay* is the time in nanoseconds from when that message
//! came. *Features* tells what the sender takes beyond plain frames ([`Features`]);
//! if it is missing, nothing. A name or text is a byte with its length, then UTF-8. Integers are
//! big-endian. Bytes after the body are ignored, for later versions to use.

use vnet_core::HostName;

/// The longest text of a [`CloseReason`], in bytes.
const MAX_TEXT: usize = 200;

/// A body that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early.
    #[error("a link message ends inside its body")]
    TooShort,
    /// A host name is not one.
    #[error("a link message names no valid host")]
    BadName,
    /// A text is not UTF-8.
    #[error("a link message has a text that is not UTF-8")]
    BadText,
}

/// Which runs of the two daemons a message is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnations {
    /// The sender's.
    pub sender: u64,
    /// The receiver's, as the sender knows it; 0: not at all.
    pub receiver: u64,
}

/// What a daemon takes over a link beyond plain frames.
///
/// | bit | kind of message |
/// | --- | --- |
/// | 0 | [`PartialFrame`](vnet_core::encap::Kind::PartialFrame) |
/// | 1 | over TCP: [`SuperFrame`](vnet_core::encap::Kind::SuperFrame) |
/// | 2 | over UDP: [`SizeProbe`](vnet_core::encap::Kind::SizeProbe), which it answers |
/// | 3 | over UDP: [`Fragment`](vnet_core::encap::Kind::Fragment) |
///
/// Other bits are ignored, for later versions to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Frames whose TCP or UDP checksum is yet to be filled in.
    pub partial_frames: bool,
    /// Super-frames that are yet to be cut.
    pub super_frames: bool,
    /// Probes of the path's MTU.
    pub size_probes: bool,
    /// Frames in pieces.
    pub fragments: bool,
}

impl Features {
    /// All that this version has.
    pub const ALL: Self =
        Self { partial_frames: true, super_frames: true, size_probes: true, fragments: true };

    /// All but the frames that are not as they would be on a wire.
    pub const WIRE_FRAMES: Self = Self { partial_frames: false, super_frames: false, ..Self::ALL };

    fn to_bits(self) -> u8 {
        let Self { partial_frames, super_frames, size_probes, fragments } = self;
        let bits = [partial_frames, super_frames, size_probes, fragments].into_iter().enumerate();
        bits.map(|(n, bit)| u8::from(bit) << n).sum()
    }

    fn from_bits(bits: u8) -> Self {
        let bit = |n: u8| bits >> n & 1 != 0;
        Self { partial_frames: bit(0), super_frames: bit(1), size_probes: bit(2), fragments: bit(3) }
    }
}

/// `Hello` and `HelloAck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Between whom.
    pub incarnations: Incarnations,
    /// The timestamp of the `Hello` that is answered; 0 in a `Hello`.
    pub echo: u64,
    /// The sender's host.
    pub from: HostName,
    /// The host that the sender wants.
    pub to: HostName,
    /// What the sender takes.
    pub features: Features,
}

/// `Keepalive` and `KeepaliveAck`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Between whom.
    pub incarnations: Incarnations,
    /// The timestamp of the receiver's last message that has one to prove; 0: none.
    pub echo: u64,
    /// How long ago that message came, in nanoseconds.
    pub delay: u64,
}

/// `SizeProbe`; its length is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeProbe {
    /// Between whom.
    pub incarnations: Incarnations,
}

/// `SizeAck`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeAck {
    /// Between whom.
    pub incarnations: Incarnations,
    /// The length of the probe in bytes, with its encapsulation header, without
    /// what encryption adds.
    pub length: u32,
}

/// Why a peer refuses a link or takes it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// The peer's daemon doesn't have this link (yet).
    NoSuchLink = 1,
    /// The peer doesn't know this session: it has restarted, or the address is new to it.
    NoSession = 2,
    /// The peer's daemon has removed the link.
    Removed = 3,
    /// The peer has another connection for the link.
    Duplicate = 4,
    /// One end has the link over TCP, the other over UDP.
    OtherKind = 5,
    /// The peer's daemon is being stopped.
    Stopping = 6,
    /// The peer's daemon has plain links, and got an encrypted message.
    NotEncrypted = 7,
    /// A reason that a later version has.
    Other = 0,
}

/// `Close`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Between whom.
    pub incarnations: Incarnations,
    /// The timestamp of the message that is answered.
    pub echo: u64,
    /// Why.
    pub reason: CloseReason,
    /// The same for people.
    pub text: String,
}

impl From<u8> for CloseReason {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::NoSuchLink,
            2 => Self::NoSession,
            3 => Self::Removed,
            4 => Self::Duplicate,
            5 => Self::OtherKind,
            6 => Self::Stopping,
            7 => Self::NotEncrypted,
            _ => Self::Other,
        }
    }
}

impl Greeting {
    /// The body as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = start(self.incarnations, self.echo);
        put_text(&mut out, self.from.as_str());
        put_text(&mut out, self.to.as_str());
        out.push(self.features.to_bits());
        out
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Fields(body);
        let (incarnations, echo) = reader.start()?;
        let (from, to) = (reader.name()?, reader.name()?);
        // An earlier version sends none.
        let features = reader.bytes::<1>().map_or(Features::default(), |[bits]| Features::from_bits(bits));
        Ok(Self { incarnations, echo, from, to, features })
    }
}

impl Pulse {
    /// The body as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = start(self.incarnations, self.echo);
        out.extend(self.delay.to_be_bytes());
        out
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Fields(body);
        let (incarnations, echo) = reader.start()?;
        Ok(Self { incarnations, echo, delay: reader.u64()? })
    }
}

impl SizeProbe {
    /// The body as bytes, padded to `length`.
    pub fn encode(&self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length);
        self.incarnations.put(&mut out);
        out.resize(length.max(out.len()), 0);
        out
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        Ok(Self { incarnations: Fields(body).incarnations()? })
    }
}

impl SizeAck {
    /// The body as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        self.incarnations.put(&mut out);
        out.extend(self.length.to_be_bytes());
        out
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Fields(body);
        let incarnations = reader.incarnations()?;
        Ok(Self { incarnations, length: reader.bytes().map(u32::from_be_bytes)? })
    }
}

impl Close {
    /// The body as bytes. The text is cut to 200 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = start(self.incarnations, self.echo);
        out.push(self.reason as u8);
        put_text(&mut out, &self.text[..self.text.floor_char_boundary(MAX_TEXT)]);
        out
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Fields(body);
        let (incarnations, echo) = reader.start()?;
        let reason = CloseReason::from(reader.bytes::<1>()?[0]);
        Ok(Self { incarnations, echo, reason, text: reader.text()?.to_owned() })
    }
}

fn start(incarnations: Incarnations, echo: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    incarnations.put(&mut out);
    out.extend(echo.to_be_bytes());
    out
}

impl Incarnations {
    fn put(self, out: &mut Vec<u8>) {
        out.extend(self.sender.to_be_bytes());
        out.extend(self.receiver.to_be_bytes());
    }
}

/// The text has at most 255 bytes: host names have 253, other texts are cut.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend(text.as_bytes());
}

/// The rest of a body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(MessageError::TooShort)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        self.bytes().map(u64::from_be_bytes)
    }

    fn incarnations(&mut self) -> Result<Incarnations, MessageError> {
        Ok(Incarnations { sender: self.u64()?, receiver: self.u64()? })
    }

    fn start(&mut self) -> Result<(Incarnations, u64), MessageError> {
        Ok((self.incarnations()?, self.u64()?))
    }

    fn text(&mut self) -> Result<&'a str, MessageError> {
        let length = usize::from(self.bytes::<1>()?[0]);
        let (text, rest) = self.0.split_at_checked(length).ok_or(MessageError::TooShort)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| MessageError::BadText)
    }

    fn name(&mut self) -> Result<HostName, MessageError> {
        HostName::new(self.text()?).map_err(|_| MessageError::BadName)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn incarnations() -> impl Strategy<Value = Incarnations> {
        any::<(u64, u64)>().prop_map(|(sender, receiver)| Incarnations { sender, receiver })
    }

    fn host() -> impl Strategy<Value = HostName> {
        "[a-z][a-z0-9.-]{0,252}".prop_map(|name| HostName::new(&name).unwrap())
    }

    proptest! {
        #[test]
        fn greetings_survive(
            incarnations in incarnations(), echo: u64, from in host(), to in host(), bits in 0_u8..16,
        ) {
            let features = Features::from_bits(bits);
            let greeting = Greeting { incarnations, echo, from, to, features };
            prop_assert_eq!(Greeting::decode(&greeting.encode()), Ok(greeting));
        }

        #[test]
        fn pulses_survive(incarnations in incarnations(), echo: u64, delay: u64) {
            let pulse = Pulse { incarnations, echo, delay };
            prop_assert_eq!(Pulse::decode(&pulse.encode()), Ok(pulse));
        }

        #[test]
        fn probes_and_their_answers_survive(incarnations in incarnations(), length: u32, padded in 0_usize..9000) {
            let probe = SizeProbe { incarnations }.encode(padded);
            prop_assert_eq!(probe.len(), padded.max(16));
            prop_assert_eq!(SizeProbe::decode(&probe), Ok(SizeProbe { incarnations }));
            let ack = SizeAck { incarnations, length };
            prop_assert_eq!(SizeAck::decode(&ack.encode()), Ok(ack));
        }

        #[test]
        fn closes_survive_but_for_long_texts(
            incarnations in incarnations(), echo: u64, code in 0_u8..9, text in ".{0,300}",
        ) {
            let close = Close { incarnations, echo, reason: CloseReason::from(code), text };
            let read = Close::decode(&close.encode()).unwrap();
            prop_assert!(close.text.starts_with(&read.text));
            prop_assert!(read.text == close.text || read.text.len() > MAX_TEXT - 4);
            prop_assert_eq!(Close { text: read.text.clone(), ..close }, read);
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(greeting) = Greeting::decode(&body) {
                // But for features, which may be missing or from a later version.
                let encoded = greeting.encode();
                prop_assert!(body.starts_with(&encoded[..encoded.len() - 1]));
            }
            if let Ok(pulse) = Pulse::decode(&body) {
                prop_assert!(body.starts_with(&pulse.encode()));
            }
            let _ = (Close::decode(&body), SizeProbe::decode(&body), SizeAck::decode(&body));
        }
    }
}
