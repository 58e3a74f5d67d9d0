//! The delay of an empty path: what is left when queueing is taken out.
//!
//! The difference of the clocks' readings is the delay of the path, the wait
//! in its queues, and the offset of the clocks, which drifts. Packets that did
//! not wait lie on a straight line over time, all others above it: the lower
//! convex hull of all packets touches that line (S. B. Moon, P. Skelly and D.
//! Towsley, "Estimation and removal of clock skew from network delay
//! measurements", INFOCOM 1999). The hull is never below the line, so that
//! what is above the hull has waited for certain.

use std::collections::VecDeque;

/// A packet on the hull: when it was sent, and the difference of the clocks'
/// readings when it arrived, both in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// By the sender's clock.
    pub sent_ns: u64,
    /// Receiver's clock less sender's clock, without the time that the packet's
    /// bits took to pass the slowest link.
    pub delay_ns: i64,
}

/// For this long the least delay is one point.
const BIN_NS: u64 = 250_000_000;

/// A drift that no two clocks have; steeper edges of the hull are the queue's doing.
const MAX_SKEW: f64 = 300e-6;

#[derive(Clone, Copy, Debug)]
struct Bin {
    number: u64,
    sent_ns: u64,
    delay_ns: i64,
    bytes: u32,
}

/// The least delays of packets of about the same length over a while.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    bins: VecDeque<Bin>,
    kept_ns: u64,
    hull: Vec<Vertex>,
}

impl Envelope {
    /// Remembers for `kept_ns`.
    pub(crate) fn new(kept_ns: u64) -> Self {
        Self { bins: VecDeque::new(), kept_ns, hull: Vec::new() }
    }

    pub(crate) fn add(&mut self, sent_ns: u64, delay_ns: i64, bytes: u32) {
        let number = sent_ns / BIN_NS;
        let bin = Bin { number, sent_ns, delay_ns, bytes };
        match self.bins.back_mut() {
            Some(last) if last.number == number => {
                if delay_ns < last.delay_ns {
                    *last = bin;
                }
            }
            Some(last) if last.number > number => {}
            _ => self.bins.push_back(bin),
        }
    }

    /// Forgets what is old and draws the hull; `per_byte_ns` is what the slowest
    /// link takes for a byte.
    pub(crate) fn update(&mut self, per_byte_ns: f64) {
        let newest = self.bins.back().map_or(0, |bin| bin.sent_ns);
        while self.bins.front().is_some_and(|bin| bin.sent_ns.saturating_add(self.kept_ns) < newest) {
            self.bins.pop_front();
        }
        self.hull.clear();
        for bin in &self.bins {
            let point = Vertex {
                sent_ns: bin.sent_ns,
                delay_ns: bin.delay_ns.saturating_sub((f64::from(bin.bytes) * per_byte_ns) as i64),
            };
            while let [.., a, b] = self.hull[..]
                && slope(a, b) >= slope(a, point)
            {
                self.hull.pop();
            }
            self.hull.push(point);
        }
        // The ends of the hull stand where the first and last packets were, and
        // these may have waited.
        while let [.., a, b] = self.hull[..]
            && slope(a, b) > MAX_SKEW
        {
            self.hull.pop();
        }
        let waited = self.hull.windows(2).take_while(|pair| slope(pair[0], pair[1]) < -MAX_SKEW).count();
        self.hull.drain(..waited);
    }

    pub(crate) fn hull(&self) -> &[Vertex] {
        &self.hull
    }

    /// The delay without waiting of an empty packet sent at `sent_ns`; never too little.
    pub(crate) fn at(&self, sent_ns: u64) -> Option<f64> {
        delay_at(&self.hull, sent_ns)
    }
}

/// The delay that a hull has at a time of the sender's clock. Beyond its ends it
/// stays level.
pub(crate) fn delay_at(hull: &[Vertex], sent_ns: u64) -> Option<f64> {
    let (first, last) = (hull.first()?, hull.last()?);
    let after = hull.partition_point(|vertex| vertex.sent_ns <= sent_ns);
    if after == 0 {
        return Some(first.delay_ns as f64);
    }
    if after == hull.len() {
        return Some(last.delay_ns as f64);
    }
    let (a, b) = (hull[after - 1], hull[after]);
    Some(a.delay_ns as f64 + slope(a, b) * (sent_ns - a.sent_ns) as f64)
}

fn slope(a: Vertex, b: Vertex) -> f64 {
    (b.delay_ns as f64 - a.delay_ns as f64) / b.sent_ns.saturating_sub(a.sent_ns).max(1) as f64
}
