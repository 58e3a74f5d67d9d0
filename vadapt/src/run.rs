//! How long a solver may run, and how it is watched and stopped.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A clock that a solver reads. Solvers never read the machine's clock themselves.
///
/// [`WallClock`](crate::io::WallClock) is real time; [`StepClock`] makes runs repeatable.
pub trait Clock: Sync {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
}

/// A clock that advances by one tick whenever it is read.
///
/// A run against it does the same amount of work on every machine, so that the result
/// depends on the problem and the seed alone.
#[derive(Debug)]
pub struct StepClock {
    tick: Duration,
    reads: AtomicU64,
}

impl StepClock {
    /// A clock at 0 that each reading advances by `tick`.
    pub const fn new(tick: Duration) -> Self {
        Self { tick, reads: AtomicU64::new(0) }
    }
}

impl Default for StepClock {
    /// One microsecond per reading.
    fn default() -> Self {
        Self::new(Duration::from_micros(1))
    }
}

impl Clock for StepClock {
    fn now(&self) -> Duration {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        Duration::from_nanos((self.tick.as_nanos() as u64).saturating_mul(reads))
    }
}

/// How a solver is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Time since the start of the run.
    pub elapsed: Duration,
    /// Moves tried so far.
    pub moves: u64,
    /// The objective of the best solution so far; `None` before the first feasible one.
    pub best: Option<f64>,
}

type Watcher<'a> = dyn FnMut(Progress) -> ControlFlow<()> + Send + 'a;

/// One run of a solver: deadline, seed, progress and cancellation.
///
/// ```
/// use std::time::Duration;
/// use vadapt::{Run, StepClock};
///
/// let clock = StepClock::default();
/// let run = Run::new(&clock, Duration::from_millis(100)).with_seed(7);
/// assert!(!run.is_over());
/// ```
pub struct Run<'a> {
    clock: &'a dyn Clock,
    start: Duration,
    limit: Duration,
    seed: u64,
    watcher: Option<Box<Watcher<'a>>>,
    cancel: Option<&'a AtomicBool>,
    stopped: bool,
    last_report: Duration,
}

impl<'a> Run<'a> {
    /// How often progress is reported.
    const REPORT_EVERY: Duration = Duration::from_millis(100);

    /// A run that starts now and may take `limit`. The seed is 0.
    pub fn new(clock: &'a dyn Clock, limit: Duration) -> Self {
        let start = clock.now();
        let last_report = Duration::ZERO;
        Self { clock, start, limit, seed: 0, watcher: None, cancel: None, stopped: false, last_report }
    }

    /// The same run with another seed.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same run, watched: `watcher` is called about ten times per second of the clock
    /// and ends the run by returning [`ControlFlow::Break`].
    pub fn with_progress(self, watcher: impl FnMut(Progress) -> ControlFlow<()> + Send + 'a) -> Self {
        Self { watcher: Some(Box::new(watcher)), ..self }
    }

    /// The same run, which ends soon after `cancel` becomes true.
    pub fn with_cancel(self, cancel: &'a AtomicBool) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    /// The seed of all randomness in this run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.clock.now().saturating_sub(self.start)
    }

    /// The time that the run may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether the deadline has passed, or the run was cancelled or stopped by its watcher.
    pub fn is_over(&self) -> bool {
        self.is_cancelled() || self.elapsed() >= self.limit
    }

    /// Whether somebody stopped the run before its deadline.
    pub fn is_cancelled(&self) -> bool {
        self.stopped || self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    /// Tells the watcher, if there is one and it is time. Solvers call this now and then.
    pub fn report(&mut self, moves: u64, best: Option<f64>) {
        let Some(watcher) = &mut self.watcher else { return };
        let elapsed = self.clock.now().saturating_sub(self.start);
        if elapsed.saturating_sub(self.last_report) < Self::REPORT_EVERY {
            return;
        }
        self.last_report = elapsed;
        self.stopped |= watcher(Progress { elapsed, moves, best }).is_break();
    }

    /// Ends the run earlier by `margin`, but not before half of its time: what it takes to hand
    /// over an answer belongs to the time, too.
    pub(crate) fn hold_back(&mut self, margin: Duration) {
        self.limit -= margin.min(self.limit / 2);
    }

    /// A run of another solver within this one: same clock and cancellation, its own seed
    /// and at most `limit`, never beyond the deadline of this run.
    pub fn part(&self, limit: Duration, seed: u64) -> Run<'a> {
        let left = self.limit.saturating_sub(self.elapsed());
        let run = Run::new(self.clock, limit.min(left)).with_seed(seed);
        Run { cancel: self.cancel, stopped: self.stopped, ..run }
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("limit", &self.limit).field("seed", &self.seed).finish_non_exhaustive()
    }
}
