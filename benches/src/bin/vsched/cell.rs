//! One measurement: some tasks under one reservation each and one mechanism.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use vsched::io::{HostOptions, Journal, SignalMechanism};
use vsched::{Capacity, Mechanism, MechanismKind, Process, Reservation, TaskId, place_all};

use crate::spinner::{Hog, Spinner, now};
use crate::trace::{Kept, Trace};

/// From the start of the processes until all are attached and have settled.
const SETTLE: Duration = Duration::from_millis(400);

/// For each task on top of that: where the CPU is reserved, there is little left to attach more with.
const SETTLE_TASK: Duration = Duration::from_millis(100);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) period: Duration,
    pub(crate) slice: Duration,
    pub(crate) tasks: usize,
    pub(crate) hogs: usize,
}

/// What came out, summed over runs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Outcome {
    /// The largest difference of a task's share from what was asked, as a part of that.
    pub(crate) share_error: f64,
    pub(crate) periods: u64,
    pub(crate) late: u64,
    pub(crate) short: u64,
    pub(crate) worst_ms: f64,
    /// Context switches of all tasks, a second.
    pub(crate) switches: f64,
    /// CPU used by the scheduler, as a part of one core.
    pub(crate) scheduler: f64,
    /// How often the scheduler woke up, a second.
    pub(crate) wakeups: f64,
    runs: u32,
}

impl Outcome {
    pub(crate) fn late_part(&self) -> f64 {
        self.late as f64 / self.periods.max(1) as f64
    }

    pub(crate) fn short_part(&self) -> f64 {
        self.short as f64 / self.periods.max(1) as f64
    }
}

/// Where measurements are made.
pub(crate) struct Bed {
    journal: Arc<Journal>,
    folder: tempfile::TempDir,
    options: HostOptions,
}

/// Shares of one task over several runs.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    used: f64,
    asked: f64,
}

/// A cell over several interleaved runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    outcome: Outcome,
    tasks: Vec<Sum>,
}

impl Runs {
    pub(crate) fn outcome(&self) -> Outcome {
        let worst = self.tasks.iter().map(|task| (task.used / task.asked - 1.0).abs()).fold(0.0, f64::max);
        let runs = f64::from(self.outcome.runs.max(1));
        Outcome {
            share_error: worst,
            switches: self.outcome.switches / runs,
            scheduler: self.outcome.scheduler / runs,
            wakeups: self.outcome.wakeups / runs,
            ..self.outcome
        }
    }

    fn add(&mut self, kept: &[Kept], cell: &Cell, switches: f64, scheduler: f64, wakeups: f64) {
        self.tasks.resize(kept.len(), Sum::default());
        for (sum, kept) in self.tasks.iter_mut().zip(kept) {
            sum.used += kept.share * kept.periods as f64;
            sum.asked += cell.slice.as_secs_f64() / cell.period.as_secs_f64() * kept.periods as f64;
            self.outcome.periods += kept.periods;
            self.outcome.late += kept.late;
            self.outcome.short += kept.short;
            self.outcome.worst_ms = self.outcome.worst_ms.max(kept.worst.as_secs_f64() * 1e3);
        }
        self.outcome.switches += switches;
        self.outcome.scheduler += scheduler;
        self.outcome.wakeups += wakeups;
        self.outcome.runs += 1;
    }
}

impl Bed {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (journal, _) = Journal::open(&folder.path().join("state"), Duration::ZERO)?;
        let options = HostOptions::all_cores()?;
        Ok(Self { journal: Arc::new(journal), folder, options })
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn cores(&self) -> &[usize] {
        &self.options.cores
    }

    /// Measures `cell` once for `duration`, under `kind`.
    pub(crate) fn measure(
        &self,
        kind: MechanismKind,
        cell: &Cell,
        duration: Duration,
        into: &mut Runs,
    ) -> anyhow::Result<()> {
        let reservation = Reservation::new(cell.period, cell.slice)?;
        let capacities = vec![Capacity::new(0.955)?; self.options.cores.len()];
        let placement =
            place_all(&vec![reservation; cell.tasks], &capacities).context("the tasks don't fit")?;
        let settle = SETTLE + SETTLE_TASK * cell.tasks as u32;
        let from = now() + settle.as_nanos() as u64 + 2 * cell.period.as_nanos() as u64;
        let to = from + duration.as_nanos() as u64;
        let hogs = (0..cell.hogs).map(|_| Hog::start()).collect::<Result<Vec<_>, _>>()?;
        // A little longer, so that the trace covers all of it.
        let end = to + cell.period.as_nanos() as u64;
        let start = |index: usize| Spinner::start(self.folder(), &format!("trace-{index}"), end);
        let spinners = (0..cell.tasks).map(start).collect::<Result<Vec<_>, _>>()?;
        std::thread::sleep(Duration::from_millis(50));
        let mut held = Held::new(kind, &self.journal)?;
        for (index, spinner) in spinners.iter().enumerate() {
            let core = self.options.cores[placement.core_of[index]];
            held.attach(index, spinner.pid(), core, &reservation)?;
        }
        sleep_until(from);
        let before = (held.cpu(), held.wakeups(), spinners.iter().map(Spinner::switches).sum::<u64>());
        let starts: Vec<Option<u64>> = (0..cell.tasks).map(|index| held.period_start(index)).collect();
        sleep_until(to);
        let after = (held.cpu(), held.wakeups(), spinners.iter().map(Spinner::switches).sum::<u64>());
        sleep_until(end);
        drop(held);
        drop(hogs);
        let mut kept = Vec::new();
        for (spinner, start) in spinners.into_iter().zip(starts) {
            let trace = Trace::new(spinner.trace()?, from, to);
            kept.push(match start {
                Some(start) => trace.kept(cell.period, cell.slice, start % cell.period.as_nanos() as u64),
                None => trace.kept_at_best(cell.period, cell.slice),
            });
        }
        let seconds = duration.as_secs_f64();
        let switches = (after.2 - before.2 + after.1 - before.1) as f64 / seconds;
        let wakeups = (after.1 - before.1) as f64 / seconds;
        into.add(&kept, cell, switches, (after.0 - before.0).as_secs_f64() / seconds, wakeups);
        Ok(())
    }
}

pub(crate) fn sleep_until(time: u64) {
    std::thread::sleep(Duration::from_nanos(time.saturating_sub(now())));
}

/// Tasks under a mechanism, which is kept by its type where that tells more.
enum Held {
    Signal(SignalMechanism),
    Other(Box<dyn Mechanism>),
}

impl Held {
    fn new(kind: MechanismKind, journal: &Arc<Journal>) -> anyhow::Result<Self> {
        Ok(match kind {
            MechanismKind::Signal => Self::Signal(SignalMechanism::new(Arc::clone(journal))?),
            other => Self::Other(vsched::io::open(other, journal)?),
        })
    }

    fn attach(
        &mut self,
        index: usize,
        pid: u32,
        core: usize,
        reservation: &Reservation,
    ) -> anyhow::Result<()> {
        let process: Process = vsched::io::proc::process(pid)?;
        let mechanism: &mut dyn Mechanism = match self {
            Self::Signal(signal) => signal,
            Self::Other(other) => other.as_mut(),
        };
        Ok(mechanism.attach(TaskId(index as u64), &[process], core, reservation)?)
    }

    fn cpu(&self) -> Duration {
        match self {
            Self::Signal(signal) => signal.own_cpu(),
            Self::Other(other) => other.own_cpu(),
        }
    }

    fn wakeups(&self) -> u64 {
        match self {
            Self::Signal(signal) => signal.wakeups(),
            Self::Other(_) => 0,
        }
    }

    fn period_start(&self, index: usize) -> Option<u64> {
        match self {
            Self::Signal(signal) => Some(signal.period_start(TaskId(index as u64))?.as_nanos() as u64),
            Self::Other(_) => None,
        }
    }
}
