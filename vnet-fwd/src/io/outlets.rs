//! Where a worker's frames go: interfaces, and links over UDP and TCP.

use std::time::Instant;

use vnet_core::encap::HEADER;

use super::interfaces::Interfaces;
use super::sys::Epoll;
use super::tcp::{PREFIX, TcpLinks};
use super::token::Token;
use super::udp::{self, UdpLinks};
use crate::engine::Label;
use crate::link::{LinkSet, Path};
use crate::port::PortId;
use crate::stats::DropReason;

/// Room in front of a frame for what links put there.
pub(crate) const HEADROOM: usize = PREFIX + HEADER;

pub(crate) struct Outlets {
    pub(crate) interfaces: Interfaces,
    pub(crate) links: LinkSet,
    pub(crate) udp: Option<UdpLinks>,
    pub(crate) tcp: Option<TcpLinks>,
    pub(crate) poller: Epoll,
}

impl Outlets {
    /// Sends one frame to one output. `packet` is the frame behind
    /// [`HEADROOM`] bytes, which are overwritten.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        port: PortId,
        label: &Label,
        packet: &mut [u8],
    ) -> Result<(), DropReason> {
        if !port.is_link() {
            return self.interfaces.deliver(port.index(), &packet[HEADROOM..]);
        }
        let index = port.index();
        let mut header = [0; HEADER];
        let path = self.links.stamp(index, label, Instant::now(), &mut header)?;
        packet[PREFIX..HEADROOM].copy_from_slice(&header);
        self.send(index, path, packet)
    }

    /// Sends padding of `bytes` over the UDP link at `index`, to measure the path.
    pub(crate) fn probe(&mut self, index: usize, bytes: usize) -> Result<(), DropReason> {
        let mut packet = vec![0; HEADROOM + bytes];
        let mut header = [0; HEADER];
        let path = self.links.stamp_probe(index, Instant::now(), &mut header)?;
        packet[PREFIX..HEADROOM].copy_from_slice(&header);
        self.send(index, path, &mut packet)
    }

    #[inline]
    fn send(&mut self, index: usize, path: Path, packet: &mut [u8]) -> Result<(), DropReason> {
        let sent = match path {
            Path::Udp(address) => match &self.udp {
                Some(udp) => udp.send(&packet[PREFIX..], address).map_err(|error| udp::drop_reason(&error)),
                None => Err(DropReason::LinkDown),
            },
            Path::Tcp(connection) => match &mut self.tcp {
                Some(tcp) => {
                    let token = Token::Connection(connection).into();
                    tcp.send_frame(connection, token, packet, &self.poller)
                }
                None => Err(DropReason::LinkDown),
            },
        };
        match sent {
            Ok(()) => self.links.sent(index, packet.len() - PREFIX),
            Err(_) => self.links.not_sent(index),
        }
        sent
    }
}
