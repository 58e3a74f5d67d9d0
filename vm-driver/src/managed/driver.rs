//! The trait, by what all drivers have in common.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use vnet_core::control::PortKind;

use super::{Life, Managed, MaybeLive, Monitor};
use crate::config::VmConfig;
use crate::disk;
use crate::driver::{Capabilities, Consent, CpuShare, Driver, Stop, SuspendKind, VmFile, VmStatus};
use crate::error::{DriverError, Loss};
use crate::id::VmId;
use crate::live::LiveMigration;
use crate::state::{IllegalTransition, Operation, State};
use crate::store::{MEMORY, Record};

impl<M: Monitor> Driver for Managed<M>
where
    Self: MaybeLive,
{
    fn name(&self) -> &'static str {
        self.monitor.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.monitor.capabilities()
    }

    fn root(&self) -> &Path {
        self.store.root()
    }

    fn create(&self, config: &VmConfig) -> Result<(), DriverError> {
        let id = &config.id;
        self.store.lock(id, || {
            self.settle(id)?;
            self.store.expect_unknown(id, Operation::Create)?;
            config.check()?;
            self.monitor.check(config)?;
            let folder = self.store.make_folder(id)?;
            let mut record = Record::new(config, None, 0);
            let made = config
                .disks
                .iter()
                .try_for_each(|disk| disk::create(id, disk, &folder.join(disk.file_name())))
                .and_then(|()| self.put(&mut record, State::Stopped));
            if made.is_err() {
                self.store.remove(id)?;
            }
            made
        })
    }

    fn register(&self, config: &VmConfig, state: State, version: u64) -> Result<(), DriverError> {
        config.check().or_else(|error| without_images(config, error))?;
        Self::register(self, config, state, version)
    }

    fn unregister(&self, id: &VmId) -> Result<(), DriverError> {
        self.with(id, Operation::Unregister, |record, folder| {
            if self.monitor.life(id, folder)? != Life::Absent {
                if record.state == Some(State::Suspended) {
                    let what = "unregister a VM that is suspended in place";
                    return Err(DriverError::Unsupported { driver: self.monitor.name(), what });
                }
                self.monitor.end(id, folder)?;
            }
            record.before = record.state.take();
            self.store.write(record)
        })
    }

    fn start(&self, id: &VmId) -> Result<(), DriverError> {
        self.with(id, Operation::Start, |record, folder| self.launch_and_go(record, folder, false))
    }

    fn stop(&self, id: &VmId, how: Stop) -> Result<(), DriverError> {
        self.with(id, Operation::Stop, |record, folder| {
            match how {
                Stop::Force(consent) => self.store.ask(record, Operation::Stop, consent)?,
                Stop::Graceful(_) if record.state == Some(State::Suspended) => {
                    self.store.ask(record, Operation::Stop, Consent::Withheld)?;
                }
                Stop::Graceful(_) if !self.monitor.capabilities().graceful_stop => {
                    let what = "ask a VM to shut down";
                    return Err(DriverError::Unsupported { driver: self.monitor.name(), what });
                }
                Stop::Graceful(patience) => {
                    if !self.monitor.shut_down(id, folder, patience)? {
                        return Err(DriverError::StillRuns { vm: id.clone(), patience });
                    }
                }
            }
            self.monitor.end(id, folder)?;
            self.put(record, State::Stopped)?;
            self.remove_memory(id)
        })
    }

    fn suspend(&self, id: &VmId) -> Result<(), DriverError> {
        self.with(id, Operation::Suspend, |record, folder| {
            self.monitor.freeze(id, folder)?;
            if self.monitor.capabilities().suspend == SuspendKind::InPlace {
                return self.put(record, State::Suspended);
            }
            let (partial, memory) = (folder.join("memory.partial"), folder.join(MEMORY));
            let keep = || -> io::Result<()> {
                File::open(&partial)?.sync_data()?;
                fs::rename(&partial, &memory)?;
                crate::store::sync_folder(folder)
            };
            let saved = self
                .monitor
                .save(id, folder, &partial)
                .and_then(|()| keep().map_err(DriverError::io(id, format!("keep {}", memory.display()))));
            if let Err(error) = saved {
                // It runs on as if nothing had been asked; half of its memory is of no use.
                let _ = fs::remove_file(&partial);
                self.monitor.go(id, folder)?;
                return Err(error);
            }
            self.put(record, State::Suspended)?;
            self.monitor.end(id, folder)
        })
    }

    fn resume(&self, id: &VmId) -> Result<(), DriverError> {
        self.with(id, Operation::Resume, |record, folder| {
            if self.monitor.capabilities().suspend == SuspendKind::InPlace {
                self.put(record, State::Running)?;
                return self.monitor.go(id, folder);
            }
            self.launch_and_go(record, folder, true)
        })
    }

    fn delete(&self, id: &VmId, consent: Consent) -> Result<(), DriverError> {
        self.with(id, Operation::Delete, |record, folder| {
            self.store.ask(record, Operation::Delete, consent)?;
            self.monitor.end(id, folder)?;
            self.store.remove(id)
        })
    }

    fn status(&self, id: &VmId) -> Result<VmStatus, DriverError> {
        self.status_of(id)
    }

    fn list(&self) -> Result<Vec<VmStatus>, DriverError> {
        let mut vms = Vec::new();
        for id in self.store.ids()? {
            match self.status_of(&id) {
                Ok(status) => vms.push(status),
                // Unregistered, or deleted meanwhile.
                Err(DriverError::Illegal { source: IllegalTransition { state: None, .. }, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(vms)
    }

    fn losses(&self, id: &VmId, operation: Operation) -> Result<Vec<Loss>, DriverError> {
        self.with(id, operation, |record, _| self.store.losses(record, operation))
    }

    fn set_cpu_share(&self, id: &VmId, share: CpuShare) -> Result<(), DriverError> {
        if !self.monitor.capabilities().cpu_share {
            let what = "change a VM's share of the processors";
            return Err(DriverError::Unsupported { driver: self.monitor.name(), what });
        }
        self.store.lock(id, || {
            self.settle(id)?;
            let (mut record, state) = self.store.known(id)?;
            record.cpu_share = share;
            self.store.write(&record)?;
            match state {
                State::Running => self.monitor.set_cpu_share(id, &self.store.folder(id), share),
                _ => Ok(()),
            }
        })
    }

    fn set_memory(&self, id: &VmId, bytes: u64) -> Result<(), DriverError> {
        if !self.monitor.capabilities().memory {
            let what = "change how much memory a VM may use";
            return Err(DriverError::Unsupported { driver: self.monitor.name(), what });
        }
        self.with_running(id, |record, folder| {
            let most = record.config.memory_bytes;
            if !(1 << 20..=most).contains(&bytes) {
                let what = format!("it can have 1 MiB to {most} bytes of memory, not {bytes}");
                return Err(DriverError::Config { vm: id.clone(), what });
            }
            self.monitor.set_memory(id, folder, bytes)
        })
    }

    fn console(&self, id: &VmId) -> Result<Option<SocketAddr>, DriverError> {
        self.with_running(id, |record, folder| match record.config.console {
            true => self.monitor.console(id, folder),
            false => Ok(None),
        })
    }

    fn ports(&self, id: &VmId) -> Result<Vec<Option<PortKind>>, DriverError> {
        self.store.lock(id, || {
            self.settle(id)?;
            let (record, _) = self.store.known(id)?;
            self.monitor.ports(&record, &self.store.folder(id))
        })
    }

    fn files(&self, id: &VmId) -> Result<Vec<VmFile>, DriverError> {
        self.store.lock(id, || {
            self.settle(id)?;
            let (record, state) = self.store.known(id)?;
            if matches!(state, State::Running | State::Incoming) {
                let source = IllegalTransition { state: Some(state), operation: Operation::Unregister };
                return Err(DriverError::Illegal { vm: id.clone(), source });
            }
            self.store.expect_whole_disks(&record)?;
            self.store.files(&record)
        })
    }

    fn hand_over(&self, id: &VmId) -> Result<(), DriverError> {
        self.with(id, Operation::HandOver, |record, folder| {
            self.store.expect_whole_disks(record)?;
            let is_there = self.monitor.life(id, folder)? != Life::Absent;
            if is_there && record.state == Some(State::Suspended) {
                let what = "hand over a VM that is suspended in place";
                return Err(DriverError::Unsupported { driver: self.monitor.name(), what });
            }
            if record.state == Some(State::Running) {
                self.monitor.freeze(id, folder)?;
            }
            record.before = record.state;
            self.put(record, State::Departed)
        })
    }

    fn take_back(&self, id: &VmId) -> Result<State, DriverError> {
        self.with(id, Operation::TakeBack, |record, folder| {
            self.monitor.reclaim(folder).map_err(DriverError::io(id, "take it back"))?;
            let before = record.before.take().unwrap_or(State::Stopped);
            record.state = Some(before);
            self.store.write(record)?;
            if before == State::Running && self.monitor.life(id, folder)? == Life::Still {
                self.monitor.go(id, folder)?;
            }
            self.settle(id)?;
            Ok(self.store.known(id)?.1)
        })
    }

    fn live(&self) -> Option<&dyn LiveMigration> {
        self.maybe_live()
    }
}

/// The images that disks were made from need not be at every host.
fn without_images(config: &VmConfig, error: DriverError) -> Result<(), DriverError> {
    if config.disks.iter().all(|disk| disk.image.is_none()) {
        return Err(error);
    }
    let mut config = config.clone();
    config.disks.iter_mut().for_each(|disk| disk.image = None);
    config.check()
}
