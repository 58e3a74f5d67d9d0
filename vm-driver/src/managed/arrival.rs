//! What all monitors that migrate live have in common at both ends.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Life, Managed, Monitor};
use crate::error::DriverError;
use crate::id::VmId;
use crate::live::Sockets;
use crate::state::{IllegalTransition, Operation, State};
use crate::store::Record;

/// How often an arrival is looked for. What is not looked for is time without service.
const LOOK: Duration = Duration::from_millis(1);

impl<M: Monitor> Managed<M> {
    /// Writes the record of a VM that will arrive and lets `wait` begin to wait for it;
    /// if that fails, nothing is left.
    pub(crate) fn expect_arrival(
        &self,
        record: &Record,
        wait: impl FnOnce(&Record, &Path) -> Result<Sockets, DriverError>,
    ) -> Result<Sockets, DriverError> {
        let id = &record.config.id;
        self.store.lock(id, || {
            self.settle(id)?;
            self.store.expect_unknown(id, Operation::Receive)?;
            self.monitor.check(&record.config)?;
            let folder = self.store.make_folder(id)?;
            let waits = self.store.write(record).and_then(|()| wait(record, &folder));
            if waits.is_err() {
                self.monitor.end(id, &folder)?;
                self.store.remove(id)?;
            }
            waits
        })
    }

    /// The disks of a VM that arrives are whole: they stay even if its monitor ends.
    pub(crate) fn keep_arriving_disks(&self, id: &VmId) -> Result<(), DriverError> {
        self.with(id, Operation::Arrive, |record, _| self.note_whole_disks(record))
    }

    fn note_whole_disks(&self, record: &mut Record) -> Result<(), DriverError> {
        if record.before.is_some() {
            return Ok(());
        }
        record.before = Some(State::Running);
        self.store.write(record)
    }

    /// Waits until a VM that arrives stands still here, whole.
    pub(crate) fn wait_for_arrival(&self, id: &VmId, patience: Duration) -> Result<bool, DriverError> {
        let end = Instant::now() + patience;
        loop {
            let life = self.with(id, Operation::Arrive, |record, folder| {
                let life = self.monitor.life(id, folder)?;
                if life == Life::Still {
                    self.note_whole_disks(record)?;
                }
                Ok(life)
            })?;
            if life == Life::Still || Instant::now() >= end {
                return Ok(life == Life::Still);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Makes a VM that has arrived an ordinary one that runs, after `take` has made the
    /// monitor ours. It runs before that is noted, as noting takes time without service:
    /// after a crash in between this is done again, and finds it running.
    pub(crate) fn finish_arrival(
        &self,
        id: &VmId,
        take: impl FnOnce(&Record, &Path) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        self.with(id, Operation::Arrive, |record, folder| {
            match self.monitor.life(id, folder)? {
                Life::Still => {
                    take(record, folder)?;
                    self.monitor.go(id, folder)?;
                }
                Life::Running => {}
                _ => return Err(illegal(id, record, Operation::Arrive)),
            }
            record.version += 1;
            record.before = None;
            self.put(record, State::Running)?;
            if let Err(error) = self.monitor.announce(id, folder) {
                tracing::warn!("VM `{id}` runs here, and its network was not told so: {error}");
            }
            Ok(())
        })
    }

    /// Removes what has come of a VM that won't arrive, after `stop` has stopped the waiting.
    pub(crate) fn give_up_arrival(
        &self,
        id: &VmId,
        stop: impl FnOnce(&Path) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        self.store.lock(id, || {
            self.settle(id)?;
            // A monitor may end when the other one cancels, and then nothing is left.
            let Some(record) = self.store.read(id)? else { return Ok(()) };
            let illegal = |source| DriverError::Illegal { vm: id.clone(), source };
            Operation::Abandon.check(record.state).map_err(illegal)?;
            stop(&self.store.folder(id))?;
            self.store.remove(id)
        })
    }

    /// Runs `work` with the record of a VM that runs, to hand it over.
    pub(crate) fn with_leaving<T>(
        &self,
        id: &VmId,
        work: impl FnOnce(&mut Record, &Path) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.with(id, Operation::HandOver, |record, folder| {
            if record.state != Some(State::Running) {
                return Err(illegal(id, record, Operation::HandOver));
            }
            self.store.expect_whole_disks(record)?;
            work(record, folder)
        })
    }

    /// Notes that a VM which stands still may be at the other host from now on.
    pub(crate) fn commit_hand_over(&self, record: &mut Record) -> Result<(), DriverError> {
        record.before = Some(State::Running);
        self.put(record, State::Departed)
    }

    /// Notes that a VM which was committed to another host is ours after all.
    pub(crate) fn revoke_hand_over(&self, record: &mut Record) -> Result<(), DriverError> {
        record.before = None;
        self.put(record, State::Running)
    }
}

fn illegal(id: &VmId, record: &Record, operation: Operation) -> DriverError {
    let source = IllegalTransition { state: record.state, operation };
    DriverError::Illegal { vm: id.clone(), source }
}
