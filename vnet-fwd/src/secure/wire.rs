//! The messages of an encrypted link as bytes: the tables are in `wire.md`.

use super::cipher::TAG;
use super::noise::{FIRST, SECOND};

/// Length of a MAC.
pub(super) const MAC: usize = 16;

/// Bytes in front of a sealed message.
pub const SEAL_FRONT: usize = 8;

/// Bytes behind a sealed message.
pub const SEAL_BACK: usize = TAG;

/// The longest first message of a handshake, so that it fits every path.
pub(super) const MAX_FIRST: usize = 1200;

/// Bytes before the Noise message in the first and in the second message.
pub(super) const FIRST_FRONT: usize = 4;
pub(super) const SECOND_FRONT: usize = 7;

/// Bytes of the payload of the first message before the caller's.
pub(super) const OFFER: usize = 9;

const FIRST_BACK: usize = 2 * MAC;
const SECOND_BACK: usize = MAC;
const LEAST_FIRST: usize = FIRST_FRONT + FIRST + OFFER + FIRST_BACK;
const LEAST_SECOND: usize = SECOND_FRONT + SECOND + 1 + SECOND_BACK;

/// Bytes of the Noise message before its payload in the first and in the second message.
pub(super) const FIRST_TEXT: usize = FIRST - TAG;
pub(super) const SECOND_TEXT: usize = SECOND - TAG;

/// Length of the salt of a cookie.
pub(super) const SALT: usize = 16;
const COOKIE: usize = 4 + SALT + MAC + TAG;

/// What sorts of messages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    First = 0x81,
    Second = 0x82,
    Sealed = 0x83,
    Cookie = 0x84,
}

impl Kind {
    /// Of a message that is long enough for it, and not too long.
    #[inline]
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        let length = message.len();
        match *message.first()? {
            0x83 if length >= SEAL_FRONT + SEAL_BACK => Some(Self::Sealed),
            0x81 if (LEAST_FIRST..=MAX_FIRST).contains(&length) => Some(Self::First),
            0x82 if (LEAST_SECOND..=MAX_FIRST).contains(&length) => Some(Self::Second),
            0x84 if length == COOKIE => Some(Self::Cookie),
            _ => None,
        }
    }
}

/// Does the message begin as those of encrypted links do?
#[inline]
pub fn is_encrypted(message: &[u8]) -> bool {
    matches!(message.first(), Some(0x81..=0x84))
}

/// What an end calls a session: 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Index(u32);

impl Index {
    pub(super) const MAX: u32 = (1 << 24) - 1;

    pub(super) fn new(value: u32) -> Self {
        Self(value & Self::MAX)
    }

    #[inline]
    pub(super) fn get(self) -> u32 {
        self.0
    }

    /// Reads it at `offset` of a message that is long enough.
    #[inline]
    pub(super) fn read(message: &[u8], offset: usize) -> Self {
        match message[offset..] {
            [a, b, c, ..] => Self(u32::from_be_bytes([0, a, b, c])),
            _ => Self(0),
        }
    }

    #[inline]
    pub(super) fn to_bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// The bytes in front of a sealed message.
#[inline]
pub(super) fn seal_front(index: Index, number: u32) -> [u8; SEAL_FRONT] {
    let [a, b, c] = index.to_bytes();
    let [n0, n1, n2, n3] = number.to_be_bytes();
    [Kind::Sealed as u8, a, b, c, n0, n1, n2, n3]
}

/// Where the parts of a first message end: what Noise reads, and MAC 1.
pub(super) fn first_parts(message: &[u8]) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let mac = message.len() - FIRST_BACK;
    (FIRST_FRONT..mac, mac..mac + MAC)
}

/// Where the parts of a second message end: what Noise reads, and MAC 1.
pub(super) fn second_parts(message: &[u8]) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let mac = message.len() - SECOND_BACK;
    (SECOND_FRONT..mac, mac..mac + MAC)
}

/// The longest message that the first message of a handshake has room for.
pub(super) const MAX_PAYLOAD: usize = MAX_FIRST - LEAST_FIRST;

// A greeting with two host names of 253 bytes, and what goes before them.
const _: () = assert!(MAX_PAYLOAD >= vnet_core::encap::HEADER + 24 + 2 * 254);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vnet_core::encap;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_have_a_kind_or_none(message in proptest::collection::vec(any::<u8>(), 0..1300)) {
            match Kind::of(&message) {
                Some(Kind::First) => {
                    let (noise, mac) = first_parts(&message);
                    prop_assert!(noise.len() >= FIRST + OFFER && mac.end + MAC == message.len());
                }
                Some(Kind::Second) => {
                    let (noise, mac) = second_parts(&message);
                    prop_assert!(noise.len() > SECOND && mac.end == message.len());
                }
                Some(Kind::Sealed) => prop_assert!(message.len() >= SEAL_FRONT + SEAL_BACK),
                Some(Kind::Cookie) => prop_assert_eq!(message.len(), COOKIE),
                None => {}
            }
        }

        #[test]
        fn indexes_survive(value: u32, number: u32) {
            let index = Index::new(value);
            let front = seal_front(index, number);
            prop_assert_eq!(Index::read(&front, 1), index);
            prop_assert_eq!(index.get(), value & Index::MAX);
        }
    }

    #[test]
    fn kinds_are_no_format_versions() {
        for first in [Kind::First, Kind::Second, Kind::Sealed, Kind::Cookie] {
            assert!(first as u8 > encap::VERSION);
            assert!(is_encrypted(&[first as u8]));
        }
        assert!(!is_encrypted(&[encap::VERSION]));
        assert!(!is_encrypted(&[]));
    }
}
