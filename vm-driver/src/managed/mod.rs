//! What all drivers have in common: records, legal transitions, and the order
//! of steps that lets a crash at any of them be put right.
//!
//! | operation | steps | after a crash in between |
//! | --- | --- | --- |
//! | start | monitor stands still; record says running; go | it never ran: it is ended; or it goes |
//! | suspend | stand still; memory to a file; record; monitor ends | it goes on; or the monitor is ended |
//! | resume | monitor with the memory, still; record; go; file removed | as start |
//! | stop | monitor ends; record | it is found stopped |

#[cfg(any(feature = "namespace", feature = "qemu"))]
mod arrival;
mod driver;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use vnet_core::control::PortKind;

use crate::config::VmConfig;
use crate::driver::{Capabilities, CpuShare, FileKind, SuspendKind, VmStatus};
use crate::error::DriverError;
use crate::id::VmId;
use crate::live::LiveMigration;
use crate::state::{Operation, State};
use crate::store::{MEMORY, Record, Store};

/// What a monitor's process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// There is none.
    Absent,
    /// The VM runs.
    Running,
    /// The VM stands still.
    Still,
    /// It waits for a VM to come in.
    #[cfg_attr(
        not(any(feature = "qemu", feature = "namespace")),
        expect(dead_code, reason = "no other driver migrates live")
    )]
    Waiting,
}

/// The part of a driver that differs from others. Each call is about a VM whose
/// lock is held.
pub(crate) trait Monitor: Send + Sync {
    fn name(&self) -> &'static str;
    fn capabilities(&self) -> Capabilities;
    /// Refuses what this monitor can't make.
    fn check(&self, config: &VmConfig) -> Result<(), DriverError>;
    fn life(&self, id: &VmId, folder: &Path) -> Result<Life, DriverError>;
    fn pid(&self, id: &VmId, folder: &Path) -> Option<u32>;
    /// Starts a monitor whose VM stands still, with what `memory` holds.
    fn launch(&self, record: &Record, folder: &Path, memory: Option<&Path>) -> Result<(), DriverError>;
    /// A VM that was handed over is ours again, and stands still.
    fn reclaim(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Lets the VM run.
    fn go(&self, id: &VmId, folder: &Path) -> Result<(), DriverError>;
    /// Tells the network where a VM that has arrived is now.
    #[cfg_attr(
        not(any(feature = "qemu", feature = "namespace")),
        expect(dead_code, reason = "no other driver migrates live")
    )]
    fn announce(&self, _id: &VmId, _folder: &Path) -> Result<(), DriverError> {
        Ok(())
    }
    /// Lets the VM stand still.
    fn freeze(&self, id: &VmId, folder: &Path) -> Result<(), DriverError>;
    /// Writes the memory of a VM that stands still.
    fn save(&self, id: &VmId, folder: &Path, memory: &Path) -> Result<(), DriverError>;
    /// Asks the VM to shut down and waits. Has it?
    fn shut_down(&self, id: &VmId, folder: &Path, patience: Duration) -> Result<bool, DriverError>;
    /// Ends the monitor, if there is one, and removes what it leaves.
    fn end(&self, id: &VmId, folder: &Path) -> Result<(), DriverError>;
    /// Why there is no monitor any more, as far as can be told.
    fn epitaph(&self, id: &VmId, folder: &Path) -> String;
    fn set_cpu_share(&self, id: &VmId, folder: &Path, share: CpuShare) -> Result<(), DriverError>;
    fn set_memory(&self, id: &VmId, folder: &Path, bytes: u64) -> Result<(), DriverError>;
    /// `None`: what it was configured with.
    fn memory(&self, id: &VmId, folder: &Path) -> Result<Option<u64>, DriverError>;
    fn console(&self, id: &VmId, folder: &Path) -> Result<Option<SocketAddr>, DriverError>;
    fn ports(&self, record: &Record, folder: &Path) -> Result<Vec<Option<PortKind>>, DriverError>;
}

/// A monitor with the records of its VMs.
pub(crate) struct Managed<M> {
    pub(crate) store: Store,
    pub(crate) monitor: M,
}

impl<M: Monitor> Managed<M> {
    pub(crate) fn open(root: &Path, monitor: M) -> Result<Self, DriverError> {
        let managed = Self { store: Store::open(root)?, monitor };
        for id in managed.store.ids()? {
            managed.store.lock(&id, || managed.settle(&id))?;
        }
        Ok(managed)
    }

    /// Brings record and monitor together, as one of them may have ended at any
    /// moment since the last call.
    pub(crate) fn settle(&self, id: &VmId) -> Result<(), DriverError> {
        let Some(mut record) = self.store.read(id)? else { return Ok(()) };
        let folder = self.store.folder(id);
        let life = self.monitor.life(id, &folder)?;
        let in_place = self.monitor.capabilities().suspend == SuspendKind::InPlace;
        match (record.state, life) {
            (Some(State::Running), Life::Absent) => self.found_stopped(&mut record),
            (Some(State::Suspended), Life::Absent) if in_place => self.found_stopped(&mut record),
            (Some(State::Running), Life::Still) => {
                self.monitor.go(id, &folder)?;
                self.remove_memory(id)
            }
            (Some(State::Suspended), Life::Running) if in_place => self.monitor.freeze(id, &folder),
            (Some(State::Suspended), Life::Still) if in_place => Ok(()),
            (Some(State::Stopped | State::Suspended) | None, Life::Running | Life::Still | Life::Waiting)
            | (Some(State::Running), Life::Waiting) => self.monitor.end(id, &folder),
            (Some(State::Incoming), Life::Absent) if record.before.is_some() => {
                record.before = None;
                self.found_stopped(&mut record)
            }
            (Some(State::Incoming), Life::Absent) => {
                tracing::warn!(
                    "VM `{id}`: its monitor ended while it was arriving; what had come is removed"
                );
                self.monitor.end(id, &folder)?;
                self.store.remove(id)
            }
            _ => Ok(()),
        }
    }

    fn found_stopped(&self, record: &mut Record) -> Result<(), DriverError> {
        let id = record.config.id.clone();
        let why = self.monitor.epitaph(&id, &self.store.folder(&id));
        tracing::warn!("VM `{id}` has ended by itself: {why}");
        self.monitor.end(&id, &self.store.folder(&id))?;
        record.ended = Some(why);
        self.put(record, State::Stopped)
    }

    /// Writes the record in a new state, as a new version.
    pub(crate) fn put(&self, record: &mut Record, state: State) -> Result<(), DriverError> {
        if matches!(state, State::Stopped | State::Suspended) {
            record.version += 1;
        }
        record.state = Some(state);
        self.store.write(record)
    }

    fn remove_memory(&self, id: &VmId) -> Result<(), DriverError> {
        let path = self.store.folder(id).join(MEMORY);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DriverError::io(id, format!("remove {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Runs `work` with the record of a VM whose state allows `operation`.
    pub(crate) fn with<T>(
        &self,
        id: &VmId,
        operation: Operation,
        work: impl FnOnce(&mut Record, &Path) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.store.lock(id, || {
            self.settle(id)?;
            let mut record = self.store.expect(id, operation)?;
            work(&mut record, &self.store.folder(id))
        })
    }

    /// Runs `work` with the record of a VM that runs.
    fn with_running<T>(
        &self,
        id: &VmId,
        work: impl FnOnce(&mut Record, &Path) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        // What can be suspended is what runs.
        self.with(id, Operation::Suspend, work)
    }

    fn launch_and_go(&self, record: &mut Record, folder: &Path, memory: bool) -> Result<(), DriverError> {
        let id = record.config.id.clone();
        let path = folder.join(MEMORY);
        if let Err(error) = self.monitor.launch(record, folder, memory.then_some(&path)) {
            self.monitor.end(&id, folder)?;
            return Err(error);
        }
        record.ended = None;
        self.put(record, State::Running)?;
        // A share that nobody has changed is the one that processes begin with; an ordinary user
        // whose own priority was lowered may not give even that.
        if record.cpu_share != CpuShare::ORDINARY {
            self.monitor.set_cpu_share(&id, folder, record.cpu_share).or_else(unsupported_is_fine)?;
        }
        self.monitor.go(&id, folder)?;
        self.remove_memory(&id)
    }

    fn status_of(&self, id: &VmId) -> Result<VmStatus, DriverError> {
        self.store.lock(id, || {
            self.settle(id)?;
            let (record, state) = self.store.known(id)?;
            let folder = self.store.folder(id);
            let is_running = state == State::Running;
            let memory = if is_running { self.monitor.memory(id, &folder)? } else { None };
            Ok(VmStatus {
                state,
                version: record.version,
                cpu_share: record.cpu_share,
                memory_bytes: memory.unwrap_or(record.config.memory_bytes),
                pid: self.monitor.pid(id, &folder),
                ended: record.ended,
                config: record.config,
            })
        })
    }
}

impl<M: Monitor> Managed<M> {
    pub(crate) fn register(&self, config: &VmConfig, state: State, version: u64) -> Result<(), DriverError> {
        let id = &config.id;
        let wrong = |what: String| DriverError::Config { vm: id.clone(), what };
        self.store.lock(id, || {
            self.settle(id)?;
            self.store.expect_unknown(id, Operation::Register)?;
            self.monitor.check(config)?;
            let record = Record::new(config, Some(state), version);
            let files = self.store.files(&record)?;
            let has_memory = files.iter().any(|file| file.kind == FileKind::Memory);
            match state {
                State::Stopped => self.remove_memory(id)?,
                State::Suspended if has_memory => {}
                State::Suspended => return Err(wrong(format!("there is no file `{MEMORY}` in its folder"))),
                _ => return Err(wrong(format!("it can't be registered as {state}: stopped or suspended"))),
            }
            self.store.write(&record)
        })
    }
}

/// Drivers that can, give themselves.
pub(crate) trait MaybeLive {
    fn maybe_live(&self) -> Option<&dyn LiveMigration> {
        None
    }
}

fn unsupported_is_fine(error: DriverError) -> Result<(), DriverError> {
    match error {
        DriverError::Unsupported { .. } => Ok(()),
        error => Err(error),
    }
}

/// Something of a VM that is kept only as long as this process.
#[cfg(any(feature = "namespace", feature = "qemu"))]
pub(crate) struct PerVm<T>(std::sync::Mutex<std::collections::BTreeMap<VmId, T>>);

#[cfg(any(feature = "namespace", feature = "qemu"))]
impl<T> PerVm<T> {
    pub(crate) fn new() -> Self {
        Self(std::sync::Mutex::default())
    }

    pub(crate) fn insert(&self, id: &VmId, value: T) {
        crate::store::locked(&self.0).insert(id.clone(), value);
    }

    #[cfg(feature = "namespace")]
    pub(crate) fn contains(&self, id: &VmId) -> bool {
        crate::store::locked(&self.0).contains_key(id)
    }

    pub(crate) fn remove(&self, id: &VmId) -> Option<T> {
        crate::store::locked(&self.0).remove(id)
    }
}
