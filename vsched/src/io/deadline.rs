//! `SCHED_DEADLINE` of the kernel.
//!
//! A reservation there is one thread's. The slice of a task is divided among its
//! threads: equal parts to those that compute, a small one to each of the others.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::io::journal::{Journal, Record};
use crate::io::restore;
use crate::io::sys::{self, SchedAttr};
use crate::io::threads::{Thread, ThreadWatch, total_cpu, unless_gone};
use crate::mechanism::{Limits, Mechanism, MechanismError, MechanismKind, Process, TaskId};
use crate::monitor::Counters;
use crate::reservation::Reservation;

const KIND: MechanismKind = MechanismKind::Deadline;

/// The part of a slice that a thread gets which does not compute.
const HELPER: f64 = 0.03;

/// The kernel refuses shorter ones.
const MIN_RUNTIME: u64 = 1 << 10;

/// Threads under `SCHED_DEADLINE`; see the [module](self).
#[derive(Debug)]
pub struct DeadlineMechanism {
    journal: Arc<Journal>,
    tasks: BTreeMap<TaskId, Task>,
}

#[derive(Debug)]
struct Task {
    reservation: Reservation,
    members: Vec<Process>,
    watch: ThreadWatch,
    /// What each thread has, by number.
    set: BTreeMap<u32, (Thread, SchedAttr)>,
    since: u64,
    cpu_before: u64,
}

impl DeadlineMechanism {
    /// Changes are written to `journal` before they are made.
    ///
    /// Fails if the kernel doesn't let us use `SCHED_DEADLINE`.
    pub fn new(journal: Arc<Journal>) -> Result<Self, MechanismError> {
        try_deadline().map_err(|source| MechanismError::Unavailable {
            mechanism: KIND,
            what: "the kernel refused SCHED_DEADLINE for a thread of ours".to_owned(),
            source,
            remedy: "run as root or give CAP_SYS_NICE; the kernel also refuses it to threads that may not use \
                     all cores",
        })?;
        Ok(Self { journal, tasks: BTreeMap::new() })
    }

    /// Gives each thread its part.
    fn divide(&self, id: TaskId, task: &mut Task) -> Result<(), MechanismError> {
        let threads = task.watch.look(&task.members);
        let wanted = parts(&threads, &task.reservation);
        // Those that shrink come first: the kernel admits only what fits together.
        let grows = |(thread, attr): &(Thread, SchedAttr)| {
            task.set.get(&thread.tid).is_none_or(|(_, now)| now.runtime < attr.runtime)
        };
        let (growing, shrinking): (Vec<_>, Vec<_>) = wanted.into_iter().partition(grows);
        for (thread, attr) in shrinking.into_iter().chain(growing) {
            if task.set.get(&thread.tid).is_some_and(|(_, now)| *now == attr) {
                continue;
            }
            let done = self.set_thread(id, &thread, &attr, task.set.contains_key(&thread.tid));
            let lives = unless_gone(done).map_err(|source| {
                failed(id, format!("the kernel refused thread {} its part", thread.tid), source)
            })?;
            if lives {
                task.set.insert(thread.tid, (thread, attr));
            }
        }
        task.set.retain(|tid, _| threads.iter().any(|thread| thread.tid == *tid));
        Ok(())
    }

    fn set_thread(&self, task: TaskId, thread: &Thread, attr: &SchedAttr, known: bool) -> io::Result<()> {
        if !known {
            let (attr, cpus) = (sys::sched_getattr(thread.tid)?, restore::cpus(thread.tid)?);
            self.journal.write(Record::Thread {
                task,
                process: thread.process,
                tid: thread.tid,
                attr,
                cpus,
            })?;
        }
        sys::sched_setattr(thread.tid, attr)
    }
}

impl Mechanism for DeadlineMechanism {
    fn kind(&self) -> MechanismKind {
        KIND
    }

    fn limits(&self) -> Limits {
        Limits {
            smallest_period: Duration::from_millis(50),
            error: 0.01,
            note: "the kernel's SCHED_DEADLINE; the slice is divided among threads; late by up to the \
                   kernel's tick"
                .to_owned(),
        }
    }

    fn attach(
        &mut self,
        task: TaskId,
        members: &[Process],
        _: usize,
        reservation: &Reservation,
    ) -> Result<(), MechanismError> {
        let mut begun = Task {
            reservation: *reservation,
            members: members.to_vec(),
            watch: ThreadWatch::default(),
            set: BTreeMap::new(),
            since: sys::monotonic(),
            cpu_before: total_cpu(members),
        };
        match self.divide(task, &mut begun) {
            Ok(()) => {
                self.tasks.insert(task, begun);
                Ok(())
            }
            Err(error) => {
                self.journal.put_back(task);
                Err(error)
            }
        }
    }

    fn set(&mut self, task: TaskId, _: usize, reservation: &Reservation) -> Result<(), MechanismError> {
        let mut known = self.tasks.remove(&task).ok_or(MechanismError::Unknown(task))?;
        let before = std::mem::replace(&mut known.reservation, *reservation);
        let done = self.divide(task, &mut known);
        if done.is_err() {
            known.reservation = before;
            // Back to what was admitted before; if that fails too, the first error says why.
            if let Err(again) = self.divide(task, &mut known) {
                tracing::warn!(%task, "{again}");
            }
        }
        self.tasks.insert(task, known);
        done
    }

    fn refresh(&mut self, task: TaskId, members: &[Process]) -> Result<(), MechanismError> {
        let mut known = self.tasks.remove(&task).ok_or(MechanismError::Unknown(task))?;
        known.members = members.to_vec();
        let done = self.divide(task, &mut known);
        self.tasks.insert(task, known);
        done
    }

    fn release(&mut self, task: TaskId) -> Result<(), MechanismError> {
        self.tasks.remove(&task).ok_or(MechanismError::Unknown(task))?;
        self.journal.put_back(task);
        Ok(())
    }

    fn counters(&mut self, task: TaskId) -> Result<Counters, MechanismError> {
        let known = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        // The kernel counts neither periods nor misses.
        let elapsed = sys::monotonic().saturating_sub(known.since);
        Ok(Counters {
            used: Duration::from_nanos(total_cpu(&known.members).saturating_sub(known.cpu_before)),
            periods: elapsed / known.reservation.period_ns(),
            ..Counters::default()
        })
    }
}

impl Drop for DeadlineMechanism {
    fn drop(&mut self) {
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        for task in tasks {
            self.journal.put_back(task);
        }
    }
}

fn parts(threads: &[Thread], reservation: &Reservation) -> Vec<(Thread, SchedAttr)> {
    let computing = threads.iter().filter(|thread| thread.busy).count();
    let helping = threads.len() - computing;
    let slice = reservation.slice_ns() as f64;
    // With nobody known to compute, all are alike.
    let helper = if computing == 0 {
        1.0 / threads.len().max(1) as f64
    } else {
        HELPER.min(0.3 / helping.max(1) as f64)
    };
    let rest = (1.0 - helper * helping as f64) / computing.max(1) as f64;
    let attr = |thread: &Thread| {
        let part = if thread.busy { rest } else { helper };
        let runtime = ((slice * part) as u64).max(MIN_RUNTIME);
        SchedAttr::deadline(runtime, reservation.deadline_ns(), reservation.period_ns())
    };
    threads.iter().map(|thread| (*thread, attr(thread))).collect()
}

pub(crate) fn try_deadline() -> io::Result<()> {
    let attr = SchedAttr::deadline(100_000, 100_000_000, 100_000_000);
    let tried = std::thread::spawn(move || sys::sched_setattr(0, &attr)).join();
    tried.unwrap_or_else(|_| Err(io::Error::other("the thread that tried it has panicked")))
}

fn failed(task: TaskId, what: String, source: io::Error) -> MechanismError {
    MechanismError::Failed { mechanism: KIND, task, what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_up_the_slice() {
        let ms = Duration::from_millis;
        let reservation = Reservation::new(ms(100), ms(40)).unwrap();
        let process = Process { pid: 1, started: 1 };
        for (computing, helping) in [(1, 0), (2, 3), (4, 20), (0, 3)] {
            let threads: Vec<Thread> =
                (0..computing + helping).map(|tid| Thread { process, tid, busy: tid < computing }).collect();
            let sum: u64 = parts(&threads, &reservation).iter().map(|(_, attr)| attr.runtime).sum();
            assert!((39_999_000..=40_000_000).contains(&sum), "{sum}");
        }
    }
}
