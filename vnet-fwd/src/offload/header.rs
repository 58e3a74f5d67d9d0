//! The header in front of a frame that says what its sender left undone.

use super::layout::{Layout, Transport};
use super::segment::Segments;
use crate::checksum;

/// Length of an [`OffloadHeader`] in bytes.
pub const OFFLOAD_HEADER: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;

const SEGMENT_NONE: u8 = 0;
const SEGMENT_TCPV4: u8 = 1;
const SEGMENT_TCPV6: u8 = 4;
const SEGMENT_UDP: u8 = 5;
/// A flag beside the types: the first segment says that the sender has reduced
/// its window, which the others must not repeat.
const SEGMENT_ECN: u8 = 0x80;

/// The virtio-net header (`struct virtio_net_hdr`; virtio 1.2, section 5.1.6),
/// which TAP devices and packet sockets put in front of frames.
///
/// | offset | bytes | field |
/// | --- | --- | --- |
/// | 0 | 1 | flags: 1 = the checksum is to be filled in |
/// | 1 | 1 | segmentation: 0 none, 1 TCP over IPv4, 4 TCP over IPv6, 5 UDP; 0x80 = with ECN |
/// | 2 | 2 | length of all headers (a hint) |
/// | 4 | 2 | payload of each segment |
/// | 6 | 2 | where checksumming starts |
/// | 8 | 2 | where the checksum goes, counted from there |
///
/// Integers are little-endian on a link, and in the host's order towards a
/// device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadHeader {
    /// What is to be done to the checksum.
    pub flags: u8,
    /// What segments are to be cut.
    pub segmentation: u8,
    /// Length of the frame's headers, a hint.
    pub header_length: u16,
    /// Payload of each segment but the last.
    pub segment_size: u16,
    /// Where checksumming starts.
    pub checksum_start: u16,
    /// Where the checksum goes, counted from there.
    pub checksum_offset: u16,
}

/// What a port takes off those who send to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Filling in checksums of TCP and UDP.
    pub checksum: bool,
    /// Cutting segments of TCP over IPv4 and IPv6; comes with `checksum` only.
    pub tcp: bool,
    /// Cutting a train of datagrams of UDP; comes with `checksum` only.
    pub udp: bool,
}

/// An offload header that does not fit its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffloadError {
    /// A kind of segmentation that this crate doesn't know.
    #[error("unknown segmentation type {0}")]
    UnknownSegmentation(u8),
    /// Not what the header says it is.
    #[error("the frame is not the TCP or UDP packet that its offload header says it is")]
    WrongProtocol,
    /// Segments of nothing.
    #[error("segments of {size} bytes of a frame with {payload} bytes of payload")]
    BadSegments {
        /// As stated.
        size: usize,
        /// As found.
        payload: usize,
    },
    /// The checksum would be outside of the frame.
    #[error("the checksum is outside of the frame")]
    BadChecksum,
}

/// What is left to be done to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Nothing,
    /// The checksum of TCP or UDP holds the sum of the pseudo-header only.
    Checksum(Layout),
    /// It is to be cut into segments.
    Segments(Segments),
}

impl OffloadHeader {
    /// As bytes for a link.
    pub fn encode(&self) -> [u8; OFFLOAD_HEADER] {
        self.bytes(u16::to_le_bytes)
    }

    /// Reads what [`OffloadHeader::encode`] wrote.
    pub fn decode(bytes: &[u8; OFFLOAD_HEADER]) -> Self {
        Self::read(bytes, u16::from_le_bytes)
    }

    /// As bytes for a device.
    pub(crate) fn to_device(self) -> [u8; OFFLOAD_HEADER] {
        self.bytes(u16::to_ne_bytes)
    }

    /// Reads what a device wrote.
    pub(crate) fn from_device(bytes: &[u8; OFFLOAD_HEADER]) -> Self {
        Self::read(bytes, u16::from_ne_bytes)
    }

    /// For a frame whose checksum is to be filled in.
    pub fn for_checksum(layout: &Layout) -> Self {
        Self {
            flags: NEEDS_CHECKSUM,
            header_length: layout.payload as u16,
            checksum_start: layout.transport as u16,
            checksum_offset: layout.protocol.checksum_at() as u16,
            ..Self::default()
        }
    }

    /// For a frame to be cut into segments of `size`.
    pub(super) fn for_segments(layout: &Layout, size: usize) -> Self {
        let segmentation = match (layout.protocol, layout.is_v6) {
            (Transport::Tcp, false) => SEGMENT_TCPV4,
            (Transport::Tcp, true) => SEGMENT_TCPV6,
            (Transport::Udp, _) => SEGMENT_UDP,
        };
        Self { segmentation, segment_size: size as u16, ..Self::for_checksum(layout) }
    }

    /// What the header says is to be done to `frame`. A checksum that is not
    /// that of TCP or UDP, as of a tunnel inside, is filled in here.
    pub fn work(&self, frame: &mut [u8]) -> Result<Work, OffloadError> {
        if self.segmentation & !SEGMENT_ECN == SEGMENT_NONE && self.flags & NEEDS_CHECKSUM == 0 {
            return Ok(Work::Nothing);
        }
        let (start, offset) = (usize::from(self.checksum_start), usize::from(self.checksum_offset));
        let layout = Layout::of(frame);
        let usual = layout.filter(|l| l.transport == start && l.protocol.checksum_at() == offset);
        let (protocol, v6) = match self.segmentation & !SEGMENT_ECN {
            SEGMENT_NONE => {
                return match usual {
                    Some(layout) => Ok(Work::Checksum(layout)),
                    None => checksum::complete(frame, start, offset)
                        .map(|()| Work::Nothing)
                        .ok_or(OffloadError::BadChecksum),
                };
            }
            SEGMENT_TCPV4 => (Transport::Tcp, Some(false)),
            SEGMENT_TCPV6 => (Transport::Tcp, Some(true)),
            SEGMENT_UDP => (Transport::Udp, None),
            other => return Err(OffloadError::UnknownSegmentation(other)),
        };
        let layout = usual.filter(|l| l.protocol == protocol && v6.is_none_or(|v6| l.is_v6 == v6));
        let layout = layout.ok_or(OffloadError::WrongProtocol)?;
        let size = usize::from(self.segment_size);
        let payload = frame.len() - layout.payload;
        if size == 0 || payload == 0 {
            return Err(OffloadError::BadSegments { size, payload });
        }
        Ok(Work::Segments(Segments::new(layout, size, frame)))
    }

    fn bytes(self, pair: impl Fn(u16) -> [u8; 2]) -> [u8; OFFLOAD_HEADER] {
        let [h0, h1] = pair(self.header_length);
        let [g0, g1] = pair(self.segment_size);
        let [s0, s1] = pair(self.checksum_start);
        let [o0, o1] = pair(self.checksum_offset);
        [self.flags, self.segmentation, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    fn read(bytes: &[u8; OFFLOAD_HEADER], word: impl Fn([u8; 2]) -> u16) -> Self {
        let [flags, segmentation, h0, h1, g0, g1, s0, s1, o0, o1] = *bytes;
        Self {
            flags,
            segmentation,
            header_length: word([h0, h1]),
            segment_size: word([g0, g1]),
            checksum_start: word([s0, s1]),
            checksum_offset: word([o0, o1]),
        }
    }
}

impl Work {
    /// How many frames on a wire it is, and how many bytes those have together,
    /// for a frame of `length` bytes.
    pub fn frames_and_bytes(&self, length: usize) -> (usize, usize) {
        match self {
            Self::Nothing | Self::Checksum(_) => (1, length),
            Self::Segments(segments) => (segments.count(), segments.total_bytes()),
        }
    }

    /// The header that says so.
    pub fn header(&self) -> OffloadHeader {
        match self {
            Self::Nothing => OffloadHeader::default(),
            Self::Checksum(layout) => OffloadHeader::for_checksum(layout),
            Self::Segments(segments) => segments.offload_header(),
        }
    }
}

impl Offloads {
    /// Does a port with these offloads do this work?
    pub fn cover(&self, work: &Work) -> bool {
        match work {
            Work::Nothing => true,
            Work::Checksum(_) => self.checksum,
            Work::Segments(segments) => match segments.layout().protocol {
                Transport::Tcp => self.tcp,
                Transport::Udp => self.udp,
            },
        }
    }
}
