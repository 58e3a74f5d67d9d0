//! Where the headers of a TCP or UDP packet are in a frame.

use crate::checksum::{fold, sum};

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// IEEE 802.1Q and 802.1ad.
const ETHERTYPES_VLAN: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
const VLAN_TAG: usize = 4;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;

/// The protocol over IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

impl Transport {
    /// Its number in the IP header.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Where the checksum is in its header.
    pub const fn checksum_at(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// Where the headers of an unfragmented TCP or UDP packet are in its frame, in
/// bytes from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The IP header.
    pub network: usize,
    /// The TCP or UDP header.
    pub transport: usize,
    /// What follows that.
    pub payload: usize,
    /// IPv6? Otherwise IPv4.
    pub is_v6: bool,
    /// Which of the two protocols.
    pub protocol: Transport,
}

impl Layout {
    /// The longest headers that a layout is given for: Ethernet with two VLAN
    /// tags, IPv4 or IPv6 without options, TCP with all of them.
    pub const MAX_HEADERS: usize = 14 + 2 * VLAN_TAG + IPV6_HEADER + 60;

    /// Finds the headers. `None`: the frame is not a whole packet of TCP or UDP
    /// over IP without IP options, or ends inside of its headers.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut kind_at = 12;
        let mut kind: [u8; 2] = *frame.get(kind_at..)?.first_chunk()?;
        for _ in 0..2 {
            if ETHERTYPES_VLAN.contains(&kind) {
                kind_at += VLAN_TAG;
                kind = *frame.get(kind_at..)?.first_chunk()?;
            }
        }
        let network = kind_at + 2;
        let packet = frame.get(network..)?;
        let (is_v6, protocol, transport) = match kind {
            ETHERTYPE_IPV4 => {
                let header: &[u8; IPV4_HEADER] = packet.first_chunk()?;
                let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
                if header[0] != 0x45 || is_fragment {
                    return None;
                }
                (false, header[9], network + IPV4_HEADER)
            }
            ETHERTYPE_IPV6 => {
                let header: &[u8; IPV6_HEADER] = packet.first_chunk()?;
                if header[0] >> 4 != 6 {
                    return None;
                }
                (true, header[6], network + IPV6_HEADER)
            }
            _ => return None,
        };
        let (protocol, length) = match protocol {
            6 => {
                let header: &[u8; TCP_HEADER] = frame.get(transport..)?.first_chunk()?;
                (Transport::Tcp, usize::from(header[12] >> 4) * 4)
            }
            17 => (Transport::Udp, UDP_HEADER),
            _ => return None,
        };
        let shortest = if protocol == Transport::Tcp { TCP_HEADER } else { UDP_HEADER };
        let payload = transport + length;
        let fits = length >= shortest && payload <= frame.len();
        fits.then_some(Self { network, transport, payload, is_v6, protocol })
    }

    /// Does the packet fill the frame, as its IP header has it?
    pub fn is_exact(&self, frame: &[u8]) -> bool {
        let packet = &frame[self.network..];
        let stated = if self.is_v6 {
            IPV6_HEADER + usize::from(u16::from_be_bytes([packet[4], packet[5]]))
        } else {
            usize::from(u16::from_be_bytes([packet[2], packet[3]]))
        };
        let datagram = &frame[self.transport..];
        let filled = self.protocol == Transport::Tcp
            || usize::from(u16::from_be_bytes([datagram[4], datagram[5]])) == datagram.len();
        stated == packet.len() && filled
    }

    /// The sum of the pseudo-header of a packet, but for the length in it.
    pub(super) fn pseudo_sum(&self, frame: &[u8]) -> u64 {
        let addresses = if self.is_v6 {
            self.network + 8..self.network + 40
        } else {
            self.network + 12..self.network + 20
        };
        u64::from(sum(&frame[addresses])) + u64::from(self.protocol.protocol())
    }

    /// Fills in the checksum of TCP or UDP, whose field holds the sum of the
    /// pseudo-header.
    pub fn complete_checksum(&self, frame: &mut [u8]) {
        let field = self.protocol.checksum_at();
        // The field is in the header, which the frame has.
        let _ = crate::checksum::complete(frame, self.transport, field);
    }

    /// Is the checksum of TCP or UDP right? A datagram of UDP may have none,
    /// which counts as wrong.
    pub fn verify_checksum(&self, frame: &[u8]) -> bool {
        let datagram = &frame[self.transport..];
        let absent = self.protocol == Transport::Udp && datagram[6..8] == [0, 0];
        let total = self.pseudo_sum(frame) + datagram.len() as u64 + u64::from(sum(datagram));
        !absent && fold(total) == 0xffff
    }
}
