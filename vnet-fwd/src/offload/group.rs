//! Putting segments together into a super-frame.

use super::header::{OffloadHeader, Work};
use super::layout::{Layout, Transport};
use super::segment::{CWR, FIN, PSH, Segments, TCP_FLAGS_AT};
use crate::checksum::{fold, sum};

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const URG: u8 = 0x20;

/// The longest IP packet.
const MAX_PACKET: usize = 65_535;

/// How many segments are put together at most; as many as the kernel takes
/// apart again (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 64;

/// What is known of the checksum of TCP or UDP in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The frame is as it would be on a wire.
    Complete,
    /// The field holds the sum of the pseudo-header only.
    Partial,
}

/// Successive frames that can be delivered as one super-frame: segments of one
/// TCP connection that follow each other, or datagrams of one UDP flow of the
/// same length. The rules are those of the kernel's generic receive offload
/// (`tcp_gro_receive`, `udp_gro_receive`): a super-frame cut again gives the
/// frames that it was made of.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// `None`: the first frame can't have company.
    segments: Option<Open>,
    checksum: Checksum,
    frames: usize,
    /// Length of all frames together.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    layout: Layout,
    /// The headers of the first frame, with the last one's flags.
    headers: [u8; Layout::MAX_HEADERS],
    /// Payload of each frame but the last.
    size: usize,
    /// Payload of all.
    payload: usize,
    next_sequence: u32,
    /// No further frame can follow.
    closed: bool,
}

impl Group {
    /// Starts with one frame. `None`: the frame's checksum is partial, but it is
    /// not a TCP or UDP packet that could have one.
    pub fn start(frame: &[u8], checksum: Checksum) -> Option<Self> {
        let layout = Layout::of(frame);
        if checksum == Checksum::Partial && layout.is_none() {
            return None;
        }
        let segments = layout.and_then(|layout| Open::start(layout, frame, checksum));
        Some(Self { segments, checksum, frames: 1, bytes: frame.len() })
    }

    /// Adds the frame that follows; `false` if it can't be in the same super-frame.
    #[inline]
    pub fn push(&mut self, frame: &[u8], checksum: Checksum) -> bool {
        let Some(open) = &mut self.segments else { return false };
        if open.closed
            || self.checksum != checksum
            || self.frames >= MAX_SEGMENTS
            || !open.push(frame, checksum)
        {
            return false;
        }
        self.frames += 1;
        self.bytes += frame.len();
        true
    }

    /// How many frames it has.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Their lengths together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is known of the checksums of its frames.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// What is to be done to the super-frame (or the one frame that it has), for
    /// ports that might.
    pub fn work(&self) -> Work {
        match &self.segments {
            Some(open) if self.frames > 1 => {
                Work::Segments(Segments::merged(open.layout, open.size, open.payload, &open.headers))
            }
            Some(open) if self.checksum == Checksum::Partial => Work::Checksum(open.layout),
            _ => Work::Nothing,
        }
    }

    /// The headers of the super-frame, which the payloads of the frames follow
    /// in their order, each without as many bytes in front. Empty for a single
    /// frame, which goes as it is.
    pub fn merged_headers(&self, out: &mut [u8; Layout::MAX_HEADERS]) -> usize {
        let Some(open) = self.segments.as_ref().filter(|_| self.frames > 1) else { return 0 };
        *out = open.headers;
        open.finish(out);
        open.layout.payload
    }

    /// The offload header of the super-frame.
    pub fn offload_header(&self) -> OffloadHeader {
        self.work().header()
    }
}

impl Open {
    fn start(layout: Layout, frame: &[u8], checksum: Checksum) -> Option<Self> {
        let mut headers = [0; Layout::MAX_HEADERS];
        headers[..layout.payload].copy_from_slice(&frame[..layout.payload]);
        let payload = frame.len() - layout.payload;
        let (mut closed, mut next_sequence) = (payload == 0 || !layout.is_exact(frame), 0);
        let header = &frame[layout.transport..];
        if layout.protocol == Transport::Tcp {
            next_sequence =
                u32::from_be_bytes([header[4], header[5], header[6], header[7]]).wrapping_add(payload as u32);
            closed |= header[TCP_FLAGS_AT] & (SYN | FIN | RST | PSH | URG | CWR) != 0;
        }
        // A wrong checksum must not be covered up by a new one. (Checked only
        // where it matters, so that single frames cost nothing.)
        closed |= !closed && checksum == Checksum::Complete && !layout.verify_checksum(frame);
        Some(Self { layout, headers, size: payload, payload, next_sequence, closed })
    }

    #[inline]
    fn push(&mut self, frame: &[u8], checksum: Checksum) -> bool {
        let Layout { network, transport, payload: at, is_v6, protocol } = self.layout;
        if frame.len() <= at || frame.len() - at > self.size {
            return false;
        }
        let payload = frame.len() - at;
        if at - network + self.payload + payload > MAX_PACKET {
            return false;
        }
        let (old, new) = (&self.headers[..at], &frame[..at]);
        let ip_matches = if is_v6 {
            // Everything but the payload's length.
            old[..network + 4] == new[..network + 4]
                && old[network + 6..transport] == new[network + 6..transport]
        } else {
            // Everything but total length, identification and checksum.
            old[..network + 2] == new[..network + 2]
                && old[network + 6..network + 10] == new[network + 6..network + 10]
                && old[network + 12..transport] == new[network + 12..transport]
                && self.follows(frame)
        };
        if !ip_matches || !self.layout.is_exact(frame) {
            return false;
        }
        let (old, new) = (&old[transport..], &new[transport..]);
        match protocol {
            Transport::Tcp => {
                let sequence = u32::from_be_bytes([new[4], new[5], new[6], new[7]]);
                let flags = new[TCP_FLAGS_AT];
                // Ports; acknowledgement; length of the header; flags; window; urgent
                // pointer and options.
                let same = old[..4] == new[..4]
                    && old[8..13] == new[8..13]
                    && (flags ^ old[TCP_FLAGS_AT]) & !(FIN | PSH) == 0
                    && old[14..16] == new[14..16]
                    && old[18..] == new[18..];
                if !same || sequence != self.next_sequence {
                    return false;
                }
                if checksum == Checksum::Complete && !self.layout.verify_checksum(frame) {
                    return false;
                }
                self.next_sequence = sequence.wrapping_add(payload as u32);
                self.headers[transport + TCP_FLAGS_AT] |= flags & (FIN | PSH);
                self.closed = flags & (FIN | PSH) != 0;
            }
            Transport::Udp => {
                let same = old[..4] == new[..4];
                if !same || (checksum == Checksum::Complete && !self.layout.verify_checksum(frame)) {
                    return false;
                }
            }
        }
        self.closed |= payload < self.size;
        self.payload += payload;
        true
    }

    /// Does the identification of the IPv4 packet follow, as cutting the
    /// super-frame would count it? It has no meaning in a packet that must not be
    /// fragmented (RFC 6864, section 4.1).
    fn follows(&self, frame: &[u8]) -> bool {
        const DONT_FRAGMENT: u8 = 0x40;
        let at = self.layout.network + 4;
        if frame[at + 2] & DONT_FRAGMENT != 0 {
            return true;
        }
        let first = u16::from_be_bytes([self.headers[at], self.headers[at + 1]]);
        let this = u16::from_be_bytes([frame[at], frame[at + 1]]);
        let position = self.payload.div_ceil(self.size);
        this == first.wrapping_add(position as u16)
    }

    /// Fills in lengths and checksums of the super-frame's headers.
    fn finish(&self, headers: &mut [u8; Layout::MAX_HEADERS]) {
        let Layout { network, transport, payload: at, is_v6, protocol } = self.layout;
        let packet = at - network + self.payload;
        let datagram = at - transport + self.payload;
        let pseudo = fold(self.layout.pseudo_sum(headers) + datagram as u64);
        let ip = &mut headers[network..transport];
        if is_v6 {
            ip[4..6].copy_from_slice(&((packet - 40) as u16).to_be_bytes());
        } else {
            ip[2..4].copy_from_slice(&(packet as u16).to_be_bytes());
            ip[10..12].fill(0);
            let checksum = !sum(ip);
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        let header = &mut headers[transport..at];
        if protocol == Transport::Udp {
            header[4..6].copy_from_slice(&(datagram as u16).to_be_bytes());
        }
        header[protocol.checksum_at()..][..2].copy_from_slice(&pseudo.to_be_bytes());
    }
}
