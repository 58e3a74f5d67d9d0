//! Datagrams that wait for the end of a batch, to be sent together.

use std::net::SocketAddr;
use std::time::Instant;

use smallvec::SmallVec;

use super::sys::Outgoing;
use super::udp::{self, UdpLinks};
use crate::link::LinkSet;
use crate::stats::Drops;

/// The longest datagram over IPv4, and so the longest run of them.
const MAX_RUN: usize = 65_507;

/// How many datagrams a run has at most (`UDP_MAX_SEGMENTS` of older kernels).
const MAX_DATAGRAMS: usize = 64;

const BUFFER: usize = 2 * MAX_RUN;

/// From so many bytes on a batch is worth its system call.
const ENOUGH: usize = 48 << 10;

/// Datagrams for UDP links, gathered into *runs*: successive datagrams to one
/// peer that all have the same length, except that the last may be shorter, as
/// `UDP_SEGMENT` wants them. So many go with one system call, and through the
/// kernel's network stack, at the price of one.
pub(crate) struct SendQueue {
    buffer: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
}

struct Run {
    link: usize,
    to: SocketAddr,
    start: usize,
    length: usize,
    /// Length of each datagram but the last.
    segment: usize,
    count: usize,
    /// The last datagram is shorter.
    closed: bool,
}

impl SendQueue {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into(), used: 0, runs: Vec::with_capacity(64) }
    }

    /// Is there room for a datagram of this length? Otherwise flush first.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.used + length <= BUFFER
    }

    /// Room for the next datagram, to the peer of `link`; `None`: it is longer
    /// than any datagram.
    #[inline]
    pub(crate) fn next(&mut self, link: usize, to: SocketAddr, length: usize) -> Option<&mut [u8]> {
        if !self.has_room(length) || length > MAX_RUN {
            return None;
        }
        let start = self.used;
        self.used += length;
        match self.runs.last_mut() {
            Some(run)
                if run.link == link
                    && run.to == to
                    && !run.closed
                    && length <= run.segment
                    && run.count < MAX_DATAGRAMS
                    && run.length + length <= MAX_RUN =>
            {
                run.length += length;
                run.count += 1;
                run.closed = length < run.segment;
            }
            _ => self.runs.push(Run { link, to, start, length, segment: length, count: 1, closed: false }),
        }
        self.buffer.get_mut(start..start + length)
    }

    /// Is there enough for a system call of its own?
    pub(crate) fn has_enough(&self) -> bool {
        self.used >= ENOUGH
    }

    /// Sends all; tells links what went, and counts in `drops` what didn't.
    pub(crate) fn flush(&mut self, udp: &mut UdpLinks, links: &mut LinkSet, drops: &mut Drops, now: Instant) {
        if self.runs.is_empty() {
            return;
        }
        let outgoing = |run: &Run| {
            let bytes = &self.buffer[run.start..run.start + run.length];
            Outgoing { to: run.to, bytes, segment: run.segment as u16 }
        };
        let runs: SmallVec<[Outgoing<'_>; 16]> = self.runs.iter().map(outgoing).collect();
        udp.send_runs(&runs, |n, datagrams, result| {
            let run = &self.runs[n];
            match result {
                Ok(()) => links.sent(run.link, datagrams, run.length * datagrams / run.count),
                Err(error) => {
                    links.not_sent(run.link, datagrams);
                    if udp::is_too_long(&error) {
                        links.refused(run.to, run.segment, now);
                    }
                    drops.add(udp::drop_reason(&error), datagrams as u64);
                }
            }
        });
        self.runs.clear();
        self.used = 0;
    }
}
