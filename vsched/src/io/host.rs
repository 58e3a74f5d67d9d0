//! A host with its tasks: admission, one mechanism, monitoring and feedback, put together.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admission::{Refusal, largest_slice};
use crate::capacity::Capacity;
use crate::controller::{Controller, Goal, GoalError, Observation};
use crate::gang::GangHost;
use crate::io::{proc, restore, sys};
use crate::mechanism::{Limits, Mechanism, MechanismError, MechanismKind, Process, TaskId};
use crate::monitor::{Counters, DemandSample, Monitor, Sample};
use crate::placement::{place_all, place_one};
use crate::reservation::{Reservation, ReservationError};

/// How often counters are recorded.
const SAMPLE: Duration = Duration::from_millis(500);

/// What of the host may be reserved.
#[derive(Clone, Debug, PartialEq)]
pub struct HostOptions {
    /// The cores of the machine that tasks may use, by number.
    pub cores: Vec<usize>,
    /// What may be reserved of each.
    pub capacity: Capacity,
}

impl HostOptions {
    /// All cores that this process may use.
    pub fn all_cores() -> std::io::Result<Self> {
        let cores = restore::cpus(0)?.into_iter().map(|cpu| cpu as usize).collect();
        Ok(Self { cores, capacity: Capacity::DEFAULT })
    }
}

/// Why a host didn't do something.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It doesn't fit.
    #[error("{reservation} doesn't fit: {refusal}")]
    Refused {
        /// What was asked for.
        reservation: Reservation,
        /// What stands against it.
        refusal: Box<Refusal>,
    },
    /// A process can't be attached.
    #[error("process {pid}: {source}")]
    Process {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A process is part of a task.
    #[error(
        "process {pid} is part of task {task}; change that one with `vsched set {task}`, or release it first"
    )]
    Attached {
        /// The process.
        pid: u32,
        /// The task.
        task: TaskId,
    },
    /// It would stop itself.
    #[error("process {pid} is the scheduler itself, or one that it comes from")]
    Ourselves {
        /// The process.
        pid: u32,
    },
    /// The mechanism failed.
    #[error(transparent)]
    Mechanism(#[from] MechanismError),
    /// The goal can't be held.
    #[error(transparent)]
    Goal(#[from] GoalError),
    /// No reservation looks like that.
    #[error(transparent)]
    Reservation(#[from] ReservationError),
}

/// A task of the host, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Its number.
    pub task: TaskId,
    /// What it was called when it was attached.
    pub name: String,
    /// Its processes.
    pub pids: Vec<u32>,
    /// What it is promised.
    pub reservation: Reservation,
    /// The core it is placed on.
    pub core: usize,
    /// What feedback holds, if any.
    pub goal: Option<Goal>,
    /// What it has done since it was attached.
    pub counters: Counters,
    /// The newest sample.
    pub recent: Option<Sample>,
}

/// A host with its tasks.
pub struct Host {
    mechanism: Box<dyn Mechanism>,
    options: HostOptions,
    tasks: BTreeMap<TaskId, Task>,
    next: u64,
    sampled: Duration,
    /// The wall clock less the monotonic one, by which phases were set.
    wall_offset: i128,
}

struct Task {
    name: String,
    members: Vec<Process>,
    reservation: Reservation,
    /// Its place in the list of cores.
    place: usize,
    monitor: Monitor,
    feedback: Option<Feedback>,
}

struct Feedback {
    goal: Goal,
    controller: Controller,
    progress: Option<PathBuf>,
    last: Option<(Duration, Duration, f64)>,
}

impl Host {
    /// A host without tasks.
    pub fn new(mechanism: Box<dyn Mechanism>, options: HostOptions) -> Self {
        Self {
            mechanism,
            options,
            tasks: BTreeMap::new(),
            next: 1,
            sampled: Duration::ZERO,
            wall_offset: wall_offset(),
        }
    }

    /// The mechanism that is used.
    pub fn mechanism(&self) -> MechanismKind {
        self.mechanism.kind()
    }

    /// How good it is.
    pub fn limits(&self) -> Limits {
        self.mechanism.limits()
    }

    /// CPU time that the mechanism has used.
    pub fn own_cpu(&self) -> Duration {
        self.mechanism.own_cpu()
    }

    /// Holds processes, all their threads and all their descendants together to a reservation.
    pub fn attach(
        &mut self,
        name: &str,
        pids: &[u32],
        reservation: &Reservation,
    ) -> Result<TaskId, HostError> {
        let roots = self.roots(pids)?;
        let members = proc::tree(&roots);
        self.check_members(&members)?;
        let place = match self.place(None, reservation) {
            Ok(place) => place,
            Err(refused) => self.make_place(reservation).ok_or(refused)?,
        };
        let task = TaskId(self.next);
        self.mechanism.attach(task, &members, self.options.cores[place], reservation)?;
        self.next += 1;
        let known = Task {
            name: name.to_owned(),
            members,
            reservation: *reservation,
            place,
            monitor: Monitor::new(),
            feedback: None,
        };
        self.tasks.insert(task, known);
        Ok(task)
    }

    /// Changes the reservation of a running task; it holds from the task's next period on.
    /// Feedback, if there is any, ends.
    pub fn set(&mut self, task: TaskId, reservation: &Reservation) -> Result<(), HostError> {
        self.change(task, reservation)?;
        if let Some(known) = self.tasks.get_mut(&task) {
            known.feedback = None;
        }
        Ok(())
    }

    /// Lets feedback change the task's slice so that `goal` holds. `progress` is a file that
    /// contains a number that grows, needed for [`Goal::Rate`].
    pub fn hold(&mut self, task: TaskId, goal: Goal, progress: Option<PathBuf>) -> Result<(), HostError> {
        let known = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        let most = self.room(task).unwrap_or(known.reservation.slice());
        let controller = Controller::new(goal, &known.reservation, most)?;
        if let Some(known) = self.tasks.get_mut(&task) {
            known.feedback = Some(Feedback { goal, controller, progress, last: None });
        }
        Ok(())
    }

    /// Puts everything about a task back as it was.
    pub fn release(&mut self, task: TaskId) -> Result<(), HostError> {
        self.tasks.remove(&task).ok_or(MechanismError::Unknown(task))?;
        Ok(self.mechanism.release(task)?)
    }

    /// Releases every task.
    pub fn release_all(&mut self) {
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        for task in tasks {
            if let Err(error) = self.release(task) {
                tracing::warn!(%task, "not released: {error}");
            }
        }
    }

    /// The core on which a reservation would fit.
    pub fn check(&self, reservation: &Reservation) -> Result<usize, HostError> {
        Ok(self.options.cores[self.place(None, reservation)?])
    }

    /// The host as far as a gang has to do with it.
    pub fn gang_host(&self) -> GangHost {
        GangHost { cores: self.capacities(), placed: self.placed(None) }
    }

    /// The tasks.
    pub fn list(&mut self) -> Vec<TaskStatus> {
        let mut list = Vec::with_capacity(self.tasks.len());
        for (task, known) in &self.tasks {
            list.push(TaskStatus {
                task: *task,
                name: known.name.clone(),
                pids: known.members.iter().map(|process| process.pid).collect(),
                reservation: known.reservation,
                core: self.options.cores[known.place],
                goal: known.feedback.as_ref().map(|feedback| feedback.goal),
                counters: self.mechanism.counters(*task).unwrap_or_default(),
                recent: known.monitor.samples().last().copied(),
            });
        }
        list
    }

    /// The samples of a task, oldest first.
    pub fn history(&self, task: TaskId) -> Result<Vec<Sample>, HostError> {
        let known = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        Ok(known.monitor.samples().copied().collect())
    }

    /// The last `count` samples of a task as demand, oldest first.
    pub fn demand(&self, task: TaskId, count: usize) -> Result<Vec<DemandSample>, HostError> {
        let known = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        Ok(known.monitor.demand(count))
    }

    /// Takes in new threads and processes, lets go of tasks that have ended, records counters
    /// and lets feedback act. To be called some ten times a second; gives the tasks that ended.
    pub fn tick(&mut self) -> Vec<TaskId> {
        let now = Duration::from_nanos(sys::monotonic());
        let mut ended = Vec::new();
        let sample = now >= self.sampled + SAMPLE;
        if sample {
            self.sampled = now;
        }
        for (task, known) in &mut self.tasks {
            known.members = proc::tree(&known.members);
            if known.members.is_empty() {
                ended.push(*task);
                continue;
            }
            if let Err(error) = self.mechanism.refresh(*task, &known.members) {
                tracing::warn!(%task, "new threads are not held: {error}");
            }
            if sample && let Ok(counters) = self.mechanism.counters(*task) {
                known.monitor.record(now, &counters, &known.reservation);
            }
        }
        for task in &ended {
            // It is known, and nothing of it is left that could fail.
            let _ = self.release(*task);
        }
        self.feed_back(now);
        self.follow_the_clock();
        ended
    }

    fn feed_back(&mut self, now: Duration) {
        let mut changes = Vec::new();
        for (task, known) in &mut self.tasks {
            let Some(feedback) = &mut known.feedback else { continue };
            let Ok(counters) = self.mechanism.counters(*task) else { continue };
            if let Some(slice) = feedback.step(now, counters.used, known.reservation.period())
                && let Ok(reservation) = known.reservation.with_slice(slice)
            {
                changes.push((*task, reservation));
            }
        }
        for (task, reservation) in changes {
            if let Err(error) = self.change(task, &reservation) {
                tracing::warn!(%task, "feedback can't have its slice: {error}");
            }
        }
    }

    /// When the wall clock is set, gangs are to keep their phase.
    fn follow_the_clock(&mut self) {
        let offset = wall_offset();
        if (offset - self.wall_offset).abs() < 100_000 {
            return;
        }
        self.wall_offset = offset;
        for (task, known) in self.tasks.iter().filter(|(_, known)| known.reservation.phase().is_some()) {
            let set = self.mechanism.set(*task, self.options.cores[known.place], &known.reservation);
            if let Err(error) = set {
                tracing::warn!(%task, "the phase could not follow the clock: {error}");
            }
        }
    }

    fn change(&mut self, task: TaskId, reservation: &Reservation) -> Result<(), HostError> {
        let known = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        let place = self.place(Some((task, known.place)), reservation)?;
        self.mechanism.set(task, self.options.cores[place], reservation)?;
        if let Some(known) = self.tasks.get_mut(&task) {
            (known.reservation, known.place) = (*reservation, place);
        }
        Ok(())
    }

    /// Where a reservation fits; a task that is changed stays on its core if it can.
    fn place(&self, changed: Option<(TaskId, usize)>, reservation: &Reservation) -> Result<usize, HostError> {
        let placed = self.placed(changed.map(|(task, _)| task));
        let capacities = self.capacities();
        if let Some((_, place)) = changed {
            let here: Vec<_> = placed.iter().filter(|(_, at)| *at == place).copied().collect();
            let alone: Vec<_> = here.iter().map(|(task, _)| (*task, 0)).collect();
            if place_one(&alone, reservation, &[capacities[place]]).is_ok() {
                return Ok(place);
            }
        }
        place_one(&placed, reservation, &capacities)
            .map_err(|refusal| HostError::Refused { reservation: *reservation, refusal: Box::new(refusal) })
    }

    /// Moves tasks to other cores so that there is room. `None`: that can't be, and nothing has changed.
    fn make_place(&mut self, reservation: &Reservation) -> Option<usize> {
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        let mut all: Vec<Reservation> = self.tasks.values().map(|known| known.reservation).collect();
        all.push(*reservation);
        let placement = place_all(&all, &self.capacities())?;
        let mut moved = Vec::new();
        for (task, place) in ids.into_iter().zip(&placement.core_of) {
            let Some(known) = self.tasks.get(&task).filter(|known| known.place != *place) else { continue };
            moved.push((task, known.place));
            if let Err(error) = self.move_to(task, *place) {
                tracing::warn!(%task, "could not move to core {}: {error}", self.options.cores[*place]);
                for (task, before) in moved {
                    if let Err(error) = self.move_to(task, before) {
                        tracing::warn!(%task, "could not move back to core {}: {error}", self.options.cores[before]);
                    }
                }
                return None;
            }
        }
        placement.core_of.last().copied()
    }

    fn move_to(&mut self, task: TaskId, place: usize) -> Result<(), MechanismError> {
        let known = self.tasks.get_mut(&task).ok_or(MechanismError::Unknown(task))?;
        self.mechanism.set(task, self.options.cores[place], &known.reservation)?;
        known.place = place;
        Ok(())
    }

    /// The longest slice that a task could have on its core.
    fn room(&self, task: TaskId) -> Option<Duration> {
        let known = self.tasks.get(&task)?;
        let others: Vec<Reservation> = self
            .placed(Some(task))
            .into_iter()
            .filter(|(_, place)| *place == known.place)
            .map(|(other, _)| other)
            .collect();
        largest_slice(&others, &known.reservation, self.options.capacity)
    }

    fn placed(&self, without: Option<TaskId>) -> Vec<(Reservation, usize)> {
        let others = self.tasks.iter().filter(|(task, _)| Some(**task) != without);
        others.map(|(_, known)| (known.reservation, known.place)).collect()
    }

    fn capacities(&self) -> Vec<Capacity> {
        vec![self.options.capacity; self.options.cores.len()]
    }

    fn roots(&self, pids: &[u32]) -> Result<Vec<Process>, HostError> {
        let root = |pid: &u32| proc::process(*pid).map_err(|source| HostError::Process { pid: *pid, source });
        pids.iter().map(root).collect()
    }

    fn check_members(&self, members: &[Process]) -> Result<(), HostError> {
        for member in members {
            if member.pid == std::process::id() || member.pid == 1 {
                return Err(HostError::Ourselves { pid: member.pid });
            }
            if let Some((task, _)) = self.tasks.iter().find(|(_, known)| known.members.contains(member)) {
                return Err(HostError::Attached { pid: member.pid, task: *task });
            }
        }
        Ok(())
    }
}

impl Feedback {
    /// A new slice, when a period has passed since the last.
    fn step(&mut self, now: Duration, used: Duration, period: Duration) -> Option<Duration> {
        let progress = match &self.progress {
            Some(path) => fs::read_to_string(path).ok()?.trim().parse().ok()?,
            None => 0.0,
        };
        let Some((since, used_before, progress_before)) = self.last else {
            self.last = Some((now, used, progress));
            return None;
        };
        let elapsed = now.saturating_sub(since);
        if elapsed < period {
            return None;
        }
        self.last = Some((now, used, progress));
        let observed = Observation {
            elapsed,
            used: used.saturating_sub(used_before),
            progress: progress - progress_before,
        };
        let before = self.controller.slice();
        let slice = self.controller.step(&observed);
        (slice != before).then_some(slice)
    }
}

fn wall_offset() -> i128 {
    i128::from(sys::realtime()) - i128::from(sys::monotonic())
}
