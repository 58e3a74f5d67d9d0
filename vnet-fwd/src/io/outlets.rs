//! Where a worker's frames go: interfaces, and links over UDP and TCP.

use std::time::Instant;

use vnet_core::encap::{HEADER, Kind};
use vnet_core::frame::MAX_FRAME;
use vnet_core::{NetworkId, RuleVersion};

use super::cargo::{Cargo, complete};
use super::interfaces::Interfaces;
use super::queue::SendQueue;
use super::sys::Epoll;
use super::tcp::{PREFIX, TcpLinks};
use super::token::Token;
use super::udp::{self, UdpLinks};
use crate::engine::Label;
use crate::link::{Departure, Features, LinkSet, Path, Pieces};
use crate::offload::{Checksum, Layout, OFFLOAD_HEADER, Work};
use crate::port::PortId;
use crate::stats::{DropReason, Drops};

/// Room for any message with what links put around it.
const SCRATCH: usize = PREFIX + HEADER + OFFLOAD_HEADER + MAX_FRAME + 128;

pub(crate) struct Outlets {
    pub(crate) interfaces: Interfaces,
    pub(crate) links: LinkSet,
    pub(crate) udp: Option<UdpLinks>,
    pub(crate) tcp: Option<TcpLinks>,
    pub(crate) poller: Epoll,
    /// Datagrams that wait for [`Outlets::flush`].
    pub(crate) queue: SendQueue,
    /// What could not be sent after it had been taken.
    pub(crate) drops: Drops,
    /// When this batch of frames was read.
    pub(crate) now: Instant,
    scratch: Box<[u8]>,
}

impl Outlets {
    pub(crate) fn new(
        links: LinkSet,
        interfaces: Interfaces,
        udp: Option<UdpLinks>,
        tcp: Option<TcpLinks>,
        poller: Epoll,
        now: Instant,
    ) -> Self {
        Self {
            interfaces,
            links,
            udp,
            tcp,
            poller,
            queue: SendQueue::new(),
            drops: Drops::default(),
            now,
            scratch: vec![0; SCRATCH].into(),
        }
    }

    /// Delivers to one output. Datagrams may stay in the queue.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        port: PortId,
        label: &Label,
        cargo: &Cargo<'_>,
    ) -> Result<(), DropReason> {
        let index = port.index();
        if !port.is_link() {
            return self.interfaces.deliver(index, cargo, &mut self.scratch);
        }
        let departure = self.links.departure(index)?;
        match departure.path {
            Path::Udp(_) => self.depart_udp(index, departure, label, cargo),
            Path::Tcp(_) => self.depart_tcp(index, departure, label, cargo),
        }
    }

    /// Sends padding of `bytes` over the UDP link at `index`, to measure the path:
    /// at once and by itself, so that the spacing is its own.
    pub(crate) fn probe(&mut self, index: usize, bytes: usize) -> Result<(), DropReason> {
        let Departure { path, room, limit, .. } = self.links.departure(index)?;
        let bytes = bytes.min(limit.saturating_sub(room.total() + HEADER));
        let mut datagram = vec![0; room.head + HEADER + bytes + room.tail];
        let label = Label { network: NetworkId::default(), version: RuleVersion::default(), hop_limit: 0 };
        self.links.finish(index, &label, Kind::Probe, Instant::now(), &mut datagram);
        let sent = match (path, &self.udp) {
            (Path::Udp(to), Some(udp)) => udp.send(&datagram, to).map_err(|error| udp::drop_reason(&error)),
            _ => Err(DropReason::LinkDown),
        };
        match sent {
            Ok(()) => self.links.sent(index, 1, datagram.len()),
            Err(_) => self.links.not_sent(index, 1),
        }
        sent
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        if let Some(udp) = &mut self.udp {
            self.queue.flush(udp, &mut self.links, &mut self.drops, self.now);
        }
    }

    /// One datagram for each frame, so that the loss of one costs one.
    fn depart_udp(
        &mut self,
        index: usize,
        Departure { path, room, features, limit, split }: Departure,
        label: &Label,
        cargo: &Cargo<'_>,
    ) -> Result<(), DropReason> {
        let (Path::Udp(to), Some(udp)) = (path, &mut self.udp) else { return Err(DropReason::LinkDown) };
        let (now, links, queue, drops) = (self.now, &mut self.links, &mut self.queue, &mut self.drops);
        let scratch = &mut self.scratch;
        let start = room.head + HEADER;
        cargo.each_frame(|length, checksum, write| {
            let total = start + length + room.tail;
            if total > limit {
                let pieces = split.then(|| Pieces::new(length, limit.saturating_sub(start + room.tail)));
                let Some(pieces) = pieces.flatten() else { return Err(links.not_fitting(index)) };
                let frame = &mut scratch[..length];
                write(frame);
                let kind = kind_for(frame, checksum, features);
                let (number, total) = (links.next_split(index), start + pieces.size() + room.tail);
                for n in 0..pieces.count() {
                    if !queue.has_room(total) {
                        queue.flush(udp, links, drops, now);
                    }
                    let datagram = queue.next(index, to, total).ok_or(DropReason::TooLong)?;
                    pieces.write(n, number, kind, frame, &mut datagram[start..start + pieces.size()]);
                    links.finish(index, label, Kind::Fragment, now, datagram);
                }
                return Ok(());
            }
            if !queue.has_room(total) {
                queue.flush(udp, links, drops, now);
            }
            let Some(datagram) = queue.next(index, to, total) else {
                links.not_sent(index, 1);
                return Err(DropReason::TooLong);
            };
            let frame = &mut datagram[start..start + length];
            write(frame);
            let kind = kind_for(frame, checksum, features);
            links.finish(index, label, kind, now, datagram);
            Ok(())
        })?;
        if queue.has_enough() {
            queue.flush(udp, links, drops, now);
        }
        Ok(())
    }

    /// Whole, if the peer takes that: nothing gets lost on the way.
    fn depart_tcp(
        &mut self,
        index: usize,
        Departure { path, room, features, .. }: Departure,
        label: &Label,
        cargo: &Cargo<'_>,
    ) -> Result<(), DropReason> {
        let (Path::Tcp(connection), Some(tcp)) = (path, &mut self.tcp) else {
            return Err(DropReason::LinkDown);
        };
        let (now, links, poller, scratch) = (self.now, &mut self.links, &self.poller, &mut self.scratch);
        let start = PREFIX + room.head + HEADER;
        let mut send = |record: &mut [u8], kind| {
            links.finish(index, label, kind, now, &mut record[PREFIX..]);
            let sent = tcp.send_frame(connection, Token::Connection(connection).into(), record, poller);
            match sent {
                Ok(()) => links.sent(index, 1, record.len() - PREFIX),
                Err(_) => links.not_sent(index, 1),
            }
            sent
        };
        let work = cargo.work();
        if features.super_frames && matches!(work, Work::Segments(_)) {
            let mut headers = [0; Layout::MAX_HEADERS];
            let mut end = start + OFFLOAD_HEADER;
            scratch[start..end].copy_from_slice(&work.header().encode());
            for part in cargo.parts(&mut headers) {
                scratch[end..end + part.len()].copy_from_slice(&part);
                end += part.len();
            }
            return send(&mut scratch[..end + room.tail], Kind::SuperFrame);
        }
        cargo.each_frame(|length, checksum, write| {
            let frame = &mut scratch[start..start + length];
            write(frame);
            let kind = kind_for(frame, checksum, features);
            send(&mut scratch[..start + length + room.tail], kind)
        })
    }
}

/// As what a frame goes; its checksum is filled in if the peer doesn't do that.
#[inline]
fn kind_for(frame: &mut [u8], checksum: Checksum, features: Features) -> Kind {
    if checksum == Checksum::Partial && features.partial_frames {
        return Kind::PartialFrame;
    }
    complete(frame, checksum);
    Kind::Frame
}
