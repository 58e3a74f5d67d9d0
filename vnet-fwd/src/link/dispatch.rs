//! Whose message it is, and what is said to those whose it is not.

use std::time::Instant;

use vnet_core::encap::{HEADER, Header, Kind};
use vnet_core::{HostName, LinkKind};

use super::context::Path;
use super::machine::Link;
use super::message::{Close, CloseReason, Greeting, Pulse, SizeAck, SizeProbe};
use super::set::{LinkSet, Slot};
use crate::secure::PeerId;
use crate::stats::DropReason;

impl LinkSet {
    /// Deals with a message that is no frame.
    pub(super) fn receive_control(
        &mut self,
        (path, sender): (Path, Option<PeerId>),
        header: Header,
        body: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = HEADER + body.len();
        let numbers = (header.sequence, header.timestamp);
        match header.kind {
            Kind::Frame | Kind::PartialFrame | Kind::SuperFrame | Kind::Fragment | Kind::Probe => {}
            Kind::Hello | Kind::HelloAck => {
                let greeting = Greeting::decode(body).map_err(|_| DropReason::BadMessage)?;
                self.greeting((path, sender), &greeting, header, bytes, now)?;
            }
            Kind::Keepalive | Kind::KeepaliveAck => {
                let pulse = Pulse::decode(body).map_err(|_| DropReason::BadMessage)?;
                let question = header.kind == Kind::Keepalive;
                let known = match sender {
                    Some(peer) => self.index_of_peer(peer),
                    None => {
                        self.index_at(path).or_else(|| self.index_by_incarnation(pulse.incarnations.sender))
                    }
                };
                let belongs = known.is_some_and(|index| {
                    self.count_received(index, header.sequence, bytes);
                    self.with(index, now, |link, cx| link.on_pulse(path, &pulse, numbers, question, cx))
                        .unwrap_or(false)
                });
                if !belongs {
                    self.refuse((path, sender), CloseReason::NoSession, header.timestamp, now);
                    return Err(DropReason::UnknownPeer);
                }
            }
            Kind::SizeProbe | Kind::SizeAck => {
                let index = match sender {
                    Some(peer) => self.index_of_peer(peer),
                    None => self.index_at(path),
                };
                let index = index.ok_or(DropReason::UnknownPeer)?;
                self.count_received(index, header.sequence, bytes);
                if header.kind == Kind::SizeProbe {
                    let probe = SizeProbe::decode(body).map_err(|_| DropReason::BadMessage)?;
                    self.with(index, now, |link, cx| link.on_size_probe(&probe, bytes, cx));
                } else {
                    let ack = SizeAck::decode(body).map_err(|_| DropReason::BadMessage)?;
                    self.with(index, now, |link, cx| link.on_size_ack(&ack, cx));
                }
            }
            Kind::Close => {
                let close = Close::decode(body).map_err(|_| DropReason::BadMessage)?;
                let index = match sender {
                    Some(peer) => self.index_of_peer(peer),
                    None => self.index_at(path).or_else(|| self.index_by_target(path)),
                };
                let index = index.ok_or(DropReason::UnknownPeer)?;
                self.count_received(index, header.sequence, bytes);
                self.with(index, now, |link, cx| link.on_close(path, &close, cx));
            }
        }
        Ok(())
    }

    fn greeting(
        &mut self,
        (path, sender): (Path, Option<PeerId>),
        greeting: &Greeting,
        header: Header,
        bytes: usize,
        now: Instant,
    ) -> Result<(), DropReason> {
        let asks = header.kind == Kind::Hello;
        if let (Some(peer), Some(guard)) = (sender, &self.shared.guard)
            && guard.host_of(peer) != Some(&greeting.from)
        {
            // The key of one daemon and the name of another.
            return Err(DropReason::BadMessage);
        }
        let index = self.index_of(&greeting.from).filter(|_| greeting.to == self.shared.host);
        let Some(index) = index else {
            if asks {
                self.refuse_link(
                    (path, sender),
                    CloseReason::NoSuchLink,
                    header.timestamp,
                    &greeting.from,
                    now,
                );
            }
            return Err(DropReason::UnknownPeer);
        };
        let kind = match path {
            Path::Udp(_) => LinkKind::Udp,
            Path::Tcp(_) => LinkKind::Tcp,
        };
        if self.slot(index).is_some_and(|link| link.spec.kind != kind) {
            self.refuse_link((path, sender), CloseReason::OtherKind, header.timestamp, &greeting.from, now);
            return Err(DropReason::UnknownPeer);
        }
        if let Path::Tcp(connection) = path
            && let Some(connection) = self.connections.get_mut(&connection)
        {
            if connection.link.is_some_and(|other| other != index) {
                return Err(DropReason::BadMessage);
            }
            connection.link = Some(index);
        }
        self.count_received(index, header.sequence, bytes);
        self.with(index, now, |link, cx| {
            if asks {
                link.on_hello(path, greeting, header.timestamp, cx);
            } else {
                link.on_hello_ack(path, greeting, header.timestamp, cx);
            }
        });
        Ok(())
    }

    /// Answers a message that no link is there for, if not too many lately.
    pub(super) fn refuse(
        &mut self,
        to: (Path, Option<PeerId>),
        reason: CloseReason,
        echo: u64,
        now: Instant,
    ) {
        let host = self.shared.host.clone();
        self.refuse_link(to, reason, echo, &host, now);
    }

    fn refuse_link(
        &mut self,
        (path, sender): (Path, Option<PeerId>),
        reason: CloseReason,
        echo: u64,
        peer: &HostName,
        now: Instant,
    ) {
        if self.refusals.allow(now) {
            let mut cx = self.shared.context(now);
            let close = cx.close(reason, echo, peer);
            cx.send_alone(path, sender, Kind::Close, &close.encode());
        }
        if matches!(path, Path::Tcp(c) if self.connections.get(&c).is_some_and(|c| c.link.is_none())) {
            self.shared.context(now).hang_up(path);
        }
    }

    fn index_by_incarnation(&self, incarnation: u64) -> Option<usize> {
        let session = |slot: &Slot| slot.link.session.as_ref().map(|s| s.incarnation);
        self.slots.iter().position(|slot| slot.as_ref().and_then(session) == Some(incarnation))
    }

    pub(super) fn index_by_target(&self, path: Path) -> Option<usize> {
        let address = path.address()?;
        let here = |link: &Link| link.target == Some(address) || link.learned == Some(address);
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|slot| here(&slot.link)))
    }

    fn count_received(&mut self, index: usize, number: u64, bytes: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.link.counters.received(bytes);
            if let Some(session) = &mut slot.link.session {
                session.loss.count(number);
            }
        }
    }
}
