//! The bytes of messages: known to both ends, so that every one of them is
//! verified without being stored.
//!
//! A message is a window of an endless repetition of [`PERIOD`] pseudo-random
//! bytes; where the window starts depends on sender, receiver and iteration. A
//! byte that is lost, repeated, moved or changed shows as a difference.

use std::sync::LazyLock;

/// After how many bytes the pattern repeats: a prime, so that no power of two
/// (a buffer, a page, a segment) is a multiple of it.
pub const PERIOD: usize = 65_521;

static PATTERN: LazyLock<Box<[u8; PERIOD]>> = LazyLock::new(|| {
    let mut pattern = Box::new([0; PERIOD]);
    for (i, byte) in pattern.iter_mut().enumerate() {
        *byte = (mix(i as u64) >> 56) as u8;
    }
    pattern
});

/// The contents of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    start: usize,
}

impl Payload {
    /// The contents of the message of `iteration` from `sender` to `receiver`.
    pub fn new(sender: usize, receiver: usize, iteration: u64) -> Self {
        let seed = mix(mix(mix(sender as u64) ^ receiver as u64) ^ iteration);
        Self { start: (seed % PERIOD as u64) as usize }
    }

    /// A run of the contents that starts at `offset`: at most `limit` bytes
    /// and at least one (for a limit above 0).
    pub fn run(self, offset: u64, limit: usize) -> &'static [u8] {
        let from = (self.start + (offset % PERIOD as u64) as usize) % PERIOD;
        let to = PERIOD.min(from.saturating_add(limit));
        &PATTERN[from..to]
    }

    /// Compares `bytes` with the contents from `offset` on; the offset of the
    /// first difference.
    pub fn verify(self, offset: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut at = 0;
        while at < bytes.len() {
            let expected = self.run(offset + at as u64, bytes.len() - at);
            let found = &bytes[at..at + expected.len()];
            if expected != found {
                let i = expected.iter().zip(found).position(|(e, f)| e != f).unwrap_or(0);
                return Err(Mismatch {
                    offset: offset + (at + i) as u64,
                    expected: expected[i],
                    found: found[i],
                });
            }
            at += expected.len();
        }
        Ok(())
    }
}

/// A byte of a message that is not what its sender sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its place in the message, from 0.
    pub offset: u64,
    /// What was sent.
    pub expected: u8,
    /// What arrived.
    pub found: u8,
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014).
const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(payload: Payload, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend_from_slice(payload.run(offset + bytes.len() as u64, length - bytes.len()));
        }
        bytes
    }

    proptest! {
        #[test]
        fn what_was_sent_verifies_and_a_changed_byte_is_found(
            offset in 0_u64..1 << 40, length in 1_usize..200_000, at: prop::sample::Index, flip in 1_u8..,
        ) {
            let payload = Payload::new(1, 2, 3);
            let mut message = bytes(payload, offset, length);
            prop_assert_eq!(payload.verify(offset, &message), Ok(()));
            let at = at.index(length);
            message[at] ^= flip;
            let mismatch = payload.verify(offset, &message).unwrap_err();
            prop_assert_eq!(mismatch.offset, offset + at as u64);
            prop_assert_eq!(mismatch.found ^ flip, mismatch.expected);
        }

        #[test]
        fn another_message_does_not_verify(a in (0_usize..32, 0_usize..32, 0_u64..1000), b in (0_usize..32, 0_usize..32, 0_u64..1000)) {
            let (one, other) = (Payload::new(a.0, a.1, a.2), Payload::new(b.0, b.1, b.2));
            prop_assume!(one != other);
            prop_assert!(other.verify(0, &bytes(one, 0, 64)).is_err());
        }
    }
}
