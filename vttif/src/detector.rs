//! Decides which pairs belong to the topology, and when it is stable.
//!
//! Each undirected pair has two low-pass filters: a slow one (the smoothing
//! interval), by which the topology is normalised and pruned, and a fast one
//! that tells new traffic early. A pair enters at once and leaves when it has
//! been silent for longer than is usual for it. So the alternating phases of
//! one application add up to their union, while a lasting change shows within
//! a few updates. Time stands still while nobody sends: a compute phase is not
//! a change.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::ledger::FlowKey;
use crate::parameters::Parameters;

/// An undirected pair of vertices, the lesser first.
pub(crate) type Edge = (u32, u32);

/// The time constant of the fast filter, in update intervals.
const FAST: u32 = 3;

/// New traffic is what exceeds the pair's own past this many times.
const NOVEL: f64 = 3.0;

/// Below this fraction of the recent peak, the network counts as silent.
const QUIET: f64 = 0.02;

/// For how many update intervals without traffic time goes on.
const LINGER: u32 = 2;

/// New traffic is measured against at least this fraction of the recent peak,
/// lest chatter pass for an application in the lull after a burst.
const LULL: f64 = 0.1;

/// A pause that is this many follow intervals long is the end of a phase. (Iterations
/// of the same program are not all equally long.)
const SLACK: f64 = 1.2;

/// A pause is remembered for this many follow intervals.
const MEMORY: u32 = 12;

#[derive(Debug)]
pub(crate) struct Detector {
    pairs: HashMap<Edge, Pair>,
    present: BTreeSet<Edge>,
    /// Counts the changes of `present`.
    version: u64,
    /// Time during which somebody sent.
    clock: Duration,
    last_added: Duration,
    last_removed: Duration,
    quiet_for: Duration,
    /// The highest fast rate of any pair, forgotten over the smoothing interval.
    peak: f64,
    /// How much time the slow filters have seen.
    filled: Duration,
}

#[derive(Debug, Default)]
struct Pair {
    /// Bytes not yet filtered, from the lesser to the greater vertex and back.
    pending: [f64; 2],
    /// The time not yet filtered.
    unseen: Duration,
    /// Bytes per second both ways in the last interval, and filtered.
    current: f64,
    fast: f64,
    slow: [f64; 2],
    /// Bytes both ways since a pair last entered the topology, and in what time.
    fresh: f64,
    fresh_for: Duration,
    /// The time (on the detector's clock) for which nobody knows yet whether it has sent.
    unheard: Duration,
    /// For how long it has not sent; `None` if it never has.
    silent: Option<Duration>,
    /// The longest recent pause after which it sent again, and when that was.
    pause: Duration,
    paused_at: Duration,
    present: bool,
    since: Duration,
}

impl Detector {
    pub(crate) fn new() -> Self {
        Self {
            pairs: HashMap::new(),
            present: BTreeSet::new(),
            version: 0,
            clock: Duration::ZERO,
            last_added: Duration::ZERO,
            last_removed: Duration::ZERO,
            // Nobody has sent yet.
            quiet_for: Duration::from_secs(u32::MAX as u64),
            peak: 0.0,
            filled: Duration::ZERO,
        }
    }

    /// Takes in an interval of length `elapsed`: the bytes of each directed
    /// pair that sent any. A pair with a vertex that is `awaited` (whose daemon
    /// has yet to report) is left for the next interval, unless it is new and has sent:
    /// that much is sure.
    pub(crate) fn advance(
        &mut self,
        elapsed: Duration,
        bytes: impl Iterator<Item = (FlowKey, f64)>,
        awaited: impl Fn(u32) -> bool,
        parameters: &Parameters,
    ) {
        for ((source, destination), bytes) in bytes {
            let direction = usize::from(source > destination);
            self.pairs.entry(ordered(source, destination)).or_default().pending[direction] += bytes;
        }
        let scale = self.filter(elapsed, awaited, parameters);
        let is_busy = scale.fast >= parameters.idle_rate && scale.current >= QUIET * self.peak;
        self.quiet_for = if is_busy { Duration::ZERO } else { self.quiet_for + elapsed };
        if self.quiet_for > parameters.update_interval * LINGER {
            if self.quiet_for >= parameters.idle_after {
                self.clear();
            }
            return;
        }
        self.clock += elapsed;
        self.judge(elapsed, &scale, parameters);
    }

    pub(crate) const fn present(&self) -> &BTreeSet<Edge> {
        &self.present
    }

    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// When a pair last entered the topology, on this detector's clock.
    pub(crate) const fn last_added(&self) -> Duration {
        self.last_added
    }

    /// For how long no pair has entered the topology.
    pub(crate) fn since_added(&self) -> Duration {
        self.clock - self.last_added
    }

    /// For how long no pair has left the topology.
    pub(crate) fn since_removed(&self) -> Duration {
        self.clock - self.last_removed
    }

    /// Is a pair unusually silent, and about to leave?
    pub(crate) fn is_leaving(&self, parameters: &Parameters) -> bool {
        let usual = parameters.update_interval.mul_f64(2.5);
        self.present.iter().filter_map(|edge| self.pairs.get(edge)).any(|pair| {
            !pair.is_young(self.clock, parameters)
                && pair
                    .silent
                    .is_some_and(|silent| silent + pair.unheard > usual.max(pair.pause.mul_f64(1.25)))
        })
    }

    /// Smoothed rates in bytes per second, from the lesser to the greater and back.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (Edge, [f64; 2])> {
        self.pairs.iter().map(|(edge, pair)| (*edge, pair.slow))
    }

    pub(crate) fn rate(&self, edge: Edge) -> [f64; 2] {
        self.pairs.get(&edge).map_or([0.0; 2], |pair| pair.slow)
    }

    /// What the rate of a pair is likely to become, if the topology has just changed
    /// from what was `before`: the slow filters still hold a part of that.
    pub(crate) fn coming_rate(
        &self,
        edge: Edge,
        before: &BTreeSet<Edge>,
        parameters: &Parameters,
    ) -> [f64; 2] {
        let Some(pair) = self.pairs.get(&edge) else { return [0.0; 2] };
        pair.slow.map(|rate| rate * pair.trend(before.contains(&edge), parameters))
    }

    /// The topology is now known to have become this: what the slow filters
    /// hold of the one before is out of date.
    pub(crate) fn settle(&mut self, before: &BTreeSet<Edge>, parameters: &Parameters) {
        for (edge, pair) in &mut self.pairs {
            let trend = pair.trend(before.contains(edge), parameters);
            pair.slow = pair.slow.map(|rate| rate * trend);
        }
        self.filled = self.filled.min(parameters.stable_for);
    }

    pub(crate) fn forget(&mut self, edge: Edge) {
        if self.present.remove(&edge) {
            self.version += 1;
        }
        self.pairs.remove(&edge);
    }

    fn clear(&mut self) {
        if !self.present.is_empty() {
            self.present.clear();
            self.version += 1;
        }
        self.filled = Duration::ZERO;
        self.peak = 0.0;
        for pair in self.pairs.values_mut() {
            *pair = Pair { unseen: pair.unseen, pending: pair.pending, ..Pair::default() };
        }
    }

    /// Moves the filters on; returns the largest entries.
    fn filter(&mut self, elapsed: Duration, awaited: impl Fn(u32) -> bool, parameters: &Parameters) -> Scale {
        let tau = parameters.smoothing_interval.as_secs_f64();
        let fast_tau = (parameters.update_interval * FAST).as_secs_f64();
        let filled = self.filled.as_secs_f64();
        let gains = |span: f64| {
            let fast = 1.0 - (-span / fast_tau).exp();
            // The mean of all so far until the filter is full.
            (fast, (1.0 - (-span / tau).exp()).max(span / (filled + span)))
        };
        let usual = gains(elapsed.as_secs_f64().max(1e-6));
        let mut scale = Scale::default();
        for (edge, pair) in &mut self.pairs {
            pair.unseen += elapsed;
            let is_new = !pair.present && pair.pending != [0.0; 2];
            if !is_new && (awaited(edge.0) || awaited(edge.1)) {
                pair.current = f64::NAN;
            } else {
                let span = pair.unseen.as_secs_f64().max(1e-6);
                let rates = pair.pending.map(|bytes| bytes / span);
                pair.current = rates[0] + rates[1];
                let (fast_gain, gain) = if pair.unseen == elapsed { usual } else { gains(span) };
                pair.fast += fast_gain * (pair.current - pair.fast);
                for (slow, rate) in pair.slow.iter_mut().zip(rates) {
                    *slow += gain * (rate - *slow);
                }
                pair.fresh += pair.pending[0] + pair.pending[1];
                pair.fresh_for += pair.unseen;
                (pair.pending, pair.unseen) = ([0.0; 2], Duration::ZERO);
            }
            // An interval not yet known (NaN) is no maximum.
            scale.current = scale.current.max(pair.current);
            scale.fast = scale.fast.max(pair.fast);
            scale.slow = scale.slow.max(pair.slow_sum());
        }
        if scale.fast > 0.0 {
            self.filled = (self.filled + elapsed).min(parameters.smoothing_interval * 4);
        }
        let kept = (-elapsed.as_secs_f64() / tau).exp();
        self.peak = (self.peak * kept).max(scale.fast);
        scale.novel = scale.fast.min(scale.slow).max(LULL * self.peak);
        scale
    }

    fn judge(&mut self, elapsed: Duration, scale: &Scale, parameters: &Parameters) {
        let clock = self.clock;
        for (edge, pair) in &mut self.pairs {
            pair.unheard += elapsed;
            if pair.current.is_nan() {
                continue;
            }
            pair.listen(clock, scale, parameters);
            let belongs = if pair.present {
                pair.still_belongs(clock, scale, parameters)
            } else {
                pair.begins_to_belong(scale, parameters)
            };
            if belongs == pair.present {
                continue;
            }
            pair.present = belongs;
            self.version += 1;
            if belongs {
                pair.since = clock;
                self.present.insert(*edge);
                self.last_added = clock;
            } else {
                self.present.remove(edge);
                self.last_removed = clock;
            }
        }
        if self.last_added == clock {
            for pair in self.pairs.values_mut() {
                (pair.fresh, pair.fresh_for) = (0.0, Duration::ZERO);
            }
        }
    }
}

/// The largest entries, by which others are measured.
#[derive(Default)]
struct Scale {
    current: f64,
    fast: f64,
    slow: f64,
    novel: f64,
}

impl Pair {
    fn slow_sum(&self) -> f64 {
        self.slow[0] + self.slow[1]
    }

    /// How many times its slow rate the coming one is, when the topology has just changed from one
    /// that it was a part of or not.
    fn trend(&self, was_present: bool, parameters: &Parameters) -> f64 {
        let slow = self.slow_sum();
        if slow <= 0.0 {
            return 1.0;
        }
        let coming = match (was_present, self.present) {
            (false, false) => slow,
            (false, true) => self.fast.max(slow),
            (true, false) => self.fast.min(slow),
            (true, true) => {
                // One that pauses now is not gone.
                let pauses = self.pause.max(self.silent.unwrap_or_default());
                let least = if pauses > parameters.update_interval * 2 { slow / 4.0 } else { 0.0 };
                let seconds = self.fresh_for.as_secs_f64();
                let fresh = if seconds > 0.0 { self.fresh / seconds } else { slow };
                fresh.min(slow).max(least)
            }
        };
        coming / slow
    }

    /// Keeps the account of when it sends and pauses.
    fn listen(&mut self, clock: Duration, scale: &Scale, parameters: &Parameters) {
        let elapsed = std::mem::take(&mut self.unheard);
        // Much less than usual, of itself or of others, is as good as nothing.
        let usual = self.slow_sum().max(scale.novel / 2.0);
        let is_sending = self.current > 0.0 && self.current >= parameters.detection_threshold * usual;
        if !is_sending {
            self.silent = self.silent.map(|silent| silent.saturating_add(elapsed));
        } else if let Some(pause) = self.silent.replace(Duration::ZERO) {
            let forgotten = clock.saturating_sub(self.paused_at) > parameters.follow_interval * MEMORY;
            if forgotten {
                self.pause = Duration::ZERO;
            }
            let is_usual = pause < parameters.follow_interval.mul_f64(SLACK);
            if is_usual && pause.mul_f64(1.25) >= self.pause {
                self.pause = self.pause.max(pause);
                self.paused_at = clock;
            }
        }
    }

    /// Has it sent for too short a time to know its pauses?
    fn is_young(&self, clock: Duration, parameters: &Parameters) -> bool {
        let silent = self.silent.unwrap_or_default();
        clock.saturating_sub(self.since).saturating_sub(silent) < parameters.follow_interval
    }

    fn begins_to_belong(&self, scale: &Scale, parameters: &Parameters) -> bool {
        let threshold = parameters.detection_threshold;
        let slow = self.slow_sum();
        let is_novel = self.fast >= threshold * scale.novel && self.fast >= NOVEL * slow;
        self.silent == Some(Duration::ZERO) && (is_novel || slow >= threshold * scale.slow)
    }

    fn still_belongs(&self, clock: Duration, scale: &Scale, parameters: &Parameters) -> bool {
        let hold = if self.is_young(clock, parameters) {
            parameters.follow_interval
        } else {
            // Pauses are known to an interval.
            parameters.release_after.max(self.pause.mul_f64(1.5) + parameters.update_interval)
        };
        let threshold = parameters.detection_threshold / 2.0;
        let is_strong = self.slow_sum() >= threshold * scale.slow || self.fast >= threshold * scale.novel;
        is_strong && self.silent.is_some_and(|silent| silent < hold)
    }
}

pub(crate) const fn ordered(a: u32, b: u32) -> Edge {
    if a < b { (a, b) } else { (b, a) }
}
