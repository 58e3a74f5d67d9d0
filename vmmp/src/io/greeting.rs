//! How connections begin, so that a listener knows what comes.
//!
//! | octets | field |
//! | --- | --- |
//! | 2 | `0xb3 0x02`: VMMP, version 2, as in every frame |
//! | 1 | 3: the rest is encrypted, a [`Channel`](super::channel::Channel) |
//! | 1 | what it is for: a [`Purpose`] |
//!
//! What begins with `<` is a message of version 1.0.

use std::io::{self, Read, Write};

use crate::wire::{MAGIC, VERSION, WireError};

const SECURE: u8 = 3;

/// What a connection is for. The number goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// \[1\] Messages to whoever listens; it answers over a connection of its own.
    Messages,
    /// \[2\] Data of a migration, from or to whoever listens.
    Data,
    /// \[3\] A user's requests.
    Control,
}

/// How a connection has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Version 2.
    Secure(Purpose),
    /// Version 1.0; these octets have come already.
    Text([u8; 4]),
}

/// Why a connection was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// It ended.
    #[error("it ended before it began: {0}")]
    Io(#[from] io::Error),
    /// It is something else, or another version.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Begins a connection.
///
/// # Errors
/// It has ended.
pub fn say(stream: &mut impl Write, purpose: Purpose) -> io::Result<()> {
    let number = match purpose {
        Purpose::Messages => 1,
        Purpose::Data => 2,
        Purpose::Control => 3,
    };
    stream.write_all(&[MAGIC, VERSION, SECURE, number])
}

/// Hears how a connection begins.
///
/// # Errors
/// It has ended, or is none of ours.
pub fn hear(stream: &mut impl Read) -> Result<Opening, OpeningError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    match head {
        [b'<', ..] => Ok(Opening::Text(head)),
        [MAGIC, VERSION, SECURE, 1] => Ok(Opening::Secure(Purpose::Messages)),
        [MAGIC, VERSION, SECURE, 2] => Ok(Opening::Secure(Purpose::Data)),
        [MAGIC, VERSION, SECURE, 3] => Ok(Opening::Secure(Purpose::Control)),
        [MAGIC, VERSION, kind, reserved] => Err(WireError::Kind { kind, reserved }.into()),
        [MAGIC, found, ..] => Err(WireError::Version { found }.into()),
        [found, ..] => Err(WireError::Magic { found }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_heard_and_nothing_else_is() {
        for purpose in [Purpose::Messages, Purpose::Data, Purpose::Control] {
            let mut bytes = Vec::new();
            say(&mut bytes, purpose).unwrap();
            assert_eq!(hear(&mut bytes.as_slice()).unwrap(), Opening::Secure(purpose));
            bytes[1] = 7;
            let error = hear(&mut bytes.as_slice()).unwrap_err().to_string();
            assert_eq!(error, "VMMP version 7; this end speaks 2: upgrade the older of the two");
        }
        assert_eq!(hear(&mut b"<VMMP".as_slice()).unwrap(), Opening::Text(*b"<VMM"));
        assert!(hear(&mut b"GET /".as_slice()).is_err());
        assert!(hear(&mut [MAGIC, VERSION, 3, 9].as_slice()).is_err());
    }
}
