//! What tasks used over time, and what they are likely to want.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reservation::Reservation;

/// How many samples of a task are kept.
pub const HISTORY: usize = 600;

/// What a task has done since it was attached; all only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// CPU time used by all its threads.
    pub used: Duration,
    /// Periods begun.
    pub periods: u64,
    /// Periods in which it wanted its slice and had not got it, short by more than 2 %, by the deadline.
    pub misses: u64,
    /// Periods in which it used more than its slice by more than 2 %.
    pub overruns: u64,
    /// CPU time used beyond slices, all together.
    pub overrun: Duration,
}

/// What a task did between two looks at its counters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The end, on the clock that the caller keeps.
    pub at: Duration,
    /// The CPU that it used, as a part of one core.
    pub share: f64,
    /// The CPU that was reserved, as a part of one core.
    pub reserved: f64,
    /// The periods that missed their deadline.
    pub misses: u64,
    /// The periods that overran their slice.
    pub overruns: u64,
}

/// How much CPU a task wants, for the prediction of the adaptation loop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemandSample {
    /// When, on the clock that the caller keeps.
    pub at: Duration,
    /// The CPU used, as a part of one core.
    pub used: f64,
    /// The part of its reservation that it used: what `vadapt::balance` predicts from.
    pub of_allocation: f64,
    /// It used all of its reservation, so it might use more.
    pub saturated: bool,
}

/// A task that uses this part of its reservation might use more.
const SATURATED: f64 = 0.98;

/// The history of one task.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    last: Option<(Duration, Counters)>,
    samples: VecDeque<Sample>,
}

impl Monitor {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The task's counters at time `at`, under `reservation`.
    pub fn record(&mut self, at: Duration, counters: &Counters, reservation: &Reservation) {
        let before = self.last.replace((at, *counters));
        let Some((since, before)) = before else { return };
        let elapsed = at.saturating_sub(since).as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        if self.samples.len() == HISTORY {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at,
            share: counters.used.saturating_sub(before.used).as_secs_f64() / elapsed,
            reserved: reservation.share(),
            misses: counters.misses.saturating_sub(before.misses),
            overruns: counters.overruns.saturating_sub(before.overruns),
        });
    }

    /// The last [`HISTORY`] samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.samples.iter()
    }

    /// The last `count` samples as demand, oldest first.
    pub fn demand(&self, count: usize) -> Vec<DemandSample> {
        let skip = self.samples.len().saturating_sub(count);
        let demand = self.samples.iter().skip(skip).map(|sample| {
            let of_allocation = sample.share / sample.reserved;
            DemandSample {
                at: sample.at,
                used: sample.share,
                of_allocation,
                saturated: of_allocation >= SATURATED,
            }
        });
        demand.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_between_two_looks_and_old_ones_are_forgotten() {
        let ms = Duration::from_millis;
        let reservation = Reservation::new(ms(10), ms(5)).unwrap();
        let mut monitor = Monitor::new();
        for second in 0..=(HISTORY as u64 + 10) {
            let counters = Counters { used: ms(second * 500), misses: second, ..Counters::default() };
            monitor.record(Duration::from_secs(second), &counters, &reservation);
        }
        assert_eq!(monitor.samples().len(), HISTORY);
        let sample = *monitor.samples().next().unwrap();
        assert_eq!((sample.at, sample.share, sample.misses), (Duration::from_secs(11), 0.5, 1));
        let demand = monitor.demand(3);
        assert_eq!(demand.len(), 3);
        assert!(demand.iter().all(|d| d.saturated && d.of_allocation == 1.0));
    }
}
