//! The end of a slice, without a wakeup of the scheduler.
//!
//! The kernel can count the CPU time of a thread and send it a signal when some of
//! it is used (`perf_event_open(2)`, the clock of the task). Where a task has one thread,
//! that signal is its `SIGSTOP`: the scheduler need not wake up to send it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::io::sys;

/// The kernel's counters count no less.
const LEAST: u64 = 10_000;

/// Longer than any slice.
const NEVER: u64 = 1 << 60;

/// Stops a thread when it has used some CPU time.
#[derive(Debug)]
pub(crate) struct Alarm {
    event: OwnedFd,
}

impl Alarm {
    /// One that is not set.
    pub(crate) fn new(tid: u32) -> io::Result<Self> {
        Ok(Self { event: sys::signal_after_cpu(tid, libc::SIGSTOP, NEVER)? })
    }

    /// The thread is stopped when it has used `cpu` ns from now on.
    ///
    /// And each time that it has used as much again: if the scheduler hangs, others
    /// may continue the thread, but it doesn't run on without end.
    pub(crate) fn set(&self, cpu: u64) -> io::Result<()> {
        sys::count_cpu_to(self.event.as_fd(), cpu.max(LEAST))
    }

    /// The thread is stopped no more.
    pub(crate) fn unset(&self) -> io::Result<()> {
        sys::count_cpu_to(self.event.as_fd(), NEVER)
    }
}

/// Whether the kernel lets us have such a counter for others.
pub(crate) fn try_alarm() -> io::Result<()> {
    // Of the first thread of this process: never signalled, and dropped at once.
    Alarm::new(std::process::id()).map(drop)
}
