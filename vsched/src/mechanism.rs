//! What carries out reservations: one trait, four mechanisms.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::monitor::Counters;
use crate::reservation::Reservation;

/// The ways to hold a task to its slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MechanismKind {
    /// Our own earliest-deadline-first scheduler, in real-time threads, which stops and continues tasks.
    Signal,
    /// `SCHED_DEADLINE` of the kernel.
    Deadline,
    /// The bandwidth control of the kernel's control groups.
    Cgroup,
    /// Nothing real: a virtual clock.
    Simulated,
}

impl MechanismKind {
    /// The real ones, the best first.
    pub const BY_PREFERENCE: [Self; 3] = [Self::Signal, Self::Deadline, Self::Cgroup];

    /// Its name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Deadline => "deadline",
            Self::Cgroup => "cgroup",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for MechanismKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How good a mechanism is here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Shorter periods are not refused, but slices come late more often than 1 % of the time.
    pub smallest_period: Duration,
    /// How far the share may be from what was asked at that period, as a part of it.
    pub error: f64,
    /// What it is and what it needs, in a sentence.
    pub note: String,
}

/// A task of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process, told from a later one with the same number by when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub started: u64,
}

/// Why a mechanism didn't do something. What it had begun is undone.
#[derive(Debug, thiserror::Error)]
pub enum MechanismError {
    /// The host doesn't offer what it needs, or not to us.
    #[error("mechanism `{mechanism}` can't be used here: {what}: {source}; {remedy}")]
    Unavailable {
        /// The mechanism.
        mechanism: MechanismKind,
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Something failed for one task.
    #[error("mechanism `{mechanism}`, task {task}: {what}: {source}; nothing was changed")]
    Failed {
        /// The mechanism.
        mechanism: MechanismKind,
        /// The task.
        task: TaskId,
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The mechanism can't hold such a reservation.
    #[error("mechanism `{mechanism}` can't hold {reservation}: {why}")]
    Unsupported {
        /// The mechanism.
        mechanism: MechanismKind,
        /// The reservation.
        reservation: Reservation,
        /// Its limit.
        why: &'static str,
    },
    /// There is no such task.
    #[error("there is no task {0}; `vsched list` shows those that there are")]
    Unknown(TaskId),
}

/// Holds tasks to their slices.
///
/// Every method either does what it says or leaves things as they were.
pub trait Mechanism: Send {
    /// Which one it is.
    fn kind(&self) -> MechanismKind;

    /// How good it is here.
    fn limits(&self) -> Limits;

    /// Holds all threads of `members` together to `reservation`, on the given core of the machine
    /// (where the mechanism binds tasks to cores).
    fn attach(
        &mut self,
        task: TaskId,
        members: &[Process],
        core: usize,
        reservation: &Reservation,
    ) -> Result<(), MechanismError>;

    /// Changes the reservation of a running task, and perhaps its core, within a period.
    fn set(&mut self, task: TaskId, core: usize, reservation: &Reservation) -> Result<(), MechanismError>;

    /// Takes in new threads and processes; to be called a few times a second.
    fn refresh(&mut self, task: TaskId, members: &[Process]) -> Result<(), MechanismError>;

    /// Puts everything about the task back as it was before it was attached.
    fn release(&mut self, task: TaskId) -> Result<(), MechanismError>;

    /// What the task has done.
    fn counters(&mut self, task: TaskId) -> Result<Counters, MechanismError>;

    /// CPU time that the mechanism itself has used, where it has threads of its own.
    fn own_cpu(&self) -> Duration {
        Duration::ZERO
    }
}
