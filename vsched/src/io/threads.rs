//! The threads of a task: which there are, which of them compute.

use std::collections::BTreeMap;
use std::io;

use crate::io::{proc, sys};
use crate::mechanism::Process;

/// A thread of a member of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    pub(crate) process: Process,
    pub(crate) tid: u32,
    /// It computes: a vCPU, or a thread that takes a good part of the task's CPU time.
    pub(crate) busy: bool,
}

/// A thread that takes this part of the task's CPU time computes.
const BUSY: f64 = 0.2;

/// Follows the threads of a task.
#[derive(Debug, Default)]
pub(crate) struct ThreadWatch {
    /// CPU time of each thread when last looked at.
    used: BTreeMap<u32, u64>,
    busy: BTreeMap<u32, bool>,
}

impl ThreadWatch {
    /// All threads of the members that live.
    pub(crate) fn look(&mut self, members: &[Process]) -> Vec<Thread> {
        let mut found = Vec::new();
        for process in members {
            // A process that has ended has no threads.
            for tid in proc::threads(process.pid).unwrap_or_default() {
                // Without the kernel's count, each is taken for a helper until it is named a vCPU.
                let used = proc::thread_cpu(process.pid, tid).unwrap_or(0);
                found.push((*process, tid, used));
            }
        }
        let used_since = |tid: u32, used: u64| used.saturating_sub(*self.used.get(&tid).unwrap_or(&0));
        let total: u64 = found.iter().map(|(_, tid, used)| used_since(*tid, *used)).sum();
        let mut threads = Vec::with_capacity(found.len());
        for &(process, tid, used) in &found {
            let known = self.busy.get(&tid).copied();
            let share = used_since(tid, used) as f64 / total.max(1) as f64;
            // A little CPU time tells nothing about who computes.
            let busy = match known {
                Some(busy) if total < 1_000_000 => busy,
                Some(true) => share >= BUSY / 4.0 || is_vcpu(process.pid, tid),
                Some(false) => share >= BUSY,
                None => share >= BUSY || is_vcpu(process.pid, tid),
            };
            threads.push(Thread { process, tid, busy });
        }
        self.used = found.iter().map(|(_, tid, used)| (*tid, *used)).collect();
        self.busy = threads.iter().map(|thread| (thread.tid, thread.busy)).collect();
        threads
    }
}

// QEMU calls them so with `-name debug-threads=on`.
fn is_vcpu(pid: u32, tid: u32) -> bool {
    proc::thread_name(pid, tid).is_ok_and(|name| name.starts_with("CPU "))
}

/// CPU time of all members, in ns. One that has ended counts no more.
pub(crate) fn total_cpu(members: &[Process]) -> u64 {
    members.iter().filter_map(|process| sys::process_cpu(process.pid).ok()).sum()
}

/// An error that only says that the process or thread has ended.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    // The second is what its folder in `/proc` says.
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT))
}

/// Whether what was done to a process or thread was done; `false`: it has ended meanwhile.
pub(crate) fn unless_gone(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
