//! Work on machines: in order for each, side by side for all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use vmmp::MachineId;

type Job = Box<dyn FnOnce() + Send>;

/// A queue for each machine that something is done with.
#[derive(Clone, Default)]
pub(super) struct Lanes(Arc<Mutex<BTreeMap<MachineId, VecDeque<Job>>>>);

impl Lanes {
    /// Does this when all that was asked for before is done with the machine.
    pub(super) fn push(&self, machine: &MachineId, job: impl FnOnce() + Send + 'static) {
        self.add(machine, Box::new(job), false);
    }

    /// Does this unless something is being done with the machine.
    pub(super) fn push_if_idle(&self, machine: &MachineId, job: impl FnOnce() + Send + 'static) {
        self.add(machine, Box::new(job), true);
    }

    /// Is nothing being done?
    pub(super) fn is_idle(&self) -> bool {
        self.locked().is_empty()
    }

    /// Is nothing being done with this machine?
    pub(super) fn is_idle_with(&self, machine: &MachineId) -> bool {
        !self.locked().contains_key(machine)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<MachineId, VecDeque<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, machine: &MachineId, job: Job, only_if_idle: bool) {
        let mut lanes = self.locked();
        if let Some(lane) = lanes.get_mut(machine) {
            if !only_if_idle {
                lane.push_back(job);
            }
            return;
        }
        lanes.insert(machine.clone(), VecDeque::from([job]));
        drop(lanes);
        let (all, machine) = (self.clone(), machine.clone());
        let spawned = thread::Builder::new().name(format!("vm-{machine}")).spawn({
            let (all, machine) = (all.clone(), machine.clone());
            move || all.work(&machine)
        });
        if let Err(error) = spawned {
            tracing::error!("no thread for machine {machine}: {error}; it is worked on here");
            all.work(&machine);
        }
    }

    fn work(&self, machine: &MachineId) {
        loop {
            let mut lanes = self.locked();
            let Some(lane) = lanes.get_mut(machine) else { return };
            let Some(job) = lane.pop_front() else {
                lanes.remove(machine);
                return;
            };
            drop(lanes);
            job();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_machine_waits_for_itself_and_for_no_other() {
        let lanes = Lanes::default();
        let (slow, fast) = (MachineId::new("slow").unwrap(), MachineId::new("fast").unwrap());
        let (sender, done) = channel();
        let (open, gate) = channel::<()>();
        let said = |what: &'static str| {
            let sender = sender.clone();
            move || sender.send(what).unwrap()
        };
        lanes.push(&slow, move || gate.recv().unwrap());
        lanes.push(&slow, said("slow"));
        lanes.push_if_idle(&slow, said("never"));
        lanes.push(&fast, said("fast"));
        assert_eq!(done.recv_timeout(Duration::from_secs(60)), Ok("fast"));
        assert!(!lanes.is_idle_with(&slow));
        open.send(()).unwrap();
        assert_eq!(done.recv_timeout(Duration::from_secs(60)), Ok("slow"));
        while !lanes.is_idle() {
            thread::yield_now();
        }
        assert!(done.try_recv().is_err());
    }
}
