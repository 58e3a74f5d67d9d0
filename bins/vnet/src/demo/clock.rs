//! The clock of the demonstration, the one that the application reports by.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` as `Instant` has it, with the zero that other processes see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_ns: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), started_ns: monotonic_ns() }
    }

    /// Time since the demonstration began.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The same moment by `CLOCK_MONOTONIC`, in nanoseconds.
    pub(crate) fn ns(&self, at: Duration) -> u64 {
        self.started_ns + at.as_nanos() as u64
    }

    /// Seconds since the demonstration began of a moment by `CLOCK_MONOTONIC`.
    pub(crate) fn seconds(&self, ns: u64) -> f64 {
        (ns as f64 - self.started_ns as f64) / 1e9
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
