//! The folder of a driver: one folder for each VM, with its record.
//!
//! A record is replaced as a whole (written beside, synced, renamed), so that a
//! crash leaves the old one or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::VmConfig;
use crate::driver::{CpuShare, FileKind, VmFile};
use crate::error::{DriverError, Loss};
use crate::id::VmId;
use crate::state::{Operation, State};

/// The record's file in a VM's folder.
pub(crate) const RECORD: &str = "vm.json";

/// The file with the memory of a suspended VM.
pub(crate) const MEMORY: &str = "memory";

/// The longest record that is read, in bytes.
const MAX_RECORD: u64 = 1 << 20;

/// What is kept of a VM.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) config: VmConfig,
    /// `None`: unregistered.
    pub(crate) state: Option<State>,
    /// The state before it departed or was unregistered.
    #[serde(default)]
    pub(crate) before: Option<State>,
    pub(crate) version: u64,
    #[serde(default = "ordinary")]
    pub(crate) cpu_share: CpuShare,
    #[serde(default)]
    pub(crate) ended: Option<String>,
    /// What its disks don't hold is at another host.
    #[serde(default)]
    pub(crate) behind: bool,
}

impl Record {
    /// Of a VM that nothing has happened to yet.
    pub(crate) fn new(config: &VmConfig, state: Option<State>, version: u64) -> Self {
        Self {
            config: config.clone(),
            state,
            before: None,
            version,
            cpu_share: CpuShare::ORDINARY,
            ended: None,
            behind: false,
        }
    }
}

fn ordinary() -> CpuShare {
    CpuShare::ORDINARY
}

/// The VMs of a folder.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    /// One lock for each VM that was ever asked about.
    locks: Mutex<BTreeMap<VmId, Arc<Mutex<()>>>>,
}

impl Store {
    pub(crate) fn open(root: &Path) -> Result<Self, DriverError> {
        let action = || format!("use the folder {}", root.display());
        fs::create_dir_all(root).map_err(DriverError::folder(action()))?;
        let root = root.canonicalize().map_err(DriverError::folder(action()))?;
        Ok(Self { root, locks: Mutex::default() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn folder(&self, id: &VmId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Keeps other calls about this VM waiting.
    pub(crate) fn lock<T>(&self, id: &VmId, work: impl FnOnce() -> T) -> T {
        let lock = Arc::clone(locked(&self.locks).entry(id.clone()).or_default());
        let _guard = locked(&lock);
        work()
    }

    /// The record of a VM, registered or not; `None`: it has no folder here.
    pub(crate) fn read(&self, id: &VmId) -> Result<Option<Record>, DriverError> {
        let path = self.folder(id).join(RECORD);
        let wrong = |why: String| DriverError::Record { path: path.clone(), why };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DriverError::io(id, format!("open {}", path.display()))(source)),
        };
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        if bytes > MAX_RECORD {
            return Err(wrong(format!("it has {bytes} bytes")));
        }
        let record: Record =
            serde_json::from_reader(io::BufReader::new(file)).map_err(|e| wrong(e.to_string()))?;
        if record.config.id != *id {
            return Err(wrong(format!("it is of VM `{}`", record.config.id)));
        }
        Ok(Some(record))
    }

    /// The record of a registered VM whose state allows `operation`.
    pub(crate) fn expect(&self, id: &VmId, operation: Operation) -> Result<Record, DriverError> {
        let record = self.read(id)?;
        let state = record.as_ref().and_then(|record| record.state);
        operation.check(state).map_err(|source| DriverError::Illegal { vm: id.clone(), source })?;
        // Only a registered VM has a state in which anything but creating it is legal.
        record.ok_or_else(|| unknown(id, operation))
    }

    /// Is this VM unknown, so that it may be created, registered or received?
    pub(crate) fn expect_unknown(&self, id: &VmId, operation: Operation) -> Result<(), DriverError> {
        let state = self.read(id)?.and_then(|record| record.state);
        operation.check(state).map_err(|source| DriverError::Illegal { vm: id.clone(), source })
    }

    /// The record of a VM that is registered.
    pub(crate) fn known(&self, id: &VmId) -> Result<(Record, State), DriverError> {
        let record = self.read(id)?.ok_or_else(|| unknown(id, Operation::Start))?;
        let state = record.state.ok_or_else(|| unknown(id, Operation::Start))?;
        Ok((record, state))
    }

    /// Refuses what needs all of a VM's disks while part of them is at another host.
    pub(crate) fn expect_whole_disks(&self, record: &Record) -> Result<(), DriverError> {
        match record.behind {
            true => Err(DriverError::DisksBehind { vm: record.config.id.clone() }),
            false => Ok(()),
        }
    }

    /// Replaces the record.
    pub(crate) fn write(&self, record: &Record) -> Result<(), DriverError> {
        let id = &record.config.id;
        let folder = self.folder(id);
        let path = folder.join(RECORD);
        let save = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            serde_json::to_writer_pretty(&mut file, record)?;
            file.write_all(b"\n")?;
            file.as_file().sync_data()?;
            file.persist(&path)?;
            sync_folder(&folder)
        };
        save().map_err(DriverError::io(id, format!("write {}", path.display())))
    }

    /// Makes the folder of a VM.
    pub(crate) fn make_folder(&self, id: &VmId) -> Result<PathBuf, DriverError> {
        let folder = self.folder(id);
        fs::create_dir_all(&folder)
            .map_err(DriverError::io(id, format!("make the folder {}", folder.display())))?;
        Ok(folder)
    }

    /// Removes the folder of a VM: its record first, so that half of a folder is
    /// never taken for a VM.
    pub(crate) fn remove(&self, id: &VmId) -> Result<(), DriverError> {
        let folder = self.folder(id);
        let remove = || -> io::Result<()> {
            match fs::remove_file(folder.join(RECORD)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => sync_folder(&self.root),
            }
        };
        remove().map_err(DriverError::io(id, format!("remove {}", folder.display())))
    }

    /// The ids of all VMs that have a record here.
    pub(crate) fn ids(&self) -> Result<Vec<VmId>, DriverError> {
        let list = || -> io::Result<Vec<VmId>> {
            let mut ids = Vec::new();
            for entry in fs::read_dir(&self.root)? {
                let entry = entry?;
                let id = entry.file_name().to_str().and_then(|name| VmId::new(name).ok());
                ids.extend(id.filter(|_| entry.path().join(RECORD).exists()));
            }
            ids.sort();
            Ok(ids)
        };
        list().map_err(DriverError::folder(format!("list {}", self.root.display())))
    }

    /// The VM's disks, and its memory if that is in a file.
    pub(crate) fn files(&self, record: &Record) -> Result<Vec<VmFile>, DriverError> {
        let id = &record.config.id;
        let folder = self.folder(id);
        let disks = record.config.disks.iter().map(|disk| (disk.file_name(), FileKind::Disk));
        let memory = [(MEMORY.to_owned(), FileKind::Memory)].into_iter();
        let mut files = Vec::new();
        for (name, kind) in disks.chain(memory) {
            let path = folder.join(&name);
            match fs::metadata(&path) {
                Ok(metadata) => files.push(VmFile { name, kind, path, bytes: metadata.len() }),
                Err(error) if kind == FileKind::Memory && error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(DriverError::io(id, format!("look at {}", path.display()))(source));
                }
            }
        }
        Ok(files)
    }

    /// What an operation would destroy of a VM in its state.
    pub(crate) fn losses(&self, record: &Record, operation: Operation) -> Result<Vec<Loss>, DriverError> {
        let mut losses = Vec::new();
        if record.state == Some(State::Running) && operation == Operation::Stop {
            losses.push(Loss::RunningPrograms);
        }
        // What was handed over is at the other host.
        if record.state == Some(State::Departed) {
            return Ok(losses);
        }
        let is_deleted = operation == Operation::Delete;
        for file in self.files(record)? {
            let taken = fs::metadata(&file.path).map_or(file.bytes, |m| {
                use std::os::unix::fs::MetadataExt;
                m.blocks() * 512
            });
            match file.kind {
                FileKind::Disk if is_deleted => {
                    let stem = file.name.rsplit_once('.').map_or(file.name.as_str(), |(stem, _)| stem);
                    losses.push(Loss::Disk { name: stem.to_owned(), bytes: taken });
                }
                FileKind::Memory if is_deleted || operation == Operation::Stop => {
                    losses.push(Loss::SavedMemory { bytes: taken });
                }
                _ => {}
            }
        }
        Ok(losses)
    }

    /// Refuses when something would be lost without consent.
    pub(crate) fn ask(
        &self,
        record: &Record,
        operation: Operation,
        consent: crate::driver::Consent,
    ) -> Result<(), DriverError> {
        let losses = self.losses(record, operation)?;
        if losses.is_empty() || consent == crate::driver::Consent::Given {
            return Ok(());
        }
        Err(DriverError::WouldLose { vm: record.config.id.clone(), operation, losses })
    }
}

/// The error of an operation on a VM that isn't registered.
pub(crate) fn unknown(id: &VmId, operation: Operation) -> DriverError {
    let source = crate::state::IllegalTransition { state: None, operation };
    DriverError::Illegal { vm: id.clone(), source }
}

/// Makes what was renamed or removed in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks guard is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
