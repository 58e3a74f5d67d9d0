//! What goes over a connection between two ranks, and its incremental parser.
//!
//! Each side first sends one hello, then frames: a header each, and after the
//! header of a data frame its payload. All numbers are big-endian.
//!
//! | hello: offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic, `VPATTERN` |
//! | 8 | 2 | version, 1 |
//! | 10 | 2 | flags; bit 0: the sender has not joined the run yet |
//! | 12 | 4 | rank of the sender |
//! | 16 | 4 | rank of the receiver, as the sender believes |
//! | 20 | 4 | number of ranks |
//! | 24 | 8 | digest of the workload, the same on all ranks |
//!
//! | header: offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | kind: 1 resume, 2 data, 3 goodbye, 4 refusal |
//! | 1 | 1 | code of a goodbye or refusal, else 0 |
//! | 2 | 2 | 0 |
//! | 4 | 4 | rank of the sender |
//! | 8 | 8 | resume: the next iteration wanted; data: its iteration; else 0 |
//! | 16 | 8 | data: length of the payload that follows; else 0 |
//!
//! A message is one data frame; its payload is that of [`Payload`](crate::payload::Payload).
//! The same connection can break and be made anew: each side then says with a
//! resume frame which message it wants next.

use std::fmt;

/// The version of the format.
pub const VERSION: u16 = 1;
/// Bytes of a hello.
pub const HELLO_BYTES: usize = 32;
/// Bytes of the header of a frame.
pub const HEADER_BYTES: usize = 24;
/// The longest message.
pub const MAX_MESSAGE: u64 = 1 << 30;

const MAGIC: [u8; 8] = *b"VPATTERN";

/// The first thing that each side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Has the sender no iteration of its own yet?
    pub joining: bool,
    /// The sender.
    pub rank: u32,
    /// Whom the sender means to talk to.
    pub receiver: u32,
    /// How many ranks there are.
    pub ranks: u32,
    /// [`Workload::digest`](crate::Workload::digest).
    pub workload: u64,
}

impl Hello {
    /// The hello in the wire format.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bytes[10..12].copy_from_slice(&u16::from(self.joining).to_be_bytes());
        bytes[12..16].copy_from_slice(&self.rank.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.receiver.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.ranks.to_be_bytes());
        bytes[24..].copy_from_slice(&self.workload.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, WireError> {
        if bytes[..8] != MAGIC {
            return Err(WireError::NotPatterns);
        }
        let version = be16(&bytes[8..10]);
        if version != VERSION {
            return Err(WireError::Version { version });
        }
        let flags = be16(&bytes[10..12]);
        if flags > 1 {
            return Err(WireError::Flags { flags });
        }
        Ok(Self {
            joining: flags == 1,
            rank: be32(&bytes[12..16]),
            receiver: be32(&bytes[16..20]),
            ranks: be32(&bytes[20..24]),
            workload: be64(&bytes[24..]),
        })
    }
}

/// Why a rank takes its leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// It has done all its iterations; others may still have some to do.
    Done,
    /// It was told to stop, and asks everybody else to stop too.
    Stop,
}

/// Why a rank refuses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The two run different workloads.
    Workload,
    /// The two count different numbers of ranks.
    Ranks,
    /// The receiver is another rank than the sender believes.
    Receiver,
    /// In this workload there is no channel between the two.
    NoChannel,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workload => {
                "it runs another workload; shape, operation, message size, compute time and number of \
                 iterations must be the same on all ranks"
            }
            Self::Ranks => "it was given another number of peers",
            Self::Receiver => "it has another rank; the order of the peers must be the same on all ranks",
            Self::NoChannel => "in its workload the two ranks don't exchange messages",
        })
    }
}

/// A frame, without the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Send me this message next.
    Resume {
        /// The iteration of the message.
        next: u64,
    },
    /// A message.
    Data {
        /// Its iteration.
        iteration: u64,
        /// The length of the payload that follows, 1 to [`MAX_MESSAGE`].
        length: u64,
    },
    /// The last frame that the sender sends.
    Goodbye(Goodbye),
    /// The last frame that the sender sends: it doesn't want this connection.
    Refusal(Refusal),
}

impl Header {
    /// The header in the wire format.
    pub fn encode(&self, sender: u32) -> [u8; HEADER_BYTES] {
        let (kind, code, iteration, length) = match *self {
            Self::Resume { next } => (1, 0, next, 0),
            Self::Data { iteration, length } => (2, 0, iteration, length),
            Self::Goodbye(Goodbye::Done) => (3, 1, 0, 0),
            Self::Goodbye(Goodbye::Stop) => (3, 2, 0, 0),
            Self::Refusal(Refusal::Workload) => (4, 1, 0, 0),
            Self::Refusal(Refusal::Ranks) => (4, 2, 0, 0),
            Self::Refusal(Refusal::Receiver) => (4, 3, 0, 0),
            Self::Refusal(Refusal::NoChannel) => (4, 4, 0, 0),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = kind;
        bytes[1] = code;
        bytes[4..8].copy_from_slice(&sender.to_be_bytes());
        bytes[8..16].copy_from_slice(&iteration.to_be_bytes());
        bytes[16..].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(u32, Self), WireError> {
        let (iteration, length) = (be64(&bytes[8..16]), be64(&bytes[16..]));
        let header = match (bytes[0], bytes[1], be16(&bytes[2..4]), iteration, length) {
            (1, 0, 0, next, 0) => Self::Resume { next },
            (2, 0, 0, iteration, 1..=MAX_MESSAGE) => Self::Data { iteration, length },
            (3, 1, 0, 0, 0) => Self::Goodbye(Goodbye::Done),
            (3, 2, 0, 0, 0) => Self::Goodbye(Goodbye::Stop),
            (4, 1, 0, 0, 0) => Self::Refusal(Refusal::Workload),
            (4, 2, 0, 0, 0) => Self::Refusal(Refusal::Ranks),
            (4, 3, 0, 0, 0) => Self::Refusal(Refusal::Receiver),
            (4, 4, 0, 0, 0) => Self::Refusal(Refusal::NoChannel),
            (kind, code, ..) => return Err(WireError::Header { kind, code, iteration, length }),
        };
        Ok((be32(&bytes[4..8]), header))
    }
}

/// Bytes that are not in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No hello.
    #[error("the first bytes are not those of patterns")]
    NotPatterns,
    /// Another release.
    #[error("version {version} of the format, this program speaks {VERSION}")]
    Version {
        /// The other's version.
        version: u16,
    },
    /// A flag that this version doesn't know.
    #[error("unknown flags {flags:#x} in a hello")]
    Flags {
        /// All the flags.
        flags: u16,
    },
    /// A header with a kind, code or value that can't be.
    #[error("a frame of kind {kind}, code {code}, iteration {iteration}, length {length} can't be")]
    Header {
        /// What kind of frame.
        kind: u8,
        /// The code.
        code: u8,
        /// The iteration.
        iteration: u64,
        /// The length.
        length: u64,
    },
    /// A frame that claims to be from another rank than the hello.
    #[error("a frame of rank {found} on the connection of rank {expected}")]
    Sender {
        /// Who said hello.
        expected: u32,
        /// Who the frame says it is from.
        found: u32,
    },
}

/// What the parser found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The first thing on every connection.
    Hello(Hello),
    /// A header.
    Header(Header),
    /// A piece of the payload of the last data header, in order.
    Payload {
        /// The message's iteration.
        iteration: u64,
        /// Where in the payload the piece starts.
        offset: u64,
        /// The piece; not empty.
        bytes: &'a [u8],
        /// Does the piece end the message?
        last: bool,
    },
}

/// An incremental parser of one direction of a connection.
///
/// Never holds more than a hello; payload passes through. After an error the
/// stream can't be parsed any further.
#[derive(Clone, Debug)]
pub struct Decoder {
    partial: [u8; HELLO_BYTES],
    held: usize,
    sender: Option<u32>,
    payload: Option<PayloadState>,
}

#[derive(Clone, Copy, Debug)]
struct PayloadState {
    iteration: u64,
    length: u64,
    offset: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { partial: [0; HELLO_BYTES], held: 0, sender: None, payload: None }
    }
}

impl Decoder {
    /// Takes the next event from the front of `input`, which is advanced past
    /// what was used; `None` once all of `input` is used and no event complete.
    ///
    /// # Errors
    ///
    /// The bytes are not in the format.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, WireError> {
        if let Some(state) = &mut self.payload {
            if input.is_empty() {
                return Ok(None);
            }
            let rest = usize::try_from(state.length - state.offset).unwrap_or(usize::MAX);
            let (bytes, after) = input.split_at(input.len().min(rest));
            *input = after;
            let (iteration, offset) = (state.iteration, state.offset);
            state.offset += bytes.len() as u64;
            let last = state.offset == state.length;
            if last {
                self.payload = None;
            }
            return Ok(Some(Event::Payload { iteration, offset, bytes, last }));
        }
        let Some(sender) = self.sender else {
            if !self.hold(input, HELLO_BYTES) {
                return Ok(None);
            }
            let hello = Hello::decode(&self.partial)?;
            self.sender = Some(hello.rank);
            return Ok(Some(Event::Hello(hello)));
        };
        if !self.hold(input, HEADER_BYTES) {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(&self.partial[..HEADER_BYTES]);
        let (found, header) = Header::decode(&bytes)?;
        if found != sender {
            return Err(WireError::Sender { expected: sender, found });
        }
        if let Header::Data { iteration, length } = header {
            self.payload = Some(PayloadState { iteration, length, offset: 0 });
        }
        Ok(Some(Event::Header(header)))
    }

    /// Collects bytes until there are `wanted`; they are then in `partial`.
    fn hold(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let (bytes, after) = input.split_at(input.len().min(wanted - self.held));
        self.partial[self.held..self.held + bytes.len()].copy_from_slice(bytes);
        self.held += bytes.len();
        *input = after;
        let complete = self.held == wanted;
        if complete {
            self.held = 0;
        }
        complete
    }
}

fn be16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |n, b| n << 8 | u16::from(*b))
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An event that owns its bytes, with the pieces of a payload joined.
    #[derive(Clone, Debug, PartialEq)]
    enum Whole {
        Hello(Hello),
        Header(Header),
        Payload(u64, Vec<u8>, bool),
    }

    fn header() -> impl Strategy<Value = Header> {
        prop_oneof![
            any::<u64>().prop_map(|next| Header::Resume { next }),
            (any::<u64>(), 1_u64..300).prop_map(|(iteration, length)| Header::Data { iteration, length }),
            prop::sample::select(vec![Goodbye::Done, Goodbye::Stop]).prop_map(Header::Goodbye),
            prop::sample::select(vec![
                Refusal::Workload,
                Refusal::Ranks,
                Refusal::Receiver,
                Refusal::NoChannel
            ])
            .prop_map(Header::Refusal),
        ]
    }

    fn hello() -> impl Strategy<Value = Hello> {
        (any::<bool>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
            |(joining, rank, receiver, ranks, workload)| Hello { joining, rank, receiver, ranks, workload },
        )
    }

    fn stream(hello: Hello, headers: &[Header]) -> (Vec<u8>, Vec<Whole>) {
        let (mut bytes, mut events) = (hello.encode().to_vec(), vec![Whole::Hello(hello)]);
        for header in headers {
            bytes.extend_from_slice(&header.encode(hello.rank));
            events.push(Whole::Header(*header));
            if let Header::Data { iteration, length } = *header {
                let payload: Vec<u8> = (0..length).map(|i| (i ^ iteration) as u8).collect();
                bytes.extend_from_slice(&payload);
                events.push(Whole::Payload(iteration, payload, true));
            }
        }
        (bytes, events)
    }

    fn decode(chunks: &[&[u8]]) -> Result<Vec<Whole>, WireError> {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(event) = decoder.next(&mut input)? {
                match (event, events.last_mut()) {
                    (Event::Payload { offset, bytes, last, .. }, Some(Whole::Payload(_, whole, end)))
                        if !*end =>
                    {
                        assert_eq!(offset, whole.len() as u64);
                        whole.extend_from_slice(bytes);
                        *end = last;
                    }
                    (Event::Payload { iteration, offset, bytes, last }, _) => {
                        assert!(offset == 0 && !bytes.is_empty());
                        events.push(Whole::Payload(iteration, bytes.to_vec(), last));
                    }
                    (Event::Header(header), _) => events.push(Whole::Header(header)),
                    (Event::Hello(hello), _) => events.push(Whole::Hello(hello)),
                }
            }
            assert!(input.is_empty());
        }
        Ok(events)
    }

    proptest! {
        #[test]
        fn a_stream_parses_alike_however_it_is_cut(
            hello in hello(),
            headers in prop::collection::vec(header(), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let (bytes, events) = stream(hello, &headers);
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(&chunks), Ok(events));
        }

        #[test]
        fn a_cut_stream_gives_a_prefix_of_its_events(
            hello in hello(), headers in prop::collection::vec(header(), 0..4), cut: prop::sample::Index,
        ) {
            let (bytes, events) = stream(hello, &headers);
            let found = decode(&[&bytes[..cut.index(bytes.len())]]).unwrap();
            for (found, event) in found.iter().zip(&events) {
                match (found, event) {
                    (Whole::Payload(_, part, false), Whole::Payload(_, whole, _)) => {
                        prop_assert!(whole.starts_with(part));
                    }
                    _ => prop_assert_eq!(found, event),
                }
            }
            prop_assert!(found.len() <= events.len());
        }

        #[test]
        fn any_bytes_parse_or_fail_without_panic(
            hello in hello(), good: bool, garbage in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = if good { hello.encode().to_vec() } else { Vec::new() };
            bytes.extend_from_slice(&garbage);
            let _ = decode(&[&bytes]);
        }

        #[test]
        fn whatever_parses_is_printed_the_same(kind in 0_u8..6, code in 0_u8..6, n in 0_u64..3, length in 0_u64..3) {
            let mut bytes = [0; HEADER_BYTES];
            bytes[0] = kind;
            bytes[1] = code;
            bytes[15] = n as u8;
            bytes[23] = length as u8;
            if let Ok((sender, header)) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(sender), bytes);
            }
        }
    }

    #[test]
    fn what_is_not_in_the_format_is_refused_by_name() {
        let hello = Hello { joining: true, rank: 3, receiver: 1, ranks: 8, workload: 7 };
        let with = |at: usize, value: u8| {
            let mut bytes = hello.encode();
            bytes[at] = value;
            decode(&[&bytes]).unwrap_err()
        };
        assert_eq!(with(0, b'G'), WireError::NotPatterns);
        assert_eq!(with(9, 2), WireError::Version { version: 2 });
        assert_eq!(with(11, 2), WireError::Flags { flags: 2 });
        let frame = |sender, header: Header| decode(&[&hello.encode(), &header.encode(sender)]).unwrap_err();
        assert_eq!(frame(4, Header::Goodbye(Goodbye::Stop)), WireError::Sender { expected: 3, found: 4 });
        for length in [0, MAX_MESSAGE + 1] {
            let error = frame(3, Header::Data { iteration: 1, length });
            assert_eq!(error, WireError::Header { kind: 2, code: 0, iteration: 1, length });
        }
    }
}
