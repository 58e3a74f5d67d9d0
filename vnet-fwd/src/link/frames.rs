//! The data path of links: from a datagram to a frame, and back.

use std::ops::Range;
use std::time::Instant;

use vnet_core::encap::{HEADER, Header, Kind};

use super::context::{Path, nanoseconds};
use super::encryption;
use super::message::{CloseReason, Features};
use super::set::{LinkSet, Slot};
use crate::engine::Label;
use crate::secure::{self, Opened, Rejected, SEAL_BACK, SEAL_FRONT};
use crate::stats::DropReason;

/// Bytes that a datagram has in front of its header and behind its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// In front.
    pub head: usize,
    /// Behind.
    pub tail: usize,
}

impl Room {
    /// Together.
    pub fn total(self) -> usize {
        self.head + self.tail
    }
}

/// How frames leave over a link at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Where to.
    pub path: Path,
    /// What each datagram needs beside header and payload.
    pub room: Room,
    /// What the peer takes.
    pub features: Features,
    /// The longest datagram that the path carries, as far as that is known.
    pub limit: usize,
    /// Longer frames are split; otherwise they are dropped.
    pub split: bool,
}

/// What a message was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A frame of an up link, behind this header, whose kind is one
    /// [with a frame](Kind::is_frame).
    Frame {
        /// The index of the link.
        link: usize,
        /// The header.
        header: Header,
        /// Where its payload is in the datagram.
        payload: Range<usize>,
    },
    /// Padding of an up link, sent to measure the path.
    Probe {
        /// The index of the link.
        link: usize,
        /// The header.
        header: Header,
    },
    /// A message between daemons; it has been dealt with.
    Handled,
}

/// What a datagram of an encrypted link needs.
pub(super) const SEALED: Room = Room { head: SEAL_FRONT, tail: SEAL_BACK };

impl LinkSet {
    /// Takes a message that came over `path`. The error says why it counts as dropped.
    #[inline]
    pub fn receive(&mut self, path: Path, datagram: &mut [u8], now: Instant) -> Result<Inbound, DropReason> {
        if self.shared.guard.is_some() {
            return self.receive_secretly(path, datagram, now);
        }
        if secure::is_encrypted(datagram) {
            return Err(self.encrypted_message(path, now));
        }
        let (header, body) = Header::decode(datagram).map_err(|_| DropReason::BadMessage)?;
        if !carries(header.kind) {
            return self.receive_control((path, None), header, body, now).map(|()| Inbound::Handled);
        }
        let index = match self.recent {
            Some((recent, index)) if recent == path => Some(index),
            _ => {
                let index = self.index_at(path);
                self.recent = index.map(|index| (path, index));
                index
            }
        };
        if let Some(index) = index
            && let Some(Some(Slot { link, .. })) = self.slots.get_mut(index)
        {
            let payload = HEADER..datagram.len();
            if let Some(session) = &mut link.session
                && session.path == path
            {
                session.loss.count(header.sequence);
                link.counters.received(datagram.len());
                return Ok(match header.kind {
                    Kind::Probe => Inbound::Probe { link: index, header },
                    _ => Inbound::Frame { link: index, header, payload },
                });
            }
            if link.candidate.is_some_and(|c| c.path == path) {
                link.counters.received(datagram.len());
                self.with(index, now, |link, cx| link.on_candidate_frame(cx));
                return Ok(match header.kind {
                    Kind::Probe => Inbound::Handled,
                    _ => Inbound::Frame { link: index, header, payload },
                });
            }
        }
        self.refuse((path, None), CloseReason::NoSession, header.timestamp, now);
        Err(DropReason::UnknownPeer)
    }

    #[inline]
    fn receive_secretly(
        &mut self,
        path: Path,
        datagram: &mut [u8],
        now: Instant,
    ) -> Result<Inbound, DropReason> {
        let Some(guard) = &mut self.shared.guard else { return Err(DropReason::Encrypted) };
        let opened = guard.open(path, datagram, now);
        let Ok(Opened::Message { peer, text, newest, greeting }) = opened else {
            return self.nothing_inside(path, opened, datagram, now);
        };
        let length = datagram.len();
        let payload = text.start + HEADER..text.end;
        let (header, body) = Header::decode(&datagram[text]).map_err(|_| DropReason::BadMessage)?;
        let probe = header.kind == Kind::Probe;
        if carries(header.kind)
            && let Some(index) = self.index_of_peer(peer)
            && let Some(Some(Slot { link, .. })) = self.slots.get_mut(index)
        {
            if let Some(session) = &mut link.session {
                session.loss.count(header.sequence);
                link.counters.received(length);
                if newest && session.path != path {
                    self.with(index, now, |link, cx| link.follow(path, cx));
                }
                return Ok(match probe {
                    true => Inbound::Probe { link: index, header },
                    false => Inbound::Frame { link: index, header, payload },
                });
            }
            if link.candidate.is_some() {
                link.counters.received(length);
                self.with(index, now, |link, cx| link.on_candidate_frame(cx));
                return Ok(match probe {
                    true => Inbound::Handled,
                    false => Inbound::Frame { link: index, header, payload },
                });
            }
        }
        if carries(header.kind) {
            self.refuse((path, Some(peer)), CloseReason::NoSession, header.timestamp, now);
            return Err(DropReason::UnknownPeer);
        }
        // Its sequence number says what is newest; so the order among keepalives
        // decides where the peer is, as on plain links.
        let handled = self.receive_control((path, Some(peer)), header, body, now);
        if let Some(guard) = &mut self.shared.guard
            && greeting
        {
            guard.abandon(peer);
        }
        self.shared.transmit();
        handled.map(|()| Inbound::Handled)
    }

    /// The datagram has no message of a peer for us.
    #[cold]
    fn nothing_inside(
        &mut self,
        path: Path,
        opened: Result<Opened, Rejected>,
        datagram: &[u8],
        now: Instant,
    ) -> Result<Inbound, DropReason> {
        self.shared.transmit();
        match opened {
            Ok(_) => Ok(Inbound::Handled),
            Err(Rejected::Malformed) if !secure::is_encrypted(datagram) => {
                Err(self.plain_message(path, datagram, now))
            }
            Err(rejected) => Err(encryption::drop_reason(rejected)),
        }
    }

    /// How a frame for the link at `index` leaves.
    #[inline]
    pub fn departure(&mut self, index: usize) -> Result<Departure, DropReason> {
        let Some(Some(Slot { link, .. })) = self.slots.get_mut(index) else {
            return Err(DropReason::NoLink);
        };
        let Some(session) = &link.session else {
            link.counters.send_errors += 1;
            return Err(DropReason::LinkDown);
        };
        let room = match &self.shared.guard {
            None => Room::default(),
            Some(guard) if link.secure.is_some_and(|peer| guard.is_ready(peer)) => SEALED,
            Some(_) => {
                link.counters.send_errors += 1;
                return Err(DropReason::NoKeys);
            }
        };
        let (path, features) = (session.path, session.features);
        let split = self.split && features.fragments;
        Ok(Departure { path, room, features, limit: link.mtu.limit(), split })
    }

    /// Makes a datagram ready to be sent over the link at `index`, whose
    /// [`Departure`] has just been asked for: its room in front, [`HEADER`] bytes,
    /// the payload that `kind` says, its room behind.
    #[inline]
    pub fn finish(&mut self, index: usize, label: &Label, kind: Kind, now: Instant, datagram: &mut [u8]) {
        self.note_length(index, datagram.len(), now);
        let Some(Some(Slot { link, .. })) = self.slots.get_mut(index) else { return };
        let header = Header {
            kind,
            hop_limit: label.hop_limit,
            rule_version: label.version,
            network: label.network,
            sequence: link.sequence,
            timestamp: nanoseconds(self.shared.origin, now),
        };
        link.sequence += 1;
        let start = if self.shared.guard.is_some() { SEALED.head } else { 0 };
        if let Some(place) = datagram.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
            *place = header.encode();
        }
        if let Some(guard) = &mut self.shared.guard
            && link.secure.is_none_or(|peer| guard.seal(peer, datagram).is_err())
        {
            // `departure` has seen the keys; whatever happens, nothing goes out in plain.
            datagram.fill(0);
        }
    }

    /// Counts finished datagrams of `bytes` together that were sent.
    #[inline]
    pub fn sent(&mut self, index: usize, datagrams: usize, bytes: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.link.counters.sent_many(datagrams, bytes);
        }
    }

    /// Counts finished datagrams that could not be sent.
    pub fn not_sent(&mut self, index: usize, datagrams: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.link.counters.send_errors += datagrams as u64;
        }
    }
}

/// Is it something that flows over a link that is up, rather than a message
/// about the link?
#[inline]
fn carries(kind: Kind) -> bool {
    kind.is_frame() || kind == Kind::Probe
}
