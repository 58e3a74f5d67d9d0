//! The real-time thread of one core.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::edf::{Charged, Edf, Key};
use crate::gang::next_start;
use crate::io::restore;
use crate::io::signal::SCHEDULER_PRIORITY;
use crate::io::signal::link::{Command, Shared, TaskLink};
use crate::io::signal::ordinary::{OrdinaryTime, STINT};
use crate::io::signal::task::{RANKS, Rank, TURN, Task};
use crate::io::sys::{self, SchedAttr};
use crate::reservation::Reservation;

/// Slices are made up for by at most this many thousandths a period: less than
/// the 2 % by which a slice counts as late.
const REPAY_PER_MILLE: u32 = 15;

/// No task waits longer for its first period only to start with others.
const LONGEST_ALIGNMENT: u64 = 100_000_000;

/// Tasks that sleep are looked after no more often than this.
const SHORTEST_LOOK: u64 = 200_000;

/// Whether a task is to be ordinary is asked no more often than this, but at other looks.
const SHORTEST_WAIT: u64 = 10_000_000;

/// A slice with less than this part to go is had: the rest is made up for in the next.
const TOLERANCE: u64 = 400;
const TOLERANCES: (u64, u64) = (3_000, 20_000);

/// A task gets nothing done in less: most of it would be our own coming and going.
const SHORTEST_RUN: u64 = 15_000;

/// What can pass between two looks without any task having run.
const NOISE: u64 = 30_000;

#[derive(Debug)]
pub(crate) struct CoreLoop {
    shared: Arc<Shared>,
    /// The state of the word when commands were last taken.
    seen: u32,
    edf: Edf,
    tasks: Vec<Option<Task>>,
    /// Tasks with budget, the earliest deadline first.
    order: Vec<Key>,
    ordinary: OrdinaryTime,
    /// Until when the last task is ordinary, if it is.
    stint_end: u64,
    /// What real-time tasks have used since the last look.
    real_time: u64,
    own_cpu: u64,
    /// Until when ordinary processes have their account.
    accounted: u64,
    last_look: u64,
    ended: bool,
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
            ordinary: OrdinaryTime::default(),
            stint_end: 0,
            real_time: 0,
            own_cpu: sys::own_cpu(),
            accounted: sys::monotonic(),
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
            self.account(now);
            self.give_priorities(now);
            self.last_look = sys::monotonic();
            let until = self.next_look(self.last_look);
            self.shared.wakeups.fetch_add(1, Ordering::Relaxed);
            sys::futex_wait_until(&self.shared.word, self.seen, until);
        }
        for task in self.tasks.iter_mut().flatten() {
            task.let_go();
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
            Command::Add { link, reservation, held } => {
                let key = self.edf.insert(&reservation, first_start(&reservation, now));
                if self.tasks.len() <= key.index() {
                    self.tasks.resize_with(key.index() + 1, || None);
                }
                let mut task = Task::new(link, held, now);
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
            Command::Change { link, held } => {
                if let Some(key) = self.find(&link)
                    && let Some(task) = &mut self.tasks[key.index()]
                {
                    task.change(held, self.edf.budget(key));
                }
            }
            Command::Remove { link, done } => {
                if let Some(key) = self.find(&link) {
                    self.edf.remove(key);
                    if let Some(mut task) = self.tasks[key.index()].take() {
                        task.let_go();
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
            let used = task.read_clock(now);
            used_by_all += used;
            if task.rank() != Rank::Ordinary {
                self.real_time += used;
            }
            let enough = tolerance(self.edf.slice(*key)) + task.early_by();
            let charged = self.edf.charge_within(*key, used, enough);
            if task.awaited {
                task.awaited = false;
                task.learn_delay(self.edf.budget(*key) - task.lead as i64);
            }
            if charged == Charged::Exhausted {
                task.hungry = true;
                // Its next slice may start at this very look.
                if self.edf.next_release_of(*key).is_none_or(|at| at > now) {
                    task.stop();
                }
            }
            if used_by_all + NOISE >= elapsed {
                break;
            }
        }
        // Where time was left over, whoever still has budget had all it wanted.
        let left_over = used_by_all + NOISE + elapsed / 50 < elapsed;
        for key in &self.order {
            let Some(task) = &self.tasks[key.index()] else { continue };
            let sated = self.edf.is_ready(*key) && (left_over || !task.hungry);
            self.edf.set_sated(*key, sated);
        }
    }

    fn start_periods(&mut self, now: u64) {
        while let Some(key) = self.edf.due(now) {
            let Some(task) = &mut self.tasks[key.index()] else { return };
            // What it used after it was told to stop, or while others were charged.
            let late = task.read_clock(now);
            let ready = self.edf.is_ready(key);
            if task.rank() != Rank::Ordinary {
                self.real_time += late;
            }
            self.edf.charge(key, late);
            let Some(release) = self.edf.release_due(now) else { return };
            let used_up = !ready || release.overrun > 0;
            if !ready && !release.first {
                task.learn_lead(-self.edf.last_left(key));
            }
            task.hungry = used_up || release.missed > 0;
            task.count(&release, self.edf.slice(key));
            task.start_slice(self.edf.budget(key));
        }
    }

    /// What was neither ours nor that of real-time tasks was left to ordinary processes.
    fn account(&mut self, now: u64) {
        let own_cpu = sys::own_cpu();
        let taken = std::mem::take(&mut self.real_time) + own_cpu.saturating_sub(self.own_cpu);
        let elapsed = now.saturating_sub(self.accounted);
        self.ordinary.pass(elapsed, elapsed.saturating_sub(taken));
        (self.own_cpu, self.accounted) = (own_cpu, now);
        self.shared.cpu.store(own_cpu, Ordering::Relaxed);
    }

    /// Gives the tasks with budget falling priorities, changing as few as can be. The last may be ordinary.
    fn give_priorities(&mut self, now: u64) {
        self.edf.ready_in_order(&mut self.order);
        let Some((last, before)) = self.order.split_last() else { return };
        let rank_of =
            |tasks: &[Option<Task>], key: &Key| tasks[key.index()].as_ref().map_or(Rank::Unset, Task::rank);
        // Never twice on end: what is left of a period makes up for one stint.
        let is_ordinary = rank_of(&self.tasks, last) == Rank::Ordinary;
        let make_ordinary = if is_ordinary { now < self.stint_end } else { self.ordinary.is_due() };
        if make_ordinary && !is_ordinary {
            self.stint_end = now + self.budget_of(before) + STINT.cast_unsigned();
        }
        let mut highest = None;
        let mut in_order = true;
        for key in before {
            let rank = rank_of(&self.tasks, key);
            in_order &= rank < Rank::Ordinary && highest < Some(rank);
            highest = Some(rank);
        }
        let rank = rank_of(&self.tasks, last);
        in_order &= make_ordinary || (rank < Rank::Ordinary && highest < Some(rank));
        for (index, key) in self.order.iter().enumerate() {
            let Some(task) = &mut self.tasks[key.index()] else { continue };
            let is_last = index + 1 == self.order.len();
            let rank = match task.rank() {
                _ if is_last && make_ordinary => Rank::Ordinary,
                rank if in_order => rank,
                _ => Rank::RealTime(index),
            };
            if task.set_rank(rank).is_err() && rank == Rank::Ordinary {
                self.ordinary.give_up();
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
        let look = self.end_of_slice(now, release).min(self.end_of_stint(now));
        now.saturating_add(look).min(release)
    }

    /// In what time a slice is used up whose task we must stop, or a thread has had its turn.
    fn end_of_slice(&mut self, now: u64, release: u64) -> u64 {
        let budget = |key: &Key| u64::try_from(self.edf.budget(*key)).unwrap_or(0);
        let mut ahead = 0;
        let mut all_hungry = true;
        for (index, key) in self.order.iter().enumerate() {
            let Some(task) = &mut self.tasks[key.index()] else { continue };
            all_hungry &= task.hungry;
            if task.has_alarm() {
                ahead += budget(key);
                continue;
            }
            if !all_hungry {
                // Those before it may sleep, and then any may be the first to use up its slice.
                let unwatched =
                    |key: &&Key| self.tasks[key.index()].as_ref().is_some_and(|task| !task.has_alarm());
                let least = self.order.iter().filter(unwatched).map(budget).min();
                return least.unwrap_or(0).max(SHORTEST_LOOK);
            }
            let whole = ahead + budget(key) + task.delay as u64;
            let turn = if index == 0 && task.has_turns() { TURN } else { u64::MAX };
            task.awaited = index == 0 && now.saturating_add(whole) < release && whole <= turn;
            return whole.saturating_sub(task.lead as u64).max(SHORTEST_RUN).min(turn);
        }
        u64::MAX
    }

    /// What tasks may still use in their periods.
    fn budget_of(&self, keys: &[Key]) -> u64 {
        keys.iter().map(|key| self.edf.budget(*key).max(0).cast_unsigned()).sum()
    }

    /// In what time the last task has been ordinary for long enough, or is to be.
    fn end_of_stint(&self, now: u64) -> u64 {
        let Some((last, before)) = self.order.split_last() else { return u64::MAX };
        if self.tasks[last.index()].as_ref().is_some_and(|task| task.rank() == Rank::Ordinary) {
            let stint = self.stint_end.saturating_sub(now);
            // Where its slice ends before, so does its being ordinary.
            if stint < self.budget_of(before) + self.budget_of(&[*last]) { stint } else { u64::MAX }
        } else {
            self.ordinary.until_due().max(SHORTEST_WAIT)
        }
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
