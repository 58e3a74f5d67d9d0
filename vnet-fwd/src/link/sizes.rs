//! What fits a link: probes of its path's MTU, and frames that are too long for it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vnet_core::LinkKind;
use vnet_core::encap::{HEADER, Header, Kind};
use vnet_core::frame::ETHERNET_HEADER;

use super::context::{Context, Path};
use super::fragments::Rejoined;
use super::frames::Room;
use super::machine::Link;
use super::message::{Incarnations, SizeAck, SizeProbe};
use super::path_mtu::LEAST;
use super::set::LinkSet;
use crate::stats::DropReason;

/// The headers of IP and UDP.
const IPV4_UDP: usize = 20 + 8;
const IPV6_UDP: usize = 40 + 8;

/// How long the answer to a probe is waited for at least: a peer may be busy.
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);

/// The same where the round trip is not known.
const FIRST_TIMEOUT: Duration = Duration::from_millis(500);

/// IPv6 needs this much of a device (RFC 8200, section 5), or is turned off there.
const LEAST_INTERFACE_MTU: u32 = 1280;

impl Link {
    /// The session has a path of which nothing is known.
    pub(super) fn explore(&mut self, cx: &mut Context<'_>) {
        match self.session.as_ref().map(|session| (session.path, session.features)) {
            Some((Path::Udp(address), features)) if features.size_probes => {
                let headers = if address.is_ipv4() { IPV4_UDP } else { IPV6_UDP };
                self.mtu.start(headers, cx.turn(), cx.now);
            }
            _ => self.mtu.stop(cx.now),
        }
    }

    /// Sends a probe of the path's MTU if one is due.
    pub(super) fn probe_size(&mut self, cx: &mut Context<'_>) {
        let timeout = self.round_trip.map_or(FIRST_TIMEOUT, |trip| LEAST_TIMEOUT.max(trip * 3));
        let Some(size) = self.mtu.on_time(cx.now, timeout) else { return };
        let Some(session) = &self.session else { return };
        let incarnations = Incarnations { sender: cx.incarnation, receiver: session.incarnation };
        let (path, plain) = (session.path, size.saturating_sub(cx.room().total()));
        let body = SizeProbe { incarnations }.encode(plain.saturating_sub(HEADER));
        cx.send(self, path, Kind::SizeProbe, &body);
    }

    /// The peer probes: a datagram with `length` bytes of message came.
    pub(super) fn on_size_probe(&mut self, probe: &SizeProbe, length: usize, cx: &mut Context<'_>) {
        if let Some(session) = &self.session
            && probe.incarnations == (Incarnations { sender: session.incarnation, receiver: cx.incarnation })
        {
            let incarnations = Incarnations { sender: cx.incarnation, receiver: session.incarnation };
            let (path, ack) = (session.path, SizeAck { incarnations, length: length as u32 });
            cx.send(self, path, Kind::SizeAck, &ack.encode());
        }
    }

    /// The peer has got a probe of ours.
    pub(super) fn on_size_ack(&mut self, ack: &SizeAck, cx: &mut Context<'_>) {
        if let Some(session) = &self.session
            && ack.incarnations == (Incarnations { sender: session.incarnation, receiver: cx.incarnation })
        {
            self.mtu.acknowledged(ack.length as usize + cx.room().total(), cx.now);
        }
    }

    /// The MTU that interfaces can have so that their frames fit this link's
    /// datagrams whole. Once found it lasts, whatever the link goes through.
    pub(super) fn interface_mtu(&self, room: Room) -> Option<u32> {
        let found = self.mtu.found().filter(|_| self.spec.kind == LinkKind::Udp)?;
        Some(found.saturating_sub(room.total() + HEADER + ETHERNET_HEADER) as u32)
    }

    fn may_use(&self, address: SocketAddr) -> bool {
        let current = self.path().and_then(Path::address);
        // What our own kernel says of a destination has no port.
        current.is_some_and(|own| own == address || (address.port() == 0 && own.ip() == address.ip()))
    }
}

impl LinkSet {
    /// The same links, which split frames that are too long for a datagram of the
    /// path (the default), or drop them.
    #[must_use]
    pub fn with_splitting(mut self, split: bool) -> Self {
        self.split = split;
        self
    }

    /// Our own kernel refuses a datagram of `size` bytes to `address`.
    pub fn refused(&mut self, address: SocketAddr, size: usize, now: Instant) {
        self.each_at(address, now, |link, _| link.mtu.refused(size, None, now));
    }

    /// A device of this host's on the way to `address`, or with `is_remote` somebody who says so
    /// by ICMP, takes packets of up to `mtu` bytes.
    pub fn limited(&mut self, address: SocketAddr, mtu: usize, is_remote: bool, now: Instant) {
        let limit = mtu.saturating_sub(if address.is_ipv4() { IPV4_UDP } else { IPV6_UDP });
        self.each_at(address, now, |link, _| match is_remote {
            true => link.mtu.hinted(limit, now),
            false => link.mtu.refused(limit + 1, Some(limit), now),
        });
    }

    /// The MTU that interfaces can have so that their frames fit the datagrams of
    /// all links, if that has changed since the last call. The inner `None`: no
    /// link limits it.
    pub fn take_interface_mtu(&mut self) -> Option<Option<u32>> {
        if !std::mem::take(&mut self.sizes_changed) {
            return None;
        }
        let room = self.shared.room();
        let least = self.slots.iter().flatten().filter_map(|slot| slot.link.interface_mtu(room)).min();
        // Longer frames are split, so nothing is lost where IPv6 needs more.
        Some(least.map(|mtu| if self.split { mtu.max(LEAST_INTERFACE_MTU) } else { mtu }))
    }

    /// A datagram of `length` bytes leaves over the link at `index`.
    #[inline]
    pub(super) fn note_length(&mut self, index: usize, length: usize, now: Instant) {
        if length > LEAST
            && let Some(Some(slot)) = self.slots.get_mut(index)
            && slot.link.mtu.use_length(length)
        {
            // Its timer is to be set.
            self.with(index, now, |_, _| ());
        }
    }

    /// A frame is too long for the link at `index`, and was dropped.
    pub fn not_fitting(&mut self, index: usize) -> DropReason {
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.link.counters.send_errors += 1;
            slot.link.not_fitting += 1;
        }
        DropReason::PathMtu
    }

    /// The number of the next frame to be split for the link at `index`.
    pub fn next_split(&mut self, index: usize) -> u32 {
        let Some(Some(slot)) = self.slots.get_mut(index) else { return 0 };
        slot.link.split_frames += 1;
        slot.link.split_frames as u32
    }

    /// Takes a fragment that came over the link at `index`, behind `header`.
    pub fn rejoin(&mut self, index: usize, header: &Header, payload: &[u8]) -> Result<Rejoined, DropReason> {
        match self.slots.get_mut(index) {
            Some(Some(slot)) => slot.link.rejoiner.add(header, payload),
            _ => Err(DropReason::UnknownPeer),
        }
    }

    /// Takes back the buffer of a [`Rejoined::Whole`].
    pub fn recycle(&mut self, index: usize, frame: Vec<u8>) {
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.link.rejoiner.recycle(frame);
        }
    }

    fn each_at(
        &mut self,
        address: SocketAddr,
        now: Instant,
        mut event: impl FnMut(&mut Link, &mut Context<'_>),
    ) {
        for index in 0..self.slots.len() {
            if self.slot(index).is_some_and(|link| link.may_use(address)) {
                self.with(index, now, &mut event);
            }
        }
    }
}
