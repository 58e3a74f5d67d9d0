//! Our own earliest-deadline-first scheduler.
//!
//! One real-time (`SCHED_FIFO`) thread on each core that has tasks wakes when a
//! period starts or a slice is used up, and sends `SIGCONT` and `SIGSTOP`. The
//! tasks are real-time too, below it, so nothing else of the host delays a slice;
//! what the kernel keeps for others all the same, the module `ordinary` deals with.
//! Tasks with budget left are all continued, with priorities in the order of
//! their deadlines: while the first sleeps, the next runs.
//!
//! A wakeup costs some 15 us on a virtual machine, so there should be few: a task of one
//! thread is stopped by the kernel, without us (module `alarm`).
//!
//! A stop goes to the threads that compute (`tgkill`), not to the process: a
//! signal to a process is taken by any thread of it, and with QEMU that is a
//! sleeping one, which must first get the CPU from the very vCPU that is to stop.

mod alarm;
mod core_loop;
mod link;
mod ordinary;
mod settings;
mod task;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::io::journal::{Journal, Record};
use crate::io::signal::alarm::{Alarm, try_alarm};
use crate::io::signal::link::{Command, CoreLink, Held, TaskLink};
use crate::io::signal::settings::{THROTTLE, stay_awake, throttle_limit};
use crate::io::signal::task::{RANKS, lowest_priority};
use crate::io::sys::{self, SchedAttr};
use crate::io::threads::{Thread, ThreadWatch, total_cpu, unless_gone};
use crate::io::{proc, restore};
use crate::mechanism::{Limits, Mechanism, MechanismError, MechanismKind, Process, TaskId};
use crate::monitor::Counters;
use crate::reservation::Reservation;

const KIND: MechanismKind = MechanismKind::Signal;

/// With a lower priority, a task would delay the scheduler.
pub(crate) const SCHEDULER_PRIORITY: u32 = 90;

/// The watchdog comes before everything: it must run when the scheduler has died and left
/// real-time tasks behind.
pub(crate) const WATCHDOG_PRIORITY: u32 = 95;

/// From this load of a core on, there is no time to wake up from a deep sleep: 0.9 ms were seen on a
/// virtual machine. And there is little sleep that could save power.
const NO_SLEEP: f64 = 0.8;

/// What the scheduler and rounding may use beside the tasks before the kernel throttles.
const THROTTLE_MARGIN: f64 = 0.03;

/// Our own scheduler; see the [module](self).
#[derive(Debug)]
pub struct SignalMechanism {
    journal: Arc<Journal>,
    cores: BTreeMap<usize, CoreLink>,
    tasks: BTreeMap<TaskId, Task>,
    unthrottled: bool,
    /// Open while CPUs are not to sleep deeply.
    awake: Option<File>,
    /// Whether the kernel ends slices for us.
    has_alarms: bool,
}

#[derive(Debug)]
struct Task {
    core: usize,
    reservation: Reservation,
    members: Vec<Process>,
    threads: Vec<Thread>,
    watch: ThreadWatch,
    link: Arc<TaskLink>,
    alarm: Option<(u32, Arc<Alarm>)>,
    cpu_before: u64,
    /// How the first thread was before us. New ones inherit what we made of those that made them.
    original: Option<Original>,
}

/// The policy and cores of a thread.
type Original = (SchedAttr, Vec<u32>);

impl SignalMechanism {
    /// Changes are written to `journal` before they are made.
    ///
    /// Fails if this process may not have real-time priority: from an ordinary
    /// priority, tasks that compute keep the scheduler from stopping them.
    pub fn new(journal: Arc<Journal>) -> Result<Self, MechanismError> {
        try_real_time().map_err(|source| MechanismError::Unavailable {
            mechanism: KIND,
            what: "no real-time priority (SCHED_FIFO)".to_owned(),
            source,
            remedy: "run as root, give CAP_SYS_NICE or a limit of real-time priority (ulimit -r 95); where \
                     control groups limit real-time tasks, give ours cpu.rt_runtime_us",
        })?;
        if let Err(error) = sys::lock_memory() {
            // Page faults of the scheduler then cost precision, not correctness.
            tracing::debug!("memory is not locked: {error}");
        }
        let alarms = try_alarm();
        if let Err(error) = &alarms {
            tracing::debug!("slices are ended by wakeups, which cost more than alarms: {error}");
        }
        Ok(Self {
            journal,
            cores: BTreeMap::new(),
            tasks: BTreeMap::new(),
            unthrottled: false,
            awake: None,
            has_alarms: alarms.is_ok(),
        })
    }

    /// The start of the period that the task is in, on the monotonic clock.
    pub fn period_start(&self, task: TaskId) -> Option<Duration> {
        let link = &self.tasks.get(&task)?.link;
        Some(Duration::from_nanos(link.period_start()))
    }

    /// Context switches and the like cost the scheduler this often.
    pub fn wakeups(&self) -> u64 {
        self.cores.values().map(CoreLink::wakeups).sum()
    }

    fn core(&mut self, task: TaskId, core: usize) -> Result<&CoreLink, MechanismError> {
        match self.cores.entry(core) {
            Entry::Occupied(started) => Ok(started.into_mut()),
            Entry::Vacant(free) => {
                let link = CoreLink::start(core).map_err(|source| {
                    failed(task, format!("could not start the scheduler of core {core}"), source)
                })?;
                Ok(free.insert(link))
            }
        }
    }

    /// Makes threads real-time and binds them to the core. What was is in the journal first.
    fn take_in(
        &self,
        task: TaskId,
        core: usize,
        threads: &[Thread],
        original: &mut Option<Original>,
    ) -> Result<(), MechanismError> {
        for thread in threads {
            unless_gone(self.take_in_thread(task, core, thread, original)).map_err(|source| {
                failed(task, format!("could not make thread {} real-time", thread.tid), source)
            })?;
        }
        Ok(())
    }

    fn take_in_thread(
        &self,
        task: TaskId,
        core: usize,
        thread: &Thread,
        original: &mut Option<Original>,
    ) -> io::Result<()> {
        let found = (sys::sched_getattr(thread.tid)?, restore::cpus(thread.tid)?);
        let ours = [SchedAttr::fifo(0), SchedAttr::ordinary()];
        let inherited = ours.iter().any(|ours| (ours.policy, ours.nice) == (found.0.policy, found.0.nice));
        let first = original.get_or_insert_with(|| found.clone());
        let (attr, cpus) = if inherited { first.clone() } else { found };
        self.journal.write(Record::Thread { task, process: thread.process, tid: thread.tid, attr, cpus })?;
        restore::set_cpus(thread.tid, &[core as u32])?;
        sys::sched_setattr(thread.tid, &SchedAttr::fifo(lowest_priority(thread.busy)))
    }

    /// The kernel gives real-time tasks at most 95 % of a core by default, ourselves included;
    /// past that it stops us all for the rest of the second.
    fn make_room(
        &mut self,
        task: TaskId,
        core: usize,
        reservation: &Reservation,
    ) -> Result<(), MechanismError> {
        let load = reservation.share() + self.load(core, Some(task));
        if self.unthrottled || load + THROTTLE_MARGIN < throttle_limit() {
            return Ok(());
        }
        let set = || {
            let value = fs::read_to_string(THROTTLE)?.trim().to_owned();
            self.journal.write(Record::Setting { path: THROTTLE.into(), value })?;
            fs::write(THROTTLE, "-1")
        };
        set().map_err(|source| {
            let what = format!(
                "core {core} would be used to {:.0} %, where the kernel throttles real-time tasks, \
                 and {THROTTLE} could not be changed",
                load * 100.0
            );
            failed(task, what, source)
        })?;
        self.unthrottled = true;
        Ok(())
    }

    /// Keeps the CPUs from sleeping deeply, or lets them.
    fn stay_awake(&mut self) {
        if self.cores.keys().all(|core| self.load(*core, None) < NO_SLEEP) {
            self.awake = None;
        } else if self.awake.is_none() {
            self.awake =
                stay_awake().inspect_err(|error| tracing::debug!("CPUs may sleep deeply: {error}")).ok();
        }
    }

    /// The part of a core that is reserved.
    fn load(&self, core: usize, without: Option<TaskId>) -> f64 {
        let of_core = self.tasks.iter().filter(|(id, task)| Some(**id) != without && task.core == core);
        of_core.map(|(_, task)| task.reservation.share()).sum()
    }

    fn begin(
        &mut self,
        task: TaskId,
        members: &[Process],
        core: usize,
        reservation: &Reservation,
    ) -> Result<Task, MechanismError> {
        self.core(task, core)?;
        self.make_room(task, core, reservation)?;
        write_members(&self.journal, task, members)?;
        let cpu_before = total_cpu(members);
        let mut watch = ThreadWatch::default();
        let threads = watch.look(members);
        // Real-time and not yet held, it would keep us from holding it.
        for process in members {
            // One that has ended needs no stop.
            let _ = sys::kill(process.pid, libc::SIGSTOP);
        }
        let mut original = None;
        self.take_in(task, core, &threads, &mut original)?;
        let link = Arc::new(TaskLink::default());
        let alarm = self.alarm(&threads, None);
        let members = members.to_vec();
        let begun = Task {
            core,
            reservation: *reservation,
            members,
            threads,
            watch,
            link,
            alarm,
            cpu_before,
            original,
        };
        self.core(task, core)?.send(begun.add());
        Ok(begun)
    }

    /// One for a task of one thread: the one that it had, if that is of this thread.
    fn alarm(&self, threads: &[Thread], had: Option<(u32, Arc<Alarm>)>) -> Option<(u32, Arc<Alarm>)> {
        let [thread] = threads else { return None };
        if !self.has_alarms {
            return None;
        }
        if let Some((tid, alarm)) = had
            && tid == thread.tid
        {
            return Some((tid, alarm));
        }
        // A thread that has ended needs none, and without one slices end too.
        Some((thread.tid, Arc::new(Alarm::new(thread.tid).ok()?)))
    }
}

impl Task {
    fn held(&self) -> Held {
        Held {
            threads: self.threads.clone().into(),
            members: self.members.clone().into(),
            alarm: self.alarm.as_ref().map(|(_, alarm)| Arc::clone(alarm)),
        }
    }

    fn add(&self) -> Command {
        Command::Add { link: Arc::clone(&self.link), reservation: self.reservation, held: self.held() }
    }
}

impl Mechanism for SignalMechanism {
    fn kind(&self) -> MechanismKind {
        KIND
    }

    fn limits(&self) -> Limits {
        Limits {
            smallest_period: Duration::from_millis(1),
            error: 0.005,
            note: "our own EDF scheduler at real-time priority, SIGSTOP and SIGCONT to computing threads; \
                   binds each task to a core"
                .to_owned(),
        }
    }

    fn attach(
        &mut self,
        task: TaskId,
        members: &[Process],
        core: usize,
        reservation: &Reservation,
    ) -> Result<(), MechanismError> {
        let on_core = self.tasks.values().filter(|task| task.core == core).count();
        if on_core >= RANKS {
            let source = io::Error::other(format!("core {core} has {on_core} tasks"));
            return Err(failed(task, "real-time priorities are used up".to_owned(), source));
        }
        match self.begin(task, members, core, reservation) {
            Ok(begun) => {
                self.tasks.insert(task, begun);
                self.stay_awake();
                Ok(())
            }
            Err(error) => {
                self.journal.put_back(task);
                Err(error)
            }
        }
    }

    fn set(&mut self, task: TaskId, core: usize, reservation: &Reservation) -> Result<(), MechanismError> {
        self.make_room(task, core, reservation)?;
        self.core(task, core)?;
        let known = self.tasks.get_mut(&task).ok_or(MechanismError::Unknown(task))?;
        if known.core == core {
            if let Some(link) = self.cores.get(&core) {
                link.send(Command::Set { link: Arc::clone(&known.link), reservation: *reservation });
            }
            known.reservation = *reservation;
            self.stay_awake();
            return Ok(());
        }
        if let Some(link) = self.cores.get(&known.core) {
            link.remove(&known.link);
        }
        for thread in &known.threads {
            if let Err(error) = unless_gone(restore::set_cpus(thread.tid, &[core as u32])) {
                tracing::warn!(%task, "thread {} stays on core {}: {error}", thread.tid, known.core);
            }
        }
        (known.core, known.reservation) = (core, *reservation);
        if let Some(link) = self.cores.get(&core) {
            link.send(known.add());
        }
        self.stay_awake();
        Ok(())
    }

    fn refresh(&mut self, task: TaskId, members: &[Process]) -> Result<(), MechanismError> {
        let known = self.tasks.get_mut(&task).ok_or(MechanismError::Unknown(task))?;
        let threads = known.watch.look(members);
        let new_members: Vec<Process> =
            members.iter().filter(|member| !known.members.contains(member)).copied().collect();
        if threads == known.threads && new_members.is_empty() {
            return Ok(());
        }
        let core = known.core;
        let new: Vec<Thread> = threads
            .iter()
            .filter(|thread| !known.threads.iter().any(|old| old.tid == thread.tid))
            .copied()
            .collect();
        write_members(&self.journal, task, &new_members)?;
        let mut original = known.original.clone();
        let had = known.alarm.take();
        let alarm = self.alarm(&threads, had);
        let taken = self.take_in(task, core, &new, &mut original);
        let known = self.tasks.get_mut(&task).ok_or(MechanismError::Unknown(task))?;
        known.alarm = alarm;
        taken?;
        known.members = members.to_vec();
        known.threads = threads;
        if let Some(link) = self.cores.get(&core) {
            link.send(Command::Change { link: Arc::clone(&known.link), held: known.held() });
        }
        Ok(())
    }

    fn release(&mut self, task: TaskId) -> Result<(), MechanismError> {
        let known = self.tasks.remove(&task).ok_or(MechanismError::Unknown(task))?;
        if let Some(link) = self.cores.get(&known.core) {
            link.remove(&known.link);
        }
        if let Some((_, alarm)) = &known.alarm {
            // If that fails, the thread has ended.
            let _ = alarm.unset();
        }
        self.journal.put_back(task);
        if !self.tasks.values().any(|other| other.core == known.core) {
            self.cores.remove(&known.core);
        }
        self.stay_awake();
        Ok(())
    }

    fn counters(&mut self, task: TaskId) -> Result<Counters, MechanismError> {
        let known = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        let counters = known.link.counters();
        // What the scheduler counts is as old as its last look, but has those that have ended.
        let used = Duration::from_nanos(total_cpu(&known.members).saturating_sub(known.cpu_before));
        Ok(Counters { used: counters.used.max(used), ..counters })
    }

    fn own_cpu(&self) -> Duration {
        Duration::from_nanos(self.cores.values().map(CoreLink::cpu).sum())
    }
}

impl Drop for SignalMechanism {
    fn drop(&mut self) {
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        for task in tasks {
            // It is known, so this can't fail.
            let _ = self.release(task);
        }
    }
}

/// Whether a thread of ours may have real-time priority: tried on one that ends at once.
pub(crate) fn try_real_time() -> io::Result<()> {
    let tried = std::thread::spawn(|| sys::sched_setattr(0, &SchedAttr::fifo(SCHEDULER_PRIORITY))).join();
    tried.unwrap_or_else(|_| Err(io::Error::other("the thread that tried it has panicked")))
}

/// Writes down which processes may be stopped.
fn write_members(journal: &Journal, task: TaskId, members: &[Process]) -> Result<(), MechanismError> {
    for process in members {
        let was_stopped = proc::stat(process.pid).is_ok_and(|stat| stat.state == 'T');
        journal.write(Record::Process { task, process: *process, was_stopped }).map_err(|source| {
            failed(task, format!("could not write {}", journal.path().display()), source)
        })?;
    }
    Ok(())
}

fn failed(task: TaskId, what: String, source: io::Error) -> MechanismError {
    MechanismError::Failed { mechanism: KIND, task, what, source }
}
