//! The data path of links: from a datagram to a frame, and back.

use std::ops::Range;
use std::time::Instant;

use vnet_core::encap::{HEADER, Header, Kind};

use super::context::{Path, nanoseconds};
use super::message::{CloseReason, Features};
use super::set::{LinkSet, Slot};
use crate::engine::Label;
use crate::stats::DropReason;

/// Bytes that a datagram has in front of its header and behind its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// In front.
    pub head: usize,
    /// Behind.
    pub tail: usize,
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

impl LinkSet {
    /// Takes a message that came over `path`. The error says why it counts as dropped.
    #[inline]
    pub fn receive(&mut self, path: Path, datagram: &mut [u8], now: Instant) -> Result<Inbound, DropReason> {
        let (header, body) = Header::decode(datagram).map_err(|_| DropReason::BadMessage)?;
        if !header.kind.is_frame() && header.kind != Kind::Probe {
            return self.receive_control(path, header, body, now).map(|()| Inbound::Handled);
        }
        let index = self.index_at(path);
        if let Some(index) = index
            && let Some(Some(Slot { link, .. })) = self.slots.get_mut(index)
        {
            let payload = HEADER..datagram.len();
            if let Some(session) = &mut link.session
                && session.path == path
            {
                session.newest = session.newest.max(header.sequence);
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
        self.refuse(path, CloseReason::NoSession, header.timestamp, now);
        Err(DropReason::UnknownPeer)
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
        Ok(Departure { path: session.path, room: Room::default(), features: session.features })
    }

    /// Makes a datagram ready to be sent over the link at `index`, whose
    /// [`Departure`] has just been asked for: its room in front, [`HEADER`] bytes,
    /// the payload that `kind` says, its room behind.
    #[inline]
    pub fn finish(&mut self, index: usize, label: &Label, kind: Kind, now: Instant, datagram: &mut [u8]) {
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
        if let Some(place) = datagram.first_chunk_mut() {
            *place = header.encode();
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
