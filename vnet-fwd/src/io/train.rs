//! Frames that come over links one after the other, gathered so that they can be
//! delivered as one.

use std::ops::Range;

use vnet_core::encap::{Header, Kind};

use super::cargo::Cargo;
use super::outlets::Outlets;
use crate::engine::{Forwarder, Ingress};
use crate::link::{Inbound, Path, Rejoined};
use crate::offload::{Checksum, Group, Layout, OFFLOAD_HEADER, OffloadHeader, Work};
use crate::port::PortId;
use crate::stats::DropReason;

/// Frames that came over one link with the same label and belong together.
#[derive(Default)]
pub(crate) struct Train {
    first: Option<(usize, Header, Group)>,
    /// Where the frames are.
    pieces: Vec<Range<usize>>,
}

impl Train {
    /// Takes the datagram that is at `place` in `buffer`, and that the kernel took
    /// in at `arrived_ns`. The train before it
    /// leaves if the datagram is no part of it; what is in the buffer must stay
    /// until [`Train::leave`].
    #[inline]
    pub(crate) fn add(
        &mut self,
        forwarder: &mut Forwarder,
        outlets: &mut Outlets,
        path: Path,
        buffer: &mut [u8],
        place: Range<usize>,
        arrived_ns: Option<u64>,
    ) {
        let inbound = outlets.links.receive(path, &mut buffer[place.clone()], outlets.now);
        if let (Ok(Inbound::Frame { link, header, .. } | Inbound::Probe { link, header }), Some(arrived_ns)) =
            (&inbound, arrived_ns)
        {
            outlets.links.arrived(*link, header, place.len(), arrived_ns);
        }
        let (link, header, payload) = match inbound {
            Ok(Inbound::Frame { link, header, payload }) => (link, header, payload),
            Ok(Inbound::Probe { .. } | Inbound::Handled) => return,
            Err(reason) => return forwarder.count_drop(reason),
        };
        let frame = place.start + payload.start..place.start + payload.end;
        let checksum = match header.kind {
            Kind::Fragment => {
                self.leave(forwarder, outlets, buffer);
                return fragment(forwarder, outlets, (link, header), &buffer[frame]);
            }
            Kind::PartialFrame => Checksum::Partial,
            Kind::SuperFrame => {
                self.leave(forwarder, outlets, buffer);
                let ingress = Ingress::Link(PortId::link(link), header);
                return super_frame(forwarder, outlets, ingress, &mut buffer[frame]);
            }
            _ => Checksum::Complete,
        };
        if let Some((other, first, group)) = &mut self.first
            && *other == link
            && (first.hop_limit, first.rule_version, first.network)
                == (header.hop_limit, header.rule_version, header.network)
            && group.push(&buffer[frame.clone()], checksum)
        {
            self.pieces.push(frame);
            return;
        }
        self.leave(forwarder, outlets, buffer);
        match Group::start(&buffer[frame.clone()], checksum) {
            Some(group) => {
                self.first = Some((link, header, group));
                self.pieces.push(frame);
            }
            None => forwarder.count_drop(DropReason::BadMessage),
        }
    }

    /// Forwards what has been gathered.
    #[inline]
    pub(crate) fn leave(&mut self, forwarder: &mut Forwarder, outlets: &mut Outlets, buffer: &[u8]) {
        if let Some((link, header, group)) = self.first.take() {
            let cargo = Cargo::Train { group: &group, pieces: &self.pieces, buffer };
            forward(forwarder, outlets, Ingress::Link(PortId::link(link), header), &cargo);
            self.pieces.clear();
        }
    }
}

/// Keeps a piece of a frame, or forwards the frame that it completes.
fn fragment(forwarder: &mut Forwarder, outlets: &mut Outlets, (link, header): (usize, Header), piece: &[u8]) {
    let (kind, frame) = match outlets.links.rejoin(link, &header, piece) {
        Ok(Rejoined::Whole { kind, frame }) => (kind, frame),
        Ok(Rejoined::Waiting { given_up: false }) => return,
        Ok(Rejoined::Waiting { given_up: true }) => return forwarder.count_drop(DropReason::Incomplete),
        Err(reason) => return forwarder.count_drop(reason),
    };
    let work = match kind {
        Kind::PartialFrame => Layout::of(&frame).map(Work::Checksum),
        _ => Some(Work::Nothing),
    };
    match work {
        Some(work) => {
            let ingress = Ingress::Link(PortId::link(link), header);
            forward(forwarder, outlets, ingress, &Cargo::Whole { work, frame: &frame });
        }
        None => forwarder.count_drop(DropReason::BadMessage),
    }
    outlets.links.recycle(link, frame);
}

/// Forwards a super-frame behind its offload header.
fn super_frame(forwarder: &mut Forwarder, outlets: &mut Outlets, ingress: Ingress, payload: &mut [u8]) {
    let Some((header, frame)) = payload.split_first_chunk_mut::<OFFLOAD_HEADER>() else {
        return forwarder.count_drop(DropReason::BadMessage);
    };
    match OffloadHeader::decode(header).work(frame) {
        Ok(work) => forward(forwarder, outlets, ingress, &Cargo::Whole { work, frame }),
        Err(error) => {
            tracing::trace!(%error, "a peer sends a super-frame that can't be dealt with");
            forwarder.count_drop(DropReason::BadMessage);
        }
    }
}

/// Forwards a frame or a super-frame.
#[inline]
pub(crate) fn forward(forwarder: &mut Forwarder, outlets: &mut Outlets, ingress: Ingress, cargo: &Cargo<'_>) {
    // Once for each, so that rules published before it was read apply to it.
    forwarder.refresh();
    match cargo.info() {
        Some(info) => forwarder.forward(ingress, info, |port, label| outlets.deliver(port, label, cargo)),
        None => forwarder.count_drop(DropReason::Malformed),
    }
}
