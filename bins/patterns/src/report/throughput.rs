//! Rates of a whole run from the samples of its ranks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Record, Sample};

/// How fast an application ran in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Iterations per second of the slowest rank.
    pub iterations_per_s: f64,
    /// Payload that all ranks together received, in Mbit/s.
    pub mbit_per_s: f64,
}

/// The counters of all ranks over time (`CLOCK_MONOTONIC`).
///
/// Between two samples of a rank its counters are taken to grow evenly; before
/// its first sample and after its last one they stand still.
///
/// ```
/// use patterns::report::{Moment, Sample, Throughput};
///
/// let mut throughput = Throughput::new(2);
/// for (rank, iterations) in [(0, 0), (1, 0), (0, 40), (1, 30)] {
///     let at = Moment { unix_ms: 0, monotonic_ns: if iterations == 0 { 0 } else { 1_000_000_000 } };
///     let bytes = iterations * 1000;
///     throughput.add(&Sample {
///         at, rank, iterations, bytes_sent: bytes, bytes_received: bytes, connections_lost: 0,
///     });
/// }
/// let rates = throughput.rates(0, 500_000_000).expect("both ranks have samples");
/// assert_eq!(rates.iterations_per_s, 30.0);
/// assert_eq!(rates.mbit_per_s, 0.56);
/// ```
#[derive(Clone, Debug)]
pub struct Throughput {
    ranks: Vec<BTreeMap<u64, Counters>>,
    lost: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Counters {
    iterations: u64,
    bytes_received: u64,
}

impl Throughput {
    /// No samples yet, of this many ranks.
    pub fn new(ranks: usize) -> Self {
        Self { ranks: vec![BTreeMap::new(); ranks], lost: vec![0; ranks] }
    }

    /// Takes a sample in; one of a rank beyond the number of ranks is not looked at.
    pub fn add(&mut self, sample: &Sample) {
        let Some(rank) = self.ranks.get_mut(sample.rank) else { return };
        let Sample { iterations, bytes_received, .. } = *sample;
        rank.insert(sample.at.monotonic_ns, Counters { iterations, bytes_received });
        let lost = &mut self.lost[sample.rank];
        *lost = sample.connections_lost.max(*lost);
    }

    /// Takes the sample of a record in, if it has one.
    pub fn add_record(&mut self, record: &Record) {
        match record {
            Record::Sample(sample) => self.add(sample),
            Record::Summary(summary) => self.add(&summary.total),
            Record::Start(_) | Record::ConnectionLost(_) | Record::ConnectionRestored(_) => {}
        }
    }

    /// The rates between two moments of `CLOCK_MONOTONIC` in nanoseconds;
    /// `None` if some rank has no sample yet or the window is empty.
    pub fn rates(&self, from_ns: u64, to_ns: u64) -> Option<Rates> {
        if from_ns >= to_ns || self.ranks.is_empty() {
            return None;
        }
        let seconds = (to_ns - from_ns) as f64 / 1e9;
        let (mut slowest, mut bytes) = (f64::INFINITY, 0.0);
        for rank in &self.ranks {
            let (before, after) = (at(rank, from_ns)?, at(rank, to_ns)?);
            slowest = slowest.min(after.0 - before.0);
            bytes += after.1 - before.1;
        }
        Some(Rates { iterations_per_s: slowest / seconds, mbit_per_s: bytes * 8.0 / 1e6 / seconds })
    }

    /// The rates of the windows of `step_ns` nanoseconds that fit into
    /// [`Throughput::span`], each with the moment at which it starts.
    pub fn series(&self, step_ns: u64) -> Vec<(u64, Rates)> {
        let Some((first, last)) = self.span() else { return Vec::new() };
        let windows = (last - first).checked_div(step_ns).unwrap_or(0);
        let start = |i| first + i * step_ns;
        (0..windows).filter_map(|i| Some((start(i), self.rates(start(i), start(i + 1))?))).collect()
    }

    /// From when every rank has a sample until the last sample of any.
    pub fn span(&self) -> Option<(u64, u64)> {
        let edges = |rank: &BTreeMap<u64, Counters>| Some((*rank.keys().next()?, *rank.keys().next_back()?));
        let edges: Vec<(u64, u64)> = self.ranks.iter().map(edges).collect::<Option<_>>()?;
        let first = edges.iter().map(|(first, _)| *first).max()?;
        let last = edges.iter().map(|(_, last)| *last).max()?;
        Some((first, last.max(first)))
    }

    /// Connections lost, as all ranks count them together: a connection that
    /// both of its ends lose counts twice.
    pub fn connections_lost(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Forgets samples that only windows before this moment need.
    pub fn forget_before(&mut self, monotonic_ns: u64) {
        for rank in &mut self.ranks {
            // The last sample before the moment is the start of the line that crosses it.
            if let Some((&keep, _)) = rank.range(..=monotonic_ns).next_back() {
                *rank = rank.split_off(&keep);
            }
        }
    }
}

/// Iterations and bytes received at a moment.
fn at(rank: &BTreeMap<u64, Counters>, ns: u64) -> Option<(f64, f64)> {
    let value = |c: &Counters| (c.iterations as f64, c.bytes_received as f64);
    let before = rank.range(..=ns).next_back();
    let after = rank.range(ns..).next();
    match (before, after) {
        (Some((t0, c0)), Some((t1, c1))) if t0 < t1 => {
            let part = (ns - t0) as f64 / (t1 - t0) as f64;
            let ((i0, b0), (i1, b1)) = (value(c0), value(c1));
            Some((i0 + (i1 - i0) * part, b0 + (b1 - b0) * part))
        }
        (Some((_, c)), _) | (None, Some((_, c))) => Some(value(c)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Moment;
    use super::*;

    const MS: u64 = 1_000_000;

    fn sample(rank: usize, ms: u64, iterations: u64, bytes_received: u64) -> Sample {
        let at = Moment { unix_ms: ms, monotonic_ns: ms * MS };
        Sample { at, rank, iterations, bytes_sent: 0, bytes_received, connections_lost: rank as u64 }
    }

    #[test]
    fn the_slowest_rank_counts_and_bytes_add_up() {
        let mut throughput = Throughput::new(2);
        assert_eq!(throughput.rates(0, MS), None);
        throughput.add(&sample(0, 0, 0, 0));
        assert_eq!(throughput.rates(0, MS), None, "rank 1 has no sample yet");
        for s in [sample(0, 1000, 10, 1_000_000), sample(1, 0, 0, 0), sample(1, 1000, 8, 250_000)] {
            throughput.add(&s);
        }
        let rates = throughput.rates(0, 1000 * MS).unwrap();
        assert_eq!(rates, Rates { iterations_per_s: 8.0, mbit_per_s: 10.0 });
        // A window past the last sample: the counters stand still.
        assert_eq!(throughput.rates(500 * MS, 1500 * MS).unwrap().iterations_per_s, 4.0);
        assert_eq!(throughput.rates(MS, MS), None);
        assert_eq!(throughput.connections_lost(), 1);
        throughput.add(&sample(7, 0, 0, 0));
        assert_eq!(throughput.span(), Some((0, 1000 * MS)));
    }

    proptest! {
        #[test]
        fn windows_add_up_and_forgetting_changes_none_after(
            steps in prop::collection::vec((0_usize..3, 1_u64..50, 0_u64..9), 3..60),
            cut in 0_u64..2000,
        ) {
            let mut throughput = Throughput::new(3);
            let mut state = [(0, 0); 3];
            for rank in 0..3 {
                throughput.add(&sample(rank, 0, 0, 0));
            }
            for (rank, ms, iterations) in steps {
                let (time, count) = &mut state[rank];
                *time += ms;
                *count += iterations;
                throughput.add(&sample(rank, *time, *count, *count * 125_000));
            }
            let (first, last) = throughput.span().unwrap();
            let seconds = (last - first) as f64 / 1e9;
            let total: u64 = state.iter().map(|(_, count)| count).sum();
            let rates = throughput.rates(first, last).unwrap();
            prop_assert!((rates.mbit_per_s * seconds - total as f64).abs() < 1e-6);
            let slowest = state.iter().map(|(_, count)| *count).min().unwrap() as f64;
            prop_assert!((rates.iterations_per_s * seconds - slowest).abs() < 1e-6);

            let step = 10 * MS;
            let sum: f64 = throughput.series(step).iter().map(|(_, r)| r.mbit_per_s * 0.01).sum();
            let end = first + (last - first) / step * step;
            let whole = throughput.rates(first, end).map_or(0.0, |r| r.mbit_per_s * (end - first) as f64 / 1e9);
            prop_assert!((sum - whole).abs() < 1e-6, "{} {}", sum, whole);

            let window = (cut * MS, (cut + 30) * MS);
            let before = throughput.rates(window.0, window.1);
            throughput.forget_before(window.0);
            prop_assert_eq!(throughput.rates(window.0, window.1), before);
        }
    }
}
