//! The real-time thread of one core.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::edf::{Charged, Edf, Key};
use crate::gang::next_start;
use crate::io::restore;
use crate::io::signal::SCHEDULER_PRIORITY;
use crate::io::signal::link::{Command, Shared, TaskLink};
use crate::io::sys::{self, SchedAttr};
use crate::io::threads::{Thread, total_cpu};
use crate::mechanism::Process;
use crate::reservation::Reservation;

/// Tasks on a core: each has a rank, and each rank three priorities.
pub(crate) const RANKS: usize = 25;

const TOP_PRIORITY: u32 = 80;

/// Slices are made up for by at most this many thousandths a period: less than
/// the 2 % by which a slice counts as late.
const REPAY_PER_MILLE: u32 = 15;

/// How long one of several computing threads of a task runs before the next has its turn.
const TURN: u64 = 4_000_000;

/// No task waits longer for its first period only to start with others.
const LONGEST_ALIGNMENT: u64 = 100_000_000;

/// Tasks that sleep are looked after no more often than this.
const SHORTEST_LOOK: u64 = 200_000;

/// A slice with less than this part to go is had: the rest is made up for in the next.
const TOLERANCE: u64 = 400;
const TOLERANCES: (u64, u64) = (3_000, 20_000);

/// A task gets nothing done in less: most of it would be our own coming and going.
const SHORTEST_RUN: u64 = 15_000;

/// What can pass between two looks without any task having run.
const NOISE: u64 = 30_000;

/// The longest time by which a stop is sent ahead of the end of a slice.
const MOST_LEAD: f64 = 60_000.0;

/// Our own CPU time is read once in so many wakeups.
const CPU_EVERY: u64 = 16;

/// How fast the lead follows the overruns that are seen.
const LEAD_GAIN: f64 = 0.1;

/// The priority of a thread whose task has the last rank.
pub(crate) fn lowest_priority(busy: bool) -> u32 {
    priority(RANKS - 1, if busy { Role::Computing } else { Role::Helping })
}

enum Role {
    /// Waits for its turn.
    Computing,
    /// Has its turn.
    Turn,
    /// I/O and the like: short, and others wait for it.
    Helping,
}

fn priority(rank: usize, role: Role) -> u32 {
    let within = match role {
        Role::Computing => 0,
        Role::Turn => 1,
        Role::Helping => 2,
    };
    TOP_PRIORITY - 3 * rank as u32 + within
}

#[derive(Debug)]
pub(crate) struct CoreLoop {
    shared: Arc<Shared>,
    /// The state of the word when commands were last taken.
    seen: u32,
    edf: Edf,
    tasks: Vec<Option<Task>>,
    /// Tasks with budget, the earliest deadline first.
    order: Vec<Key>,
    last_look: u64,
    ended: bool,
}

#[derive(Debug)]
struct Task {
    link: Arc<TaskLink>,
    threads: Arc<[Thread]>,
    members: Arc<[Process]>,
    stopped: bool,
    rank: usize,
    /// CPU time when last looked at.
    clock: u64,
    /// It used up its slice, so it is likely to do so again.
    hungry: bool,
    /// By how much stops are sent ahead, in ns.
    lead: f64,
    /// How long it takes from our going to sleep until it runs, in ns.
    delay: f64,
    /// We sleep until its slice is used up.
    awaited: bool,
    /// Which computing thread has its turn, and since when.
    turn: usize,
    turn_since: u64,
}

impl CoreLoop {
    /// To be called, and run, by the thread that is to be the scheduler.
    pub(crate) fn prepare(core: usize, shared: Arc<Shared>) -> io::Result<Self> {
        restore::set_cpus(0, &[core as u32])?;
        sys::sched_setattr(0, &SchedAttr::fifo(SCHEDULER_PRIORITY))?;
        Ok(Self {
            shared,
            seen: 0,
            edf: Edf::with_repayment(REPAY_PER_MILLE),
            tasks: Vec::with_capacity(RANKS),
            order: Vec::with_capacity(RANKS),
            last_look: sys::monotonic(),
            ended: false,
        })
    }

    pub(crate) fn run(&mut self) {
        loop {
            let now = sys::monotonic();
            self.take_commands(now);
            if self.ended {
                break;
            }
            self.charge_ready(now);
            self.start_periods(now);
            self.give_priorities(now);
            self.last_look = sys::monotonic();
            let until = self.next_look(self.last_look);
            if self.shared.wakeups.fetch_add(1, Ordering::Relaxed).is_multiple_of(CPU_EVERY) {
                self.shared.cpu.store(sys::own_cpu(), Ordering::Relaxed);
            }
            sys::futex_wait_until(&self.shared.word, self.seen, until);
        }
        for task in self.tasks.iter_mut().flatten() {
            task.go_on();
        }
    }

    fn take_commands(&mut self, now: u64) {
        let word = self.shared.word.load(Ordering::Acquire);
        if word == self.seen {
            return;
        }
        // Whoever holds it has an ordinary priority, and we may keep it from running: look again soon.
        let commands = match self.shared.commands.try_lock() {
            Ok(mut commands) => std::mem::take(&mut *commands),
            Err(_) => return,
        };
        self.seen = word;
        for command in commands {
            self.obey(command, now);
        }
    }

    fn obey(&mut self, command: Command, now: u64) {
        match command {
            Command::Add { link, reservation, threads, members } => {
                let key = self.edf.insert(&reservation, first_start(&reservation, now));
                if self.tasks.len() <= key.index() {
                    self.tasks.resize_with(key.index() + 1, || None);
                }
                let clock = total_cpu(&members);
                let mut task = Task {
                    link,
                    threads,
                    members,
                    stopped: false,
                    rank: RANKS,
                    clock,
                    hungry: true,
                    lead: 0.0,
                    delay: 0.0,
                    awaited: false,
                    turn: 0,
                    turn_since: now,
                };
                // Until its first period.
                task.stop();
                self.tasks[key.index()] = Some(task);
            }
            Command::Set { link, reservation } => {
                if let Some(key) = self.find(&link) {
                    self.edf.set(key, &reservation);
                    if reservation.phase().is_some() {
                        // No earlier than the present period's end: its slice is promised.
                        let from = self.edf.next_release_of(key).unwrap_or(now).max(now);
                        self.edf.set_next_release(key, first_start(&reservation, from));
                    }
                }
            }
            Command::Threads { link, threads, members } => {
                if let Some(key) = self.find(&link)
                    && let Some(task) = &mut self.tasks[key.index()]
                {
                    let before = total_cpu(&task.members);
                    task.clock += total_cpu(&members);
                    task.clock = task.clock.saturating_sub(before);
                    (task.threads, task.members) = (threads, members);
                    // New threads have no rank yet, and new processes may have to be stopped.
                    task.rank = RANKS;
                    if task.stopped {
                        task.stop();
                    }
                }
            }
            Command::Remove { link, done } => {
                if let Some(key) = self.find(&link) {
                    self.edf.remove(key);
                    if let Some(mut task) = self.tasks[key.index()].take() {
                        task.go_on();
                    }
                }
                // Nobody waits any more: then nobody is told.
                let _ = done.try_send(());
            }
            Command::End => self.ended = true,
        }
    }

    fn find(&self, link: &Arc<TaskLink>) -> Option<Key> {
        let is_it = |task: &Option<Task>| task.as_ref().is_some_and(|task| Arc::ptr_eq(&task.link, link));
        self.tasks.iter().position(is_it).map(Key::from_index)
    }

    /// Charges those who may have run since the last look, in the order in which they could.
    fn charge_ready(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.last_look);
        let mut used_by_all = 0;
        self.edf.ready_in_order(&mut self.order);
        for key in &self.order {
            let Some(task) = &mut self.tasks[key.index()] else { continue };
            let used = task.read_clock();
            used_by_all += used;
            let enough = tolerance(self.edf.slice(*key)) + task.lead as u64;
            let charged = self.edf.charge_within(*key, used, enough);
            if task.awaited {
                task.awaited = false;
                task.learn_delay(self.edf.budget(*key) - task.lead as i64);
            }
            if charged == Charged::Exhausted {
                task.hungry = true;
                task.stop();
            }
            if used_by_all + NOISE >= elapsed {
                break;
            }
        }
        // Where time was left over, whoever was ready had all it wanted.
        let left_over = used_by_all + NOISE + elapsed / 50 < elapsed;
        for key in &self.order {
            let Some(task) = &self.tasks[key.index()] else { continue };
            self.edf.set_sated(*key, left_over || !task.hungry);
        }
    }

    fn start_periods(&mut self, now: u64) {
        while let Some(key) = self.edf.due(now) {
            let Some(task) = &mut self.tasks[key.index()] else { return };
            // What it used after it was told to stop, or while others were charged.
            let late = task.read_clock();
            let ready = self.edf.is_ready(key);
            self.edf.charge(key, late);
            let Some(release) = self.edf.release_due(now) else { return };
            let used_up = !ready || release.overrun > 0;
            if !ready && !release.first {
                task.learn_lead(-self.edf.last_left(key));
            }
            let slice = self.edf.slice(key);
            task.hungry = used_up || release.missed > 0;
            task.count(&release, slice);
            task.go_on();
        }
    }

    /// Gives the tasks with budget falling priorities, changing as few as can be.
    fn give_priorities(&mut self, now: u64) {
        self.edf.ready_in_order(&mut self.order);
        let ranks = self.order.iter().map(|key| self.tasks[key.index()].as_ref().map_or(RANKS, |t| t.rank));
        let in_order =
            ranks.clone().zip(ranks.skip(1)).all(|(before, after)| before < after && after < RANKS);
        let first_unranked = self
            .order
            .first()
            .is_some_and(|key| self.tasks[key.index()].as_ref().is_some_and(|t| t.rank == RANKS));
        if !in_order || first_unranked {
            for (rank, key) in self.order.iter().enumerate() {
                if let Some(task) = &mut self.tasks[key.index()] {
                    task.set_rank(rank);
                }
            }
        }
        if let Some(top) = self.order.first()
            && let Some(task) = &mut self.tasks[top.index()]
        {
            task.take_turns(now);
        }
    }

    fn next_look(&mut self, now: u64) -> u64 {
        let release = self.edf.next_release().unwrap_or(u64::MAX);
        if self.shared.word.load(Ordering::Acquire) != self.seen {
            return now + SHORTEST_LOOK;
        }
        let budget = |key: &Key| u64::try_from(self.edf.budget(*key)).unwrap_or(0);
        let Some(top) = self.order.first() else { return release };
        let Some(task) = &mut self.tasks[top.index()] else { return release };
        let look = if task.hungry {
            let ahead = budget(top) + task.delay as u64;
            task.awaited = now.saturating_add(ahead) < release;
            ahead.saturating_sub(task.lead as u64).max(SHORTEST_RUN)
        } else {
            // It may sleep, and then any other may be the first to use up its slice.
            self.order.iter().map(budget).min().unwrap_or(0).max(SHORTEST_LOOK)
        };
        let turn = if task.has_turns() { TURN } else { u64::MAX };
        task.awaited &= look <= turn;
        now.saturating_add(look.min(turn)).min(release)
    }
}

fn tolerance(slice: u64) -> u64 {
    (slice / TOLERANCE).clamp(TOLERANCES.0, TOLERANCES.1)
}

/// When the first period of a task starts: with those of others if it can, so that one wakeup
/// serves them all.
fn first_start(reservation: &Reservation, now: u64) -> u64 {
    let Some(phase) = reservation.phase() else {
        return now.next_multiple_of(reservation.period_ns().min(LONGEST_ALIGNMENT));
    };
    let wall = std::time::Duration::from_nanos(sys::realtime());
    let wait = next_start(wall, reservation.period(), phase) - wall;
    now.max(sys::monotonic() + wait.as_nanos() as u64)
}

impl Task {
    /// What it has used since the last time.
    fn read_clock(&mut self) -> u64 {
        let clock = total_cpu(&self.members);
        let used = clock.saturating_sub(self.clock);
        self.clock = clock;
        self.link.used.fetch_add(used, Ordering::Relaxed);
        used
    }

    fn stop(&mut self) {
        self.stopped = true;
        for process in self.members.iter() {
            let threads = || self.threads.iter().filter(|thread| thread.process == *process);
            let leader = threads().find(|thread| thread.tid == process.pid);
            let computing = threads().filter(|thread| thread.busy && thread.tid != process.pid);
            for thread in leader.into_iter().chain(computing) {
                // One that has ended needs no stop.
                let _ = sys::tgkill(process.pid, thread.tid, libc::SIGSTOP);
            }
        }
    }

    fn go_on(&mut self) {
        if !self.stopped {
            return;
        }
        self.stopped = false;
        for process in self.members.iter() {
            let _ = sys::kill(process.pid, libc::SIGCONT);
        }
    }

    fn count(&self, release: &crate::edf::Release, slice: u64) {
        let add = |counter: &AtomicU64, value: u64| counter.fetch_add(value, Ordering::Relaxed);
        add(&self.link.periods, 1);
        if release.missed > slice / 50 {
            add(&self.link.misses, 1);
        }
        if release.overrun > slice / 50 {
            add(&self.link.overruns, 1);
        }
        add(&self.link.overrun, release.overrun);
        self.link.period_start.store(release.at, Ordering::Relaxed);
    }

    /// Stops that come late by `overrun` are sent earlier; a single bad one tells little.
    fn learn_lead(&mut self, overrun: i64) {
        let seen = overrun.clamp(-20_000, 20_000) as f64;
        self.lead = (self.lead + LEAD_GAIN * seen).clamp(0.0, MOST_LEAD);
    }

    /// Where something was left when the slice should have been used up, the task began late.
    fn learn_delay(&mut self, left: i64) {
        let seen = left.clamp(-20_000, 20_000) as f64;
        self.delay = (self.delay + LEAD_GAIN * seen).clamp(0.0, MOST_LEAD);
    }

    fn set_rank(&mut self, rank: usize) {
        if self.rank == rank {
            return;
        }
        self.rank = rank;
        let mut computing = 0;
        for thread in self.threads.iter() {
            let role = match thread.busy {
                false => Role::Helping,
                true if computing == self.turn => Role::Turn,
                true => Role::Computing,
            };
            computing += usize::from(thread.busy);
            // One that has ended needs no priority.
            let _ = sys::sched_setattr(thread.tid, &SchedAttr::fifo(priority(rank, role)));
        }
    }

    fn has_turns(&self) -> bool {
        self.threads.iter().filter(|thread| thread.busy).nth(1).is_some()
    }

    /// Threads of one priority would run until they sleep: each gets its turn.
    fn take_turns(&mut self, now: u64) {
        let computing = self.threads.iter().filter(|thread| thread.busy).count();
        if computing < 2 || now.saturating_sub(self.turn_since) < TURN - TURN / 8 {
            return;
        }
        self.turn_since = now;
        let set = |turn: usize, role| {
            if let Some(thread) = self.threads.iter().filter(|thread| thread.busy).nth(turn) {
                let _ = sys::sched_setattr(thread.tid, &SchedAttr::fifo(priority(self.rank, role)));
            }
        };
        let next = (self.turn + 1) % computing;
        set(next, Role::Turn);
        set(self.turn, Role::Computing);
        self.turn = next;
    }
}
