//! A task as the real-time thread of its core has it: signals, priorities, and what was learned of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::edf::Release;
use crate::io::signal::link::{Held, TaskLink};
use crate::io::sys::{self, SchedAttr};
use crate::io::threads::{total_cpu, unless_gone};

/// Tasks on a core: each has a rank, and each rank three priorities.
pub(crate) const RANKS: usize = 25;

const TOP_PRIORITY: u32 = 80;

/// How long one of several computing threads of a task runs before the next has its turn.
pub(crate) const TURN: u64 = 4_000_000;

/// The longest time by which a stop is sent ahead of the end of a slice.
const MOST_LEAD: f64 = 60_000.0;

/// An alarm rings so much too early or too late, once the lead is learned, in ns.
const ALARM_NOISE: u64 = 15_000;

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

/// Where a task stands among those with budget: earlier ones run first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Real-time, with falling priorities.
    RealTime(usize),
    /// An ordinary process, though the most favoured one; see [`super::ordinary`].
    Ordinary,
    /// Not yet known, or no longer.
    Unset,
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) link: Arc<TaskLink>,
    held: Held,
    stopped: bool,
    rank: Rank,
    /// CPU time when last looked at.
    clock: u64,
    clock_read: u64,
    /// It used up its slice, so it is likely to do so again.
    pub(crate) hungry: bool,
    /// By how much stops are sent ahead, in ns.
    pub(crate) lead: f64,
    /// How long it takes from our going to sleep until it runs, in ns.
    pub(crate) delay: f64,
    /// We sleep until its slice is used up.
    pub(crate) awaited: bool,
    /// Which computing thread has its turn, and since when.
    turn: usize,
    turn_since: u64,
}

impl Task {
    /// It runs, and has no budget.
    pub(crate) fn new(link: Arc<TaskLink>, held: Held, now: u64) -> Self {
        let clock = total_cpu(&held.members);
        Self {
            link,
            held,
            stopped: false,
            rank: Rank::Unset,
            clock,
            clock_read: now,
            hungry: true,
            lead: 0.0,
            delay: 0.0,
            awaited: false,
            turn: 0,
            turn_since: now,
        }
    }

    /// Takes in new threads and processes.
    pub(crate) fn change(&mut self, held: Held, budget: i64) {
        let before = total_cpu(&self.held.members);
        self.clock = (self.clock + total_cpu(&held.members)).saturating_sub(before);
        let had_alarm = self.has_alarm();
        self.held = held;
        // New threads have no rank yet, and new processes may have to be stopped.
        self.rank = Rank::Unset;
        if self.stopped {
            self.stop();
        } else if !had_alarm {
            self.set_alarm(budget);
        }
    }

    /// It is stopped by the kernel when its slice is used up; without that, by us.
    pub(crate) fn has_alarm(&self) -> bool {
        self.held.alarm.is_some()
    }

    /// What a slice may want when it is as good as used up, in ns.
    pub(crate) fn early_by(&self) -> u64 {
        if self.has_alarm() { ALARM_NOISE } else { self.lead as u64 }
    }

    /// What it has used since the last time. It is asked once in a look, which is at `now`.
    pub(crate) fn read_clock(&mut self, now: u64) -> u64 {
        if self.clock_read == now {
            return 0;
        }
        self.clock_read = now;
        let clock = total_cpu(&self.held.members);
        let used = clock.saturating_sub(self.clock);
        self.clock = clock;
        self.link.used.fetch_add(used, Ordering::Relaxed);
        used
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        for process in self.held.members.iter() {
            let threads = || self.held.threads.iter().filter(|thread| thread.process == *process);
            let leader = threads().find(|thread| thread.tid == process.pid);
            let computing = threads().filter(|thread| thread.busy && thread.tid != process.pid);
            for thread in leader.into_iter().chain(computing) {
                // One that has ended needs no stop.
                let _ = sys::tgkill(process.pid, thread.tid, libc::SIGSTOP);
            }
        }
    }

    /// Runs on until it has used `budget` ns.
    pub(crate) fn start_slice(&mut self, budget: i64) {
        // The alarm may have stopped it after our last look.
        self.stopped |= self.has_alarm();
        self.set_alarm(budget);
        self.go_on();
    }

    fn set_alarm(&mut self, budget: i64) {
        let until = (budget - self.lead as i64).max(0).cast_unsigned();
        if let Some(alarm) = &self.held.alarm
            && let Err(error) = alarm.set(until)
        {
            tracing::debug!("slices are ended by wakeups: {error}");
            self.held.alarm = None;
        }
    }

    /// Runs on without end.
    pub(crate) fn let_go(&mut self) {
        if let Some(alarm) = self.held.alarm.take() {
            // If that fails, the thread has ended.
            let _ = alarm.unset();
            self.stopped = true;
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        if !self.stopped {
            return;
        }
        self.stopped = false;
        for process in self.held.members.iter() {
            let _ = sys::kill(process.pid, libc::SIGCONT);
        }
    }

    pub(crate) fn count(&self, release: &Release, slice: u64) {
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
    pub(crate) fn learn_lead(&mut self, overrun: i64) {
        let seen = overrun.clamp(-20_000, 20_000) as f64;
        self.lead = (self.lead + LEAD_GAIN * seen).clamp(0.0, MOST_LEAD);
    }

    /// Where something was left when the slice should have been used up, the task began late.
    pub(crate) fn learn_delay(&mut self, left: i64) {
        let seen = left.clamp(-20_000, 20_000) as f64;
        self.delay = (self.delay + LEAD_GAIN * seen).clamp(0.0, MOST_LEAD);
    }

    pub(crate) fn rank(&self) -> Rank {
        self.rank
    }

    /// An error says that it has not got it: the kernel refused.
    pub(crate) fn set_rank(&mut self, rank: Rank) -> io::Result<()> {
        if self.rank == rank {
            return Ok(());
        }
        self.rank = rank;
        let mut computing = 0;
        for thread in self.held.threads.iter() {
            let role = match thread.busy {
                false => Role::Helping,
                true if computing == self.turn => Role::Turn,
                true => Role::Computing,
            };
            computing += usize::from(thread.busy);
            let attr = match rank {
                Rank::RealTime(rank) => SchedAttr::fifo(priority(rank, role)),
                Rank::Ordinary => SchedAttr::ordinary(),
                Rank::Unset => continue,
            };
            unless_gone(sys::sched_setattr(thread.tid, &attr))?;
        }
        Ok(())
    }

    pub(crate) fn has_turns(&self) -> bool {
        self.held.threads.iter().filter(|thread| thread.busy).nth(1).is_some()
    }

    /// Threads of one priority would run until they sleep: each gets its turn.
    pub(crate) fn take_turns(&mut self, now: u64) {
        let computing = self.held.threads.iter().filter(|thread| thread.busy).count();
        if computing < 2 || now.saturating_sub(self.turn_since) < TURN - TURN / 8 {
            return;
        }
        // Ordinary threads take turns by themselves.
        let Rank::RealTime(rank) = self.rank else { return };
        self.turn_since = now;
        let set = |turn: usize, role| {
            if let Some(thread) = self.held.threads.iter().filter(|thread| thread.busy).nth(turn) {
                let _ = sys::sched_setattr(thread.tid, &SchedAttr::fifo(priority(rank, role)));
            }
        };
        let next = (self.turn + 1) % computing;
        set(next, Role::Turn);
        set(self.turn, Role::Computing);
        self.turn = next;
    }
}
