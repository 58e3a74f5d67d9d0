//! One direction of one part of the network: a queue, a transmitter, a delay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Counters, Figures, NicId};

/// A frame under way.
#[derive(Clone)]
pub(super) struct Passing {
    pub(super) frame: Arc<[u8]>,
    pub(super) from: NicId,
    pub(super) to: Target,
}

/// For whom a frame is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// One NIC.
    One(NicId),
    /// All but the sender.
    All,
}

/// Something that the network must ask a pipe for at a later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The last bit of the first frame in the queue has left.
    Sent,
    /// The first frame in flight arrives.
    Arrived,
}

pub(super) struct Pipe {
    figures: Figures,
    queue_limit: u64,
    cut: bool,
    queue: VecDeque<Passing>,
    /// When the last bit of the queue's first frame leaves.
    sent_at: Option<Instant>,
    in_flight: VecDeque<(Instant, Passing)>,
    rng: StdRng,
    counters: Counters,
}

impl Pipe {
    pub(super) fn new(figures: Figures, seed: u64) -> Self {
        let mut pipe = Self {
            figures,
            queue_limit: 0,
            cut: false,
            queue: VecDeque::new(),
            sent_at: None,
            in_flight: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
            counters: Counters::default(),
        };
        pipe.limit_queue();
        pipe
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// Changes the figures; what waits goes on at the new rate. Returns what
    /// is due at a new time.
    pub(super) fn set_figures(&mut self, now: Instant, figures: Figures) -> Option<(Instant, Due)> {
        let before = std::mem::replace(&mut self.figures, figures);
        self.limit_queue();
        let sent_at = self.sent_at?;
        let left = sent_at.saturating_duration_since(now);
        let left = match (before.bandwidth, figures.bandwidth) {
            (Some(old), Some(new)) => {
                let scale = old.bits_per_second() as f64 / new.bits_per_second().max(1) as f64;
                Duration::try_from_secs_f64(left.as_secs_f64() * scale).unwrap_or(LONGEST)
            }
            _ => Duration::ZERO,
        };
        Some(self.due_sent(now + left))
    }

    /// Cuts the pipe, and with it what waits and what is in flight, or heals it.
    pub(super) fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
        if cut {
            self.counters.dropped_cut += (self.queue.len() + self.in_flight.len()) as u64;
            self.counters.queue_bytes = 0;
            self.queue.clear();
            self.in_flight.clear();
            self.sent_at = None;
        }
    }

    /// Takes a frame, which waits, is lost, or is sent. Returns what is due
    /// and when, where that is new.
    pub(super) fn enter(&mut self, now: Instant, passing: Passing) -> Option<(Instant, Due)> {
        let bytes = passing.frame.len() as u64;
        if self.cut {
            self.counters.dropped_cut += 1;
            return None;
        }
        if self.figures.bandwidth.is_none() && self.queue.is_empty() {
            return self.fly(now, passing);
        }
        if !self.queue.is_empty() && self.counters.queue_bytes + bytes > self.queue_limit {
            self.counters.dropped_full += 1;
            return None;
        }
        self.counters.queue_bytes += bytes;
        self.counters.queue_bytes_max = self.counters.queue_bytes_max.max(self.counters.queue_bytes);
        self.queue.push_back(passing);
        match self.sent_at {
            Some(_) => None,
            None => Some(self.due_sent(now + self.serialisation(bytes))),
        }
    }

    /// The first frame's last bit leaves now, if that is still so: returns
    /// what is due for it, and for the frame behind it.
    pub(super) fn sent(&mut self, now: Instant) -> [Option<(Instant, Due)>; 2] {
        if self.sent_at != Some(now) {
            return [None, None];
        }
        self.sent_at = None;
        let Some(passing) = self.queue.pop_front() else { return [None, None] };
        self.counters.queue_bytes -= passing.frame.len() as u64;
        let arrival = self.fly(now, passing);
        let next = self.queue.front().map(|next| now + self.serialisation(next.frame.len() as u64));
        [arrival, next.map(|at| self.due_sent(at))]
    }

    /// The frame that arrives now, if there is one.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<Passing> {
        match self.in_flight.front() {
            Some((at, _)) if *at <= now => self.in_flight.pop_front().map(|(_, passing)| passing),
            _ => None,
        }
    }

    fn fly(&mut self, now: Instant, passing: Passing) -> Option<(Instant, Due)> {
        if self.figures.loss > 0.0 && self.rng.random::<f64>() < self.figures.loss {
            self.counters.dropped_loss += 1;
            return None;
        }
        self.counters.frames += 1;
        self.counters.bytes += passing.frame.len() as u64;
        let mut at = now + self.delay();
        if let Some((last, _)) = self.in_flight.back() {
            at = at.max(*last);
        }
        self.in_flight.push_back((at, passing));
        Some((at, Due::Arrived))
    }

    fn delay(&mut self) -> Duration {
        let Figures { latency, jitter, .. } = self.figures;
        if jitter.is_zero() {
            return latency;
        }
        let offset = jitter.mul_f64(2.0 * self.rng.random::<f64>());
        (latency + offset).saturating_sub(jitter)
    }

    fn serialisation(&self, bytes: u64) -> Duration {
        let Some(bandwidth) = self.figures.bandwidth else { return Duration::ZERO };
        let nanoseconds = u128::from(bytes) * 8_000_000_000 / u128::from(bandwidth.bits_per_second().max(1));
        u64::try_from(nanoseconds).map_or(LONGEST, |ns| Duration::from_nanos(ns).min(LONGEST))
    }

    fn due_sent(&mut self, at: Instant) -> (Instant, Due) {
        self.sent_at = Some(at);
        (at, Due::Sent)
    }

    fn limit_queue(&mut self) {
        self.queue_limit = match self.figures.bandwidth {
            Some(bandwidth) => self.figures.queue.bytes(bandwidth),
            None => u64::MAX,
        };
    }
}

/// As long as a rate of nothing takes: more than any laboratory lives.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
