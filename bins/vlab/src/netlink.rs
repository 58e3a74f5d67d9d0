//! rtnetlink(7): the dozen requests that a laboratory makes of the kernel.
//!
//! Synchronous and by hand: each request is a header, a fixed part and a few
//! attributes.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use vnet_core::MacAddr;

// linux/netlink.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 1 << 15;
const HEADER: usize = 16;

// linux/if_link.h, linux/veth.h, linux/if_addr.h, linux/neighbour.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

/// A socket to the part of the kernel that configures a network namespace.
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// What of a device is to be set; it is brought up in any case.
#[derive(Default)]
pub(crate) struct LinkSettings {
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: Option<u32>,
    pub(crate) queue_frames: Option<u32>,
}

impl Netlink {
    /// For the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // protocol 0, NETLINK_ROUTE
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The socket, for requests of other kinds about the same devices.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Brings `lo` up, which is the first device of every namespace.
    pub(crate) fn loopback_up(&mut self) -> io::Result<()> {
        self.link_up(1, &LinkSettings::default())
    }

    /// The index of a device.
    pub(crate) fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }

    /// Configures a device and brings it up.
    pub(crate) fn link_up(&mut self, index: u32, settings: &LinkSettings) -> io::Result<()> {
        let mut request = Message::new(libc::RTM_NEWLINK, 0);
        request.link(index, libc::IFF_UP as u32);
        if let Some(mac) = settings.mac {
            request.attribute(IFLA_ADDRESS, &mac.0);
        }
        if let Some(mtu) = settings.mtu {
            request.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        }
        if let Some(frames) = settings.queue_frames {
            request.attribute(IFLA_TXQLEN, &frames.to_ne_bytes());
        }
        self.call([request])
    }

    /// Makes a pair of devices that are joined like the ends of a cable: one
    /// here, one in `peer_namespace`.
    pub(crate) fn add_veth(&mut self, name: &str, peer: &str, peer_namespace: impl AsFd) -> io::Result<()> {
        let mut request = Message::new(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        request.link(0, 0);
        request.attribute(IFLA_IFNAME, &c_bytes(name));
        request.nest(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"veth");
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |other| {
                    other.link(0, 0);
                    other.attribute(IFLA_IFNAME, &c_bytes(peer));
                    let namespace = peer_namespace.as_fd().as_raw_fd();
                    other.attribute(IFLA_NET_NS_FD, &namespace.to_ne_bytes());
                });
            });
        });
        self.call([request])
    }

    /// Deletes a device.
    pub(crate) fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut request = Message::new(libc::RTM_DELLINK, 0);
        request.link(index, 0);
        self.call([request])
    }

    /// Gives a device an address, and so a route to its subnet.
    pub(crate) fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut request = Message::new(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
        request.bytes(&[libc::AF_INET as u8, prefix, 0, 0]); // struct ifaddrmsg
        request.bytes(&index.to_ne_bytes());
        request.attribute(IFA_LOCAL, &address.octets());
        request.attribute(IFA_ADDRESS, &address.octets());
        self.call([request])
    }

    /// Tells a device who has which address on its segment, for good. Such
    /// entries don't count towards the kernel's limit, which all namespaces share.
    pub(crate) fn add_neighbours(
        &mut self,
        index: u32,
        neighbours: impl IntoIterator<Item = (Ipv4Addr, MacAddr)>,
    ) -> io::Result<()> {
        self.call(neighbours.into_iter().map(|(address, mac)| {
            let mut request = Message::new(libc::RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
            request.bytes(&[libc::AF_INET as u8, 0, 0, 0]); // struct ndmsg
            request.bytes(&index.to_ne_bytes());
            request.bytes(&NUD_PERMANENT.to_ne_bytes());
            request.bytes(&[0, 0]);
            request.attribute(NDA_DST, &address.octets());
            request.attribute(NDA_LLADDR, &mac.0);
            request
        }))
    }

    /// Sends the requests, as many at a time as the kernel answers without
    /// overflowing our socket, and waits for every answer.
    fn call(&mut self, requests: impl IntoIterator<Item = Message>) -> io::Result<()> {
        const AT_ONCE: usize = 64;
        let mut requests = requests.into_iter();
        loop {
            let mut bytes = Vec::new();
            let mut count = 0;
            for request in requests.by_ref().take(AT_ONCE) {
                self.sequence = self.sequence.wrapping_add(1);
                bytes.extend(request.finish(self.sequence));
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
            self.take_answers(count)?;
        }
    }

    fn take_answers(&self, mut count: usize) -> io::Result<()> {
        let mut buffer = [0_u8; 32 * 1024];
        let mut failure = None;
        while count > 0 {
            let (received, _) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty())?;
            let mut rest = &buffer[..received];
            while let Some((kind, body, next)) = split_message(rest) {
                if kind == NLMSG_ERROR {
                    count = count.saturating_sub(1);
                    let errno = body.first_chunk::<4>().map_or(0, |b| -i32::from_ne_bytes(*b));
                    if errno != 0 && failure.is_none() {
                        failure = Some(io::Error::from_raw_os_error(errno));
                    }
                }
                rest = next;
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// The first message's type and body, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk::<4>()?) as usize;
    let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or(&[])))
}

struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut message = vec![0; HEADER];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[6..8].copy_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        Self(message)
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }

    /// A struct ifinfomsg that sets the given flags.
    fn link(&mut self, index: u32, flags: u32) {
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = (4 + value.len()) as u16;
        self.bytes(&length.to_ne_bytes());
        self.bytes(&kind.to_ne_bytes());
        self.bytes(value);
        self.pad();
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.bytes(&[0; 2]);
        self.bytes(&(kind | NLA_F_NESTED).to_ne_bytes());
        fill(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

fn c_bytes(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_laid_out_as_the_kernel_wants_them() {
        let mut message = Message::new(libc::RTM_NEWLINK, NLM_F_CREATE);
        message.link(3, 1);
        message.nest(IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, b"dummy"));
        let bytes = message.finish(9);
        let (kind, body, rest) = split_message(&bytes).unwrap();
        assert_eq!((kind, rest.len()), (libc::RTM_NEWLINK, 0));
        assert_eq!(body[4..8], 3_u32.to_ne_bytes());
        assert_eq!(
            body[16..20],
            [16_u16.to_ne_bytes(), (IFLA_LINKINFO | NLA_F_NESTED).to_ne_bytes()].concat()
        );
        assert_eq!(body[20..24], [9_u16.to_ne_bytes(), IFLA_INFO_KIND.to_ne_bytes()].concat());
        assert_eq!(&body[24..], b"dummy\0\0\0");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut rest = &bytes[..];
            while let Some((_, _, next)) = split_message(rest) {
                prop_assert!(next.len() < rest.len());
                rest = next;
            }
        }
    }
}
