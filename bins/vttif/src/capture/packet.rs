//! Who sent a packet to whom.

use std::fmt;
use std::net::IpAddr;

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket};
use pcap_parser::Linktype;

use super::Vertices;

/// An address of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Of an interface.
    Ethernet([u8; 6]),
    /// Of a host.
    Ip(IpAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethernet([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl Address {
    /// Is it one station's address, rather than a group's or nobody's?
    fn is_station(&self) -> bool {
        match self {
            Self::Ethernet(octets) => octets[0] & 1 == 0 && *octets != [0; 6],
            Self::Ip(IpAddr::V4(ip)) => !ip.is_multicast() && !ip.is_broadcast() && !ip.is_unspecified(),
            Self::Ip(IpAddr::V6(ip)) => !ip.is_multicast() && !ip.is_unspecified(),
        }
    }
}

/// Linux cooked captures, second version; unknown to the capture library.
const LINUX_SLL2: Linktype = Linktype(276);

/// Can packets of this link type have addresses of this kind?
pub(super) fn is_supported(link: Linktype, vertices: Vertices) -> bool {
    match vertices {
        Vertices::Ethernet => link == Linktype::ETHERNET,
        Vertices::Ip => {
            let known = [
                Linktype::ETHERNET,
                Linktype::RAW,
                Linktype::IPV4,
                Linktype::IPV6,
                Linktype::NULL,
                Linktype::LOOP,
                Linktype::LINUX_SLL,
                LINUX_SLL2,
            ];
            known.contains(&link)
        }
    }
}

/// The sender and the receiver; `None` for a packet without them or to a group.
pub(super) fn addresses(data: &[u8], link: Linktype, vertices: Vertices) -> Option<(Address, Address)> {
    let (source, destination) = match vertices {
        Vertices::Ethernet => {
            let (destination, rest) = data.split_first_chunk()?;
            let (source, _) = rest.split_first_chunk()?;
            (Address::Ethernet(*source), Address::Ethernet(*destination))
        }
        Vertices::Ip => ip_addresses(data, link)?,
    };
    (source.is_station() && destination.is_station() && source != destination)
        .then_some((source, destination))
}

fn ip_addresses(data: &[u8], link: Linktype) -> Option<(Address, Address)> {
    let by_type = |at: usize, payload: usize| {
        let ether_type = data.get(at..at + 2)?.try_into().ok()?;
        let ether_type = EtherType(u16::from_be_bytes(ether_type));
        Some(LaxSlicedPacket::from_ether_type(ether_type, data.get(payload..)?))
    };
    let packet = match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(data).ok()?,
        Linktype::LINUX_SLL => by_type(14, 16)?,
        LINUX_SLL2 => by_type(0, 20)?,
        // The family of the address, four bytes in an order that nobody needs.
        Linktype::NULL | Linktype::LOOP => LaxSlicedPacket::from_ip(data.get(4..)?).ok()?,
        _ => LaxSlicedPacket::from_ip(data).ok()?,
    };
    let pair = |source: IpAddr, destination: IpAddr| Some((Address::Ip(source), Address::Ip(destination)));
    match packet.net? {
        LaxNetSlice::Ipv4(ip) => {
            pair(ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        LaxNetSlice::Ipv6(ip) => {
            pair(ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ => None,
    }
}
