//! Version 2: frames on a stream.
//!
//! | octets | field |
//! | --- | --- |
//! | 2 | `0xb3 0x02`: VMMP, version 2 |
//! | 1 | kind: 1 a [`Message`] as JSON, 2 data of a migration method |
//! | 1 | zero |
//! | 4 | length of what follows, most significant first; at most [`MAX_MESSAGE`] or [`MAX_DATA`] |
//!
//! The first octet is none of a 1.0 message, which begins with `<`: a listener tells
//! the two versions apart by it.

use crate::message::Message;

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 64 << 10;

/// The most data in a frame, in bytes.
pub const MAX_DATA: usize = 4 << 20;

/// The octets in front of every frame.
pub const HEADER: usize = 8;

/// The first octet of every frame.
pub const MAGIC: u8 = 0xb3;

/// The version that this crate speaks.
pub const VERSION: u8 = 2;

const MESSAGE: u8 = 1;
const DATA: u8 = 2;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// Data, which the migration's method understands.
    Data(Vec<u8>),
}

/// Bytes that are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Another protocol.
    #[error("a frame begins with octet {found:#04x}, not {MAGIC:#04x}: this is not VMMP")]
    Magic {
        /// The octet found.
        found: u8,
    },
    /// Another version.
    #[error("VMMP version {found}; this end speaks {VERSION}: upgrade the older of the two")]
    Version {
        /// The version found.
        found: u8,
    },
    /// A kind that there isn't.
    #[error("no frame has kind {kind} and reserved octet {reserved}")]
    Kind {
        /// The kind found.
        kind: u8,
        /// The octet that must be zero.
        reserved: u8,
    },
    /// It is too long.
    #[error("a frame of {length} bytes, longer than {most}")]
    TooLong {
        /// Its length.
        length: usize,
        /// What its kind may have.
        most: usize,
    },
    /// It is no message.
    #[error("a message that can't be read: {why}")]
    Malformed {
        /// What is wrong with it.
        why: String,
    },
}

/// Adds a frame to `bytes`.
///
/// # Errors
/// It is too long.
pub fn encode(frame: &Frame, bytes: &mut Vec<u8>) -> Result<(), WireError> {
    let json;
    let (kind, body, most) = match frame {
        Frame::Message(message) => {
            json = serde_json::to_vec(message).map_err(|e| WireError::Malformed { why: e.to_string() })?;
            (MESSAGE, &json, MAX_MESSAGE)
        }
        Frame::Data(data) => (DATA, data, MAX_DATA),
    };
    let length = body.len();
    if length > most {
        return Err(WireError::TooLong { length, most });
    }
    bytes.extend([MAGIC, VERSION, kind, 0]);
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend(body);
    Ok(())
}

/// Finds the frames in a stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, when it is whole. After an error the stream is of no use any
    /// more.
    ///
    /// # Errors
    /// What comes next is no frame, even if not all of it is there yet.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let bytes = &self.buffer[self.start..];
        if let Some(found) = bytes.first().copied().filter(|octet| *octet != MAGIC) {
            return Err(WireError::Magic { found });
        }
        if let Some(found) = bytes.get(1).copied().filter(|octet| *octet != VERSION) {
            return Err(WireError::Version { found });
        }
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [_, _, kind, reserved, a, b, c, d] = *head;
        let most = match (kind, reserved) {
            (MESSAGE, 0) => MAX_MESSAGE,
            (DATA, 0) => MAX_DATA,
            _ => return Err(WireError::Kind { kind, reserved }),
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > most {
            return Err(WireError::TooLong { length, most });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let frame = match kind {
            MESSAGE => Frame::Message(
                serde_json::from_slice(body).map_err(|e| WireError::Malformed { why: e.to_string() })?,
            ),
            _ => Frame::Data(body.to_vec()),
        };
        self.start += HEADER + length;
        Ok(Some(frame))
    }
}
