//! Ethernet frames, read in place.

use crate::mac::MacAddr;

/// Length of an Ethernet header without a VLAN tag, in bytes.
pub const ETHERNET_HEADER: usize = 14;

/// The longest frame that any part of the overlay handles, in bytes: the
/// 64 KiB that segmentation offload hands over at a time, and its header.
pub const MAX_FRAME: usize = 65_535 + ETHERNET_HEADER;

/// A view of an Ethernet frame (IEEE 802.3): six octets of destination, six
/// of source, two of type, payload. Parsing copies and allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    bytes: &'a [u8],
}

/// Bytes that are not an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than an Ethernet header.
    #[error("{length} bytes are too short for an Ethernet frame, whose header has {ETHERNET_HEADER}")]
    TooShort {
        /// How many bytes there were.
        length: usize,
    },
    /// Longer than [`MAX_FRAME`].
    #[error("{length} bytes are more than the {MAX_FRAME} that a frame may have")]
    TooLong {
        /// How many bytes there were.
        length: usize,
    },
}

impl<'a> Frame<'a> {
    /// Reads `bytes` as a frame. Only the length is checked: every other
    /// content of an Ethernet header is legal.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        match bytes.len() {
            length @ ..ETHERNET_HEADER => Err(FrameError::TooShort { length }),
            length if length > MAX_FRAME => Err(FrameError::TooLong { length }),
            _ => Ok(Self { bytes }),
        }
    }

    /// Where the frame goes.
    pub fn destination(&self) -> MacAddr {
        self.mac_at(0)
    }

    /// Where the frame comes from.
    pub fn source(&self) -> MacAddr {
        self.mac_at(6)
    }

    /// The EtherType field, or the length of an 802.3 frame.
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.bytes[12], self.bytes[13]])
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[ETHERNET_HEADER..]
    }

    /// The whole frame.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn mac_at(&self, at: usize) -> MacAddr {
        let b = &self.bytes[at..at + 6];
        MacAddr([b[0], b[1], b[2], b[3], b[4], b[5]])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            match Frame::parse(&bytes) {
                Ok(frame) => {
                    prop_assert_eq!(&frame.destination().0, &bytes[..6]);
                    prop_assert_eq!(&frame.source().0, &bytes[6..12]);
                    prop_assert_eq!(frame.ethertype().to_be_bytes(), [bytes[12], bytes[13]]);
                    prop_assert_eq!(frame.payload(), &bytes[14..]);
                }
                Err(FrameError::TooShort { length }) => prop_assert!(length == bytes.len() && length < 14),
                Err(FrameError::TooLong { .. }) => prop_assert!(false, "200 bytes are not too long"),
            }
        }
    }

    #[test]
    fn both_limits_of_length_belong_to_frames() {
        let bytes = vec![0; MAX_FRAME + 1];
        assert!(Frame::parse(&bytes[..ETHERNET_HEADER]).is_ok());
        assert!(Frame::parse(&bytes[..MAX_FRAME]).is_ok());
        assert_eq!(Frame::parse(&bytes), Err(FrameError::TooLong { length: MAX_FRAME + 1 }));
    }
}
