//! Cutting a super-frame into segments.

use super::header::OffloadHeader;
use super::layout::{Layout, Transport};
use crate::checksum::{fold, sum};

pub(super) const TCP_FLAGS_AT: usize = 13;
pub(super) const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
pub(super) const CWR: u8 = 0x80;

/// The segments of a super-frame, each a frame of its own: as the kernel's
/// generic segmentation would cut them (`tcp_gso_segment`, `__udp_gso_segment`),
/// except that the checksum of TCP or UDP is left as the sum of the
/// pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    layout: Layout,
    size: usize,
    /// Length of the super-frame.
    length: usize,
    /// Sums of what is the same in all segments' headers.
    pseudo: u64,
    network: u64,
}

impl Segments {
    /// The segments of `frame`, of `size` bytes of payload, which is not 0; nor is the
    /// payload.
    pub(super) fn new(layout: Layout, size: usize, frame: &[u8]) -> Self {
        let at = layout.network;
        // IPv4: everything but total length (2), identification (4) and checksum (10).
        let network = if layout.is_v6 {
            0
        } else {
            u64::from(sum(&frame[at..at + 2]))
                + u64::from(sum(&frame[at + 6..at + 10]))
                + u64::from(sum(&frame[at + 12..at + 20]))
        };
        Self { layout, size, length: frame.len(), pseudo: layout.pseudo_sum(frame), network }
    }

    /// The segments of a super-frame that is made of `headers` and `payload` bytes.
    pub(super) fn merged(layout: Layout, size: usize, payload: usize, headers: &[u8]) -> Self {
        Self { length: layout.payload + payload, ..Self::new(layout, size, headers) }
    }

    /// Where the headers are, in the super-frame and in each segment.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        (self.length - self.layout.payload).div_ceil(self.size)
    }

    /// Length of the segment `n`, with its headers.
    pub fn length(&self, n: usize) -> usize {
        let rest = self.length - self.layout.payload - n * self.size;
        self.layout.payload + rest.min(self.size)
    }

    /// Length of all together, with their headers.
    pub fn total_bytes(&self) -> usize {
        self.length + (self.count() - 1) * self.layout.payload
    }

    /// The header that has a device cut the super-frame.
    pub fn offload_header(&self) -> OffloadHeader {
        OffloadHeader::for_segments(&self.layout, self.size)
    }

    /// Writes the segment `n` of `frame`, which this was made for, into `out`,
    /// which has [its length](Segments::length).
    pub fn write(&self, n: usize, frame: &[u8], out: &mut [u8]) {
        let (headers, payload) = out.split_at_mut(self.layout.payload);
        let from = self.layout.payload + n * self.size;
        payload.copy_from_slice(&frame[from..from + payload.len()]);
        headers.copy_from_slice(&frame[..headers.len()]);
        self.patch(n, headers, payload.len());
    }

    /// Turns the headers of the super-frame into those of the segment `n` with
    /// `payload` bytes.
    fn patch(&self, n: usize, headers: &mut [u8], payload: usize) {
        let Layout { network, transport, is_v6, protocol, .. } = self.layout;
        let packet = headers.len() - network + payload;
        let datagram = headers.len() - transport + payload;
        let ip = &mut headers[network..];
        if is_v6 {
            ip[4..6].copy_from_slice(&(packet as u16 - 40).to_be_bytes());
        } else {
            let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(n as u16);
            let checksum = !fold(self.network + packet as u64 + u64::from(id));
            ip[2..4].copy_from_slice(&(packet as u16).to_be_bytes());
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        let pseudo = fold(self.pseudo + datagram as u64);
        let header = &mut headers[transport..];
        match protocol {
            Transport::Tcp => {
                let first = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let sequence = first.wrapping_add((n * self.size) as u32);
                header[4..8].copy_from_slice(&sequence.to_be_bytes());
                let (is_first, is_last) = (n == 0, n + 1 == self.count());
                let cleared = if is_first { 0 } else { CWR } | if is_last { 0 } else { FIN | PSH };
                header[TCP_FLAGS_AT] &= !cleared;
            }
            Transport::Udp => header[4..6].copy_from_slice(&(datagram as u16).to_be_bytes()),
        }
        header[protocol.checksum_at()..][..2].copy_from_slice(&pseudo.to_be_bytes());
    }
}
