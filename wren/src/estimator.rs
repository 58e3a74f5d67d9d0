//! Samples of one direction of a path in, estimates out.

use std::collections::VecDeque;

use crate::envelope::{Envelope, Vertex};
use crate::estimate::{PathEstimate, Rate};
use crate::fit::{Line, fit};
use crate::sample::Sample;
use crate::train::{Cut, Stretch, Waited, stretches};

/// How estimates are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Estimates are of this long a time, in nanoseconds.
    pub window_ns: u64,
    /// The least delay is remembered for so long, in nanoseconds.
    pub envelope_ns: u64,
    /// What the clocks and the scheduling of the hosts add to delays, in nanoseconds:
    /// waits that are not longer are none.
    pub noise_ns: f64,
    /// An estimate whose standard deviation is a larger share of it is none.
    pub max_deviation: f64,
    /// Packets from this length on tell how long they waited, in bytes. (Shorter
    /// ones count as traffic.)
    pub min_probe: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            window_ns: 30_000_000_000,
            envelope_ns: 60_000_000_000,
            noise_ns: 300_000.0,
            max_deviation: 0.2,
            min_probe: 600,
        }
    }
}

/// Stretches are at least so long, if the traffic lets them, in nanoseconds.
const STRETCH_NS: u64 = 1_000_000;

/// And those whose ends were not sent when they were stamped, since others were sent
/// at once with them: many times as long as a host takes to send 256 KiB.
const BLURRED_NS: u64 = 10_000_000;

/// No more stretches than this are kept.
const MAX_STRETCHES: usize = 20_000;

/// Packets that wait for the envelope.
const MAX_PENDING: usize = 65_536;

/// Estimates one direction of one path.
#[derive(Clone, Debug)]
pub struct PathEstimator {
    parameters: Parameters,
    /// Runs of samples that have not been looked at.
    pending: Vec<Vec<Sample>>,
    pending_count: usize,
    /// The delays of short packets and of full ones are not compared.
    short: Envelope,
    full: Envelope,
    longest: u32,
    stretches: VecDeque<Stretch>,
    per_bit: Option<f64>,
    carried: f64,
    carried_ns: u64,
}

impl PathEstimator {
    /// Knows nothing yet.
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            pending: Vec::new(),
            pending_count: 0,
            short: Envelope::new(parameters.envelope_ns),
            full: Envelope::new(parameters.envelope_ns),
            longest: 0,
            stretches: VecDeque::new(),
            per_bit: None,
            carried: 0.0,
            carried_ns: 0,
        }
    }

    /// Takes a run of samples in, in the order of arrival: all packets of the
    /// path from the first to the last one, but those that were lost.
    pub fn add(&mut self, run: impl IntoIterator<Item = Sample>) {
        if self.pending_count >= MAX_PENDING {
            return;
        }
        let mut kept: Vec<Sample> = Vec::new();
        for sample in run {
            // One that was overtaken tells nothing of the queue.
            if kept
                .last()
                .is_some_and(|last| sample.sequence <= last.sequence || sample.sent_ns < last.sent_ns)
            {
                continue;
            }
            kept.push(sample);
        }
        self.pending_count += kept.len();
        self.pending.push(kept);
    }

    /// What is known at `now_ns` of the receiver's clock.
    pub fn estimate(&mut self, now_ns: u64) -> PathEstimate {
        self.digest();
        let oldest = now_ns.saturating_sub(self.parameters.window_ns);
        while self.stretches.front().is_some_and(|s| s.arrived_ns < oldest)
            || self.stretches.len() > MAX_STRETCHES
        {
            self.stretches.pop_front();
        }
        if self.carried_ns < oldest {
            self.carried = 0.0;
        }
        let line = self.line();
        let mut estimate = PathEstimate {
            carried: self.carried,
            envelope: self.envelope().to_vec(),
            stretches: self.stretches.len(),
            age_ns: self.stretches.back().map(|s| now_ns.saturating_sub(s.arrived_ns)),
            ..PathEstimate::default()
        };
        if let Some(line) = line {
            self.per_bit = Some(line.per_bit);
            estimate.capacity = self.rate(line.capacity(), f64::INFINITY);
            // Others can't use less than nothing.
            estimate.available = self.rate(line.available(), line.capacity().0);
        }
        estimate
    }

    fn rate(&self, (value, deviation): (f64, f64), most: f64) -> Option<Rate> {
        let good = value > 0.0 && deviation <= self.parameters.max_deviation * value;
        good.then(|| Rate {
            low: (value - 2.0 * deviation).max(0.0).min(most),
            value: value.min(most),
            high: (value + 2.0 * deviation).min(most),
        })
    }

    /// The line through the stretches. Weights depend on the capacity a little, so
    /// the first one is drawn twice.
    fn line(&mut self) -> Option<Line> {
        let all: &[Stretch] = self.stretches.make_contiguous();
        let is_sane = |line: &Line| line.per_bit > 0.0 && line.load < 1.0;
        let per_bit = match self.per_bit {
            Some(per_bit) => per_bit,
            None => fit(all, densest(all)?).filter(is_sane)?.per_bit,
        };
        fit(all, per_bit).filter(is_sane).filter(|line| !line.is_contradicted(all))
    }

    /// The packets that did not wait.
    fn envelope(&self) -> &[Vertex] {
        let newest = |envelope: &Envelope| envelope.hull().last().map(|v| (v.sent_ns, v.delay_ns));
        match (newest(&self.short), newest(&self.full)) {
            (Some((_, short)), Some((_, full))) if full < short => self.full.hull(),
            (Some(_), _) => self.short.hull(),
            _ => self.full.hull(),
        }
    }

    /// Makes stretches of the packets that have come since the last time.
    fn digest(&mut self) {
        let runs = std::mem::take(&mut self.pending);
        self.pending_count = 0;
        for sample in runs.iter().flatten() {
            self.longest = self.longest.max(sample.bytes);
        }
        let (min_probe, full) = (self.parameters.min_probe, self.longest / 10 * 9);
        let is_full = |sample: &Sample| sample.bytes >= min_probe.max(full);
        for sample in runs.iter().flatten() {
            if is_full(sample) {
                self.full.add(sample.sent_ns, sample.delay_ns(), sample.bytes);
            } else if sample.bytes < min_probe {
                self.short.add(sample.sent_ns, sample.delay_ns(), sample.bytes);
            }
        }
        let per_byte_ns = self.per_bit.unwrap_or(0.0) * 8e9;
        self.short.update(per_byte_ns);
        self.full.update(per_byte_ns);
        let cut = Cut {
            per_byte_ns,
            margin_ns: self.parameters.noise_ns,
            length_ns: STRETCH_NS,
            blurred_ns: BLURRED_NS,
        };
        let mut found = Vec::new();
        for run in &runs {
            let waited = run.iter().map(|sample| {
                let empty = self.full.at(sample.sent_ns).unwrap_or(f64::INFINITY);
                let own = f64::from(sample.bytes) * per_byte_ns;
                let wait_ns = sample.delay_ns() as f64 - own - empty;
                Waited { sample: *sample, wait_ns, is_probe: is_full(sample) }
            });
            let waited: Vec<Waited> = waited.collect();
            self.note_carried(run);
            stretches(&waited, cut, &mut found);
        }
        self.stretches.extend(found);
    }

    /// The highest rate of any ten milliseconds of a run.
    fn note_carried(&mut self, run: &[Sample]) {
        let mut from = 0;
        let mut bytes = 0_u64;
        for (at, sample) in run.iter().enumerate() {
            bytes += u64::from(sample.bytes);
            while from < at && sample.arrived_ns.saturating_sub(run[from + 1].arrived_ns) >= 10_000_000 {
                bytes -= u64::from(run[from].bytes);
                from += 1;
            }
            let ns = sample.arrived_ns.saturating_sub(run[from].arrived_ns);
            if ns >= 10_000_000 {
                let rate = (bytes - u64::from(run[from].bytes)) as f64 * 8e9 / ns as f64;
                if rate >= self.carried {
                    self.carried = rate;
                    self.carried_ns = sample.arrived_ns;
                }
            }
        }
    }
}

/// Seconds per bit of the densest tenth of the stretches: at least what the
/// capacity allows, and about that.
fn densest(stretches: &[Stretch]) -> Option<f64> {
    let mut all: Vec<f64> =
        stretches.iter().filter(|s| s.arrived_s > 0.0).map(|s| s.arrived_s / s.bits).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 10).copied()
}
