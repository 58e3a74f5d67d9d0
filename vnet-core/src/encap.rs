//! The header that goes before everything on a link.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | format version, [`VERSION`] |
//! | 1 | 1 | kind of message, [`Kind`] |
//! | 2 | 1 | hop limit |
//! | 3 | 1 | rule version |
//! | 4 | 4 | network id |
//! | 8 | 8 | sequence number |
//! | 16 | 8 | send timestamp, nanoseconds of the sender's clock |
//! | 24 | | payload: what the kind says |
//!
//! | kind | payload |
//! | --- | --- |
//! | 1 [`Kind::Frame`] | an Ethernet frame |
//! | 2 to 6 | a link message |
//! | 7 [`Kind::Probe`] | padding |
//! | 8 [`Kind::PartialFrame`] | an Ethernet frame whose TCP or UDP checksum is yet to be filled in |
//! | 9 [`Kind::SuperFrame`] | an offload header of 10 bytes, then an Ethernet frame of up to 64 KiB that is yet to be cut into segments |
//! | 10 [`Kind::SizeProbe`], 11 [`Kind::SizeAck`] | a link message |
//! | 12 [`Kind::Fragment`] | a fragment header of 12 bytes, then a piece of the frame of kind 1 or 8 that it names |
//!
//! Kinds 8 to 12 go only to peers that have said that they take them.
//!
//! Integers are big-endian. Sequence numbers count the messages of one link in
//! one direction from 0; timestamps are for differences only, since clocks of
//! hosts do not agree. Both serve the measurement of the path.

use crate::network::{NetworkId, RuleVersion};

/// The version of the format that this crate writes and reads.
pub const VERSION: u8 = 1;

/// Length of the header in bytes.
pub const HEADER: usize = 24;

/// The hop limit that a frame starts with.
pub const DEFAULT_HOP_LIMIT: u8 = 64;

/// What follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An Ethernet frame.
    Frame = 1,
    /// A link message that asks the peer to open its end of the link.
    Hello = 2,
    /// The answer to a [`Kind::Hello`].
    HelloAck = 3,
    /// A sign of life; the peer answers with [`Kind::KeepaliveAck`].
    Keepalive = 4,
    /// The answer to a [`Kind::Keepalive`].
    KeepaliveAck = 5,
    /// The peer has taken the link down, and says why.
    Close = 6,
    /// Padding that was sent to measure the path, and goes no further.
    Probe = 7,
    /// An Ethernet frame of a TCP or UDP packet, in whose checksum field is the
    /// sum of the pseudo-header only.
    PartialFrame = 8,
    /// A virtio-net header, little-endian, and an Ethernet frame with the work
    /// left that the header tells: over TCP links only.
    SuperFrame = 9,
    /// A link message with padding, to see whether the path carries as much.
    SizeProbe = 10,
    /// The answer to a [`Kind::SizeProbe`].
    SizeAck = 11,
    /// A piece of a frame that is too long for a datagram of the path.
    Fragment = 12,
}

impl TryFrom<u8> for Kind {
    type Error = EncapError;

    fn try_from(value: u8) -> Result<Self, EncapError> {
        Ok(match value {
            1 => Self::Frame,
            2 => Self::Hello,
            3 => Self::HelloAck,
            4 => Self::Keepalive,
            5 => Self::KeepaliveAck,
            6 => Self::Close,
            7 => Self::Probe,
            8 => Self::PartialFrame,
            9 => Self::SuperFrame,
            10 => Self::SizeProbe,
            11 => Self::SizeAck,
            12 => Self::Fragment,
            kind => return Err(EncapError::UnknownKind { kind }),
        })
    }
}

impl Kind {
    /// Does it carry frames? Otherwise it is a message between daemons.
    pub const fn is_frame(self) -> bool {
        matches!(self, Self::Frame | Self::PartialFrame | Self::SuperFrame | Self::Fragment)
    }
}

/// The fields of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// How many more daemons the frame may pass; at 0 it is dropped.
    pub hop_limit: u8,
    /// The rule set that forwards the frame on its whole way.
    pub rule_version: RuleVersion,
    /// The network that the frame belongs to.
    pub network: NetworkId,
    /// Count of messages on this link, in this direction.
    pub sequence: u64,
    /// When the message was sent, by the sender's clock, in nanoseconds.
    pub timestamp: u64,
}

/// Bytes that do not start with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncapError {
    /// Shorter than the header.
    #[error("{length} bytes are too short for the header of {HEADER}")]
    TooShort {
        /// How many bytes there were.
        length: usize,
    },
    /// A version that this crate doesn't read.
    #[error(
        "format version {version}; this end reads version {VERSION}: upgrade the older of the two daemons"
    )]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// A kind that this version doesn't have.
    #[error("unknown kind of message {kind}")]
    UnknownKind {
        /// The kind found.
        kind: u8,
    },
}

impl Header {
    /// The header as bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0] = VERSION;
        out[1] = self.kind as u8;
        out[2] = self.hop_limit;
        out[3] = self.rule_version.0;
        out[4..8].copy_from_slice(&self.network.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        out[16..24].copy_from_slice(&self.timestamp.to_be_bytes());
        out
    }

    /// Reads the header at the start of `bytes`; also returns what follows it.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), EncapError> {
        let Some((head, payload)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(EncapError::TooShort { length: bytes.len() });
        };
        let [version, kind, hop_limit, rule_version, n0, n1, n2, n3, rest @ ..] = *head;
        if version != VERSION {
            return Err(EncapError::UnknownVersion { version });
        }
        let [s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7] = rest;
        let header = Self {
            kind: Kind::try_from(kind)?,
            hop_limit,
            rule_version: RuleVersion(rule_version),
            network: NetworkId(u32::from_be_bytes([n0, n1, n2, n3])),
            sequence: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            timestamp: u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        };
        Ok((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn encode_then_decode_is_the_identity(
            kind in 1_u8..=12, hop_limit: u8, version: u8, network: u32, sequence: u64, timestamp: u64,
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let header = Header {
                kind: Kind::try_from(kind).unwrap(),
                hop_limit,
                rule_version: RuleVersion(version),
                network: NetworkId(network),
                sequence,
                timestamp,
            };
            let mut bytes = header.encode().to_vec();
            bytes.extend(&payload);
            prop_assert_eq!(Header::decode(&bytes), Ok((header, payload.as_slice())));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((header, payload)) = Header::decode(&bytes) {
                prop_assert_eq!(&header.encode()[..], &bytes[..HEADER]);
                prop_assert_eq!(payload, &bytes[HEADER..]);
            }
        }

        #[test]
        fn headers_cut_short_say_so(bytes: [u8; HEADER], length in 0..HEADER) {
            prop_assert_eq!(Header::decode(&bytes[..length]), Err(EncapError::TooShort { length }));
        }
    }

    #[test]
    fn foreign_versions_and_kinds_are_named() {
        let mut bytes = [0; HEADER];
        assert_eq!(Header::decode(&bytes), Err(EncapError::UnknownVersion { version: 0 }));
        bytes[0] = VERSION;
        assert_eq!(Header::decode(&bytes), Err(EncapError::UnknownKind { kind: 0 }));
    }
}
