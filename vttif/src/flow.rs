//! What all daemons together say of one address pair.
//!
//! There are two sums over all daemons: what they took from its source, and what
//! they gave to its destination. Every byte is in the first once and in the second
//! at most once, whichever daemons the two VMs were on, so neither ever exceeds the
//! truth, and the greater of the two is what is known of it. While the source's
//! daemon is silent the second goes on; how many bytes it lacks because they were
//! lost on the way is learned while both go on.

use std::time::Instant;

use vnet_core::control::TrafficEntry;

use crate::parameters::Parameters;

/// What one daemon has counted of a pair, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// A directed pair.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Bytes that daemons took from the source.
    pub(crate) sent: u64,
    /// Bytes that daemons gave to the destination.
    pub(crate) received: u64,
    /// Bytes that were lost between the two, as far as known.
    lost: u64,
    /// Has `sent` grown since `lost` was last looked at?
    is_heard: bool,
    /// Bytes that have been handed on as traffic, or are due to be.
    counted: u64,
    pub(crate) due: f64,
    pub(crate) active: Instant,
}

/// What is the same for all entries of one report.
pub(crate) struct Arrival {
    pub(crate) now: Instant,
    pub(crate) daemon: usize,
    /// When the daemon was heard before.
    pub(crate) before: Instant,
    /// Is it the first report of its run to arrive?
    pub(crate) first: bool,
}

impl Counters {
    /// Moves on to an entry's counters; returns by how much.
    pub(crate) fn advance(&mut self, entry: &TrafficEntry) -> Self {
        let fresh = Self {
            sent: entry.sent_bytes.saturating_sub(self.sent),
            received: entry.received_bytes.saturating_sub(self.received),
        };
        self.sent = self.sent.max(entry.sent_bytes);
        self.received = self.received.max(entry.received_bytes);
        fresh
    }
}

impl Flow {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { sent: 0, received: 0, lost: 0, is_heard: false, counted: 0, due: 0.0, active: now }
    }

    /// Takes in what a daemon has counted since its last report; are bytes due
    /// that were not before?
    pub(crate) fn advance(&mut self, fresh: &Counters, arrival: &Arrival, parameters: &Parameters) -> bool {
        self.sent = self.sent.saturating_add(fresh.sent);
        self.received = self.received.saturating_add(fresh.received);
        self.is_heard |= fresh.sent > 0;
        // Measured when what arrived is the newer of the two: bytes under way, and
        // those in reports under way, would pass for lost.
        if fresh.received > 0 && self.is_heard {
            self.lost = self.sent.saturating_sub(self.received);
            self.is_heard = false;
        }
        // Where too many passed for lost, this is ahead for a moment; then `sent`
        // gets there, too, and nothing is counted meanwhile.
        let known = self.sent.max(self.received.saturating_add(self.lost));
        let bytes = known.saturating_sub(self.counted);
        if bytes == 0 {
            return false;
        }
        let due = bytes as f64 * self.current_fraction(arrival, parameters);
        let is_first = self.due == 0.0 && due > 0.0;
        self.due += due;
        self.counted = known;
        self.active = arrival.now;
        is_first
    }

    /// A daemon is heard of that has counted for a while, nobody knows since when
    /// the one and the other: from here on, they go on together.
    pub(crate) fn align(&mut self) {
        self.sent = self.sent.max(self.received);
        self.is_heard = false;
    }

    /// How much of the bytes in a report is of the current interval.
    fn current_fraction(&self, arrival: &Arrival, parameters: &Parameters) -> f64 {
        let elapsed = arrival.now.saturating_duration_since(arrival.before);
        let was_active = self.counted > 0 && self.active + parameters.daemon_timeout >= arrival.before;
        if arrival.first {
            // Nobody knows how long ago they were sent.
            0.0
        } else if elapsed <= parameters.daemon_timeout || !was_active {
            1.0
        } else {
            // They were sent all along, and nobody waited for the report.
            parameters.update_interval.as_secs_f64() / elapsed.as_secs_f64()
        }
    }
}
