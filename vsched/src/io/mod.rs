//! Everything that touches the world: the kernel's schedulers, processes, files, threads.
#![allow(clippy::disallowed_methods)]

pub mod cgroup;
pub mod deadline;
pub mod host;
pub mod journal;
pub mod probe;
pub mod proc;
mod restore;
pub mod signal;
mod sys;
mod threads;
pub mod watchdog;

pub use cgroup::CgroupMechanism;
pub use deadline::DeadlineMechanism;
pub use host::{Host, HostError, HostOptions, TaskStatus};
pub use journal::{Journal, JournalError, Recovery};
pub use probe::{Probed, choose, open, probe};
pub use signal::SignalMechanism;
pub use watchdog::Watchdog;
