//! The mechanism that is not real: tasks run on a virtual clock.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::mechanism::{Limits, Mechanism, MechanismError, MechanismKind, Process, TaskId};
use crate::monitor::Counters;
use crate::reservation::Reservation;
use crate::simulator::VirtualCore;
use crate::task_file::Execution;

/// Holds tasks, all of which use all of their slices, on a virtual clock.
///
/// ```
/// use std::time::Duration;
/// use vsched::{Mechanism, Reservation, Simulated, TaskId};
///
/// let ms = Duration::from_millis;
/// let mut mechanism = Simulated::new();
/// mechanism.attach(TaskId(1), &[], 0, &Reservation::new(ms(10), ms(3))?)?;
/// mechanism.run_for(ms(100));
/// assert_eq!(mechanism.counters(TaskId(1))?.used, ms(30));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    cores: BTreeMap<usize, VirtualCore>,
    /// The core of each task, its place there, and what it used on earlier cores.
    tasks: BTreeMap<TaskId, (usize, usize, Counters)>,
    now: Duration,
}

impl Simulated {
    /// No tasks, at time 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets virtual time pass.
    pub fn run_for(&mut self, duration: Duration) {
        for core in self.cores.values_mut() {
            core.run_for(duration);
        }
        self.now += duration;
    }

    fn core(&mut self, core: usize) -> &mut VirtualCore {
        let now = self.now;
        self.cores.entry(core).or_insert_with(|| {
            let mut core = VirtualCore::new();
            core.run_for(now);
            core
        })
    }
}

impl Mechanism for Simulated {
    fn kind(&self) -> MechanismKind {
        MechanismKind::Simulated
    }

    fn limits(&self) -> Limits {
        Limits {
            smallest_period: crate::reservation::MIN_PERIOD,
            error: 0.0,
            note: "a virtual clock; no process is touched".to_owned(),
        }
    }

    fn attach(
        &mut self,
        task: TaskId,
        _: &[Process],
        core: usize,
        reservation: &Reservation,
    ) -> Result<(), MechanismError> {
        let place = self.core(core).insert(reservation, Execution::Full, task.0);
        self.tasks.insert(task, (core, place, Counters::default()));
        Ok(())
    }

    fn set(&mut self, task: TaskId, core: usize, reservation: &Reservation) -> Result<(), MechanismError> {
        let before = self.counters(task)?;
        let Some(&(at, place, _)) = self.tasks.get(&task) else { return Err(MechanismError::Unknown(task)) };
        if at == core {
            self.core(core).set(place, reservation);
        } else {
            self.core(at).remove(place);
            let place = self.core(core).insert(reservation, Execution::Full, task.0);
            self.tasks.insert(task, (core, place, before));
        }
        Ok(())
    }

    fn refresh(&mut self, task: TaskId, _: &[Process]) -> Result<(), MechanismError> {
        self.counters(task).map(|_| ())
    }

    fn release(&mut self, task: TaskId) -> Result<(), MechanismError> {
        let (core, place, _) = self.tasks.remove(&task).ok_or(MechanismError::Unknown(task))?;
        self.core(core).remove(place);
        Ok(())
    }

    fn counters(&mut self, task: TaskId) -> Result<Counters, MechanismError> {
        let &(core, place, before) = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        let report = self.core(core).task_report(place);
        Ok(Counters {
            used: before.used + report.used,
            periods: before.periods + report.periods,
            misses: before.misses + report.misses,
            ..before
        })
    }
}
