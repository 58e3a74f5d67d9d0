//! One direction of one part of the network: a queue, a transmitter, a delay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::cross::{CrossTraffic, Others};
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

/// A frame in the queue.
enum Waiting {
    Ours(Passing),
    /// One of others, of so many bytes.
    Theirs(u64),
}

impl Waiting {
    fn bytes(&self) -> u64 {
        match self {
            Self::Ours(passing) => passing.frame.len() as u64,
            Self::Theirs(bytes) => *bytes,
        }
    }
}

pub(super) struct Pipe {
    figures: Figures,
    queue_limit: u64,
    cut: bool,
    queue: VecDeque<Waiting>,
    /// How many of them are ours.
    ours: usize,
    /// When the last bit of the queue's first frame leaves.
    sent_at: Option<Instant>,
    /// Has that been announced? While nothing of ours waits, it is not: what
    /// others do is made up for when it matters ([`Pipe::catch_up`]).
    announced: bool,
    others: Option<Others>,
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
            ours: 0,
            sent_at: None,
            announced: false,
            others: None,
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
        self.catch_up(now);
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
        self.sent_at = Some(now + left);
        self.announced.then_some((now + left, Due::Sent))
    }

    /// Sets the traffic of others.
    pub(super) fn set_cross(&mut self, now: Instant, traffic: Option<CrossTraffic>) {
        self.catch_up(now);
        let sends = traffic.filter(|t| t.load > 0.0 && self.figures.bandwidth.is_some());
        self.others = sends.map(|traffic| {
            let serialisation = self.serialisation(traffic.frame.into());
            Others::new(traffic, now, serialisation, &mut self.rng)
        });
    }

    /// Cuts the pipe, and with it what waits and what is in flight, or heals it.
    pub(super) fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
        if cut {
            self.counters.dropped_cut += (self.ours + self.in_flight.len()) as u64;
            self.counters.queue_bytes = 0;
            self.queue.clear();
            self.ours = 0;
            self.announced = false;
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
        self.catch_up(now);
        if self.figures.bandwidth.is_none() && self.queue.is_empty() {
            return self.fly(now, passing);
        }
        if !self.has_room(bytes) {
            self.counters.dropped_full += 1;
            return None;
        }
        self.ours += 1;
        self.push(now, Waiting::Ours(passing));
        self.announce()
    }

    /// The first frame's last bit leaves now, if that is still so: returns
    /// what is due for it, and for the frame behind it.
    pub(super) fn sent(&mut self, now: Instant) -> [Option<(Instant, Due)>; 2] {
        if self.sent_at != Some(now) || !self.announced {
            return [None, None];
        }
        // What others have sent meanwhile came before.
        self.catch_up(now);
        let arrival = self.shift(now);
        [arrival, self.announce()]
    }

    /// The frame that arrives now, if there is one.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<Passing> {
        match self.in_flight.front() {
            Some((at, _)) if *at <= now => self.in_flight.pop_front().map(|(_, passing)| passing),
            _ => None,
        }
    }

    /// Does what others have done up to `now`. Frames of ours that wait have
    /// their turn by [`Pipe::sent`].
    fn catch_up(&mut self, now: Instant) {
        while let Some(others) = &self.others {
            let (arrival, bytes) = (others.next, u64::from(others.traffic.frame));
            if let Some(at) = self.sent_at.filter(|at| !self.announced && *at <= now && *at <= arrival) {
                self.shift(at);
                continue;
            }
            if arrival > now {
                return;
            }
            let serialisation = self.serialisation(bytes);
            if let Some(others) = &mut self.others {
                others.advance(serialisation, &mut self.rng);
            }
            if !self.cut && self.has_room(bytes) {
                self.push(arrival, Waiting::Theirs(bytes));
            }
        }
        while let Some(at) = self.sent_at.filter(|at| !self.announced && *at <= now) {
            self.shift(at);
        }
    }

    /// One frame always has room, however short the queue.
    fn has_room(&self, bytes: u64) -> bool {
        self.queue.is_empty() || self.counters.queue_bytes + bytes <= self.queue_limit
    }

    fn push(&mut self, now: Instant, waiting: Waiting) {
        let bytes = waiting.bytes();
        self.counters.queue_bytes += bytes;
        self.counters.queue_bytes_max = self.counters.queue_bytes_max.max(self.counters.queue_bytes);
        self.queue.push_back(waiting);
        if self.sent_at.is_none() {
            self.sent_at = Some(now + self.serialisation(bytes));
        }
    }

    /// The first frame's last bit leaves at `now`, and the next one has its turn.
    fn shift(&mut self, now: Instant) -> Option<(Instant, Due)> {
        (self.sent_at, self.announced) = (None, false);
        let first = self.queue.pop_front()?;
        self.counters.queue_bytes -= first.bytes();
        self.sent_at = self.queue.front().map(|next| now + self.serialisation(next.bytes()));
        match first {
            Waiting::Ours(passing) => {
                self.ours -= 1;
                self.fly(now, passing)
            }
            Waiting::Theirs(bytes) => {
                self.counters.cross_bytes += bytes;
                None
            }
        }
    }

    /// When the first frame leaves, if that matters to us and isn't known yet.
    fn announce(&mut self) -> Option<(Instant, Due)> {
        let at = self.sent_at.filter(|_| self.ours > 0 && !self.announced)?;
        self.announced = true;
        Some((at, Due::Sent))
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

    fn limit_queue(&mut self) {
        self.queue_limit = match self.figures.bandwidth {
            Some(bandwidth) => self.figures.queue.bytes(bandwidth),
            None => u64::MAX,
        };
    }
}

/// As long as a rate of nothing takes: more than any laboratory lives.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
