//! What can go wrong with VMs.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::id::VmId;
use crate::state::{IllegalTransition, Operation};

/// Why a driver did not do what it was asked for. The VM is as it was, unless
/// the error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A configuration that can't be.
    #[error("VM `{vm}`: {what}")]
    Config {
        /// The VM.
        vm: VmId,
        /// The field, and what it may be.
        what: String,
    },
    /// The VM's state forbids it.
    #[error("VM `{vm}`: {source}")]
    Illegal {
        /// The VM.
        vm: VmId,
        /// What, and what would be legal.
        source: IllegalTransition,
    },
    /// The monitor can't do that.
    #[error("the {driver} driver can't {what}; ask its capabilities")]
    Unsupported {
        /// The driver.
        driver: &'static str,
        /// What.
        what: &'static str,
    },
    /// Something would be lost, and the caller has not consented to it.
    #[error("to {operation} VM `{vm}` would lose {}; ask again with consent", list(.losses))]
    WouldLose {
        /// The VM.
        vm: VmId,
        /// What was asked for.
        operation: Operation,
        /// What would be lost.
        losses: Vec<Loss>,
    },
    /// The VM was asked to end and has not.
    #[error(
        "VM `{vm}` still runs, {patience:?} after it was asked to shut down; stop it by force, or wait longer"
    )]
    StillRuns {
        /// The VM.
        vm: VmId,
        /// How long was waited.
        patience: Duration,
    },
    /// The monitor refused, or said something unexpected.
    #[error("VM `{vm}`: could not {action}: {answer}{}", tail(.log))]
    Monitor {
        /// The VM.
        vm: VmId,
        /// What was tried.
        action: String,
        /// What the monitor said.
        answer: String,
        /// The last lines of its log; empty if it has none.
        log: String,
    },
    /// Its disks are not all here.
    #[error("VM `{vm}` has come before its disks, and they are still coming: let it run until they are here")]
    DisksBehind {
        /// The VM.
        vm: VmId,
    },
    /// A file or process of the VM could not be used.
    #[error("VM `{vm}`: could not {action}: {source}")]
    Io {
        /// The VM.
        vm: VmId,
        /// What was tried, with the path.
        action: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The driver's own folder could not be used.
    #[error("could not {action}: {source}")]
    Folder {
        /// What was tried, with the path.
        action: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The record of a VM is not what a driver has written.
    #[error("{}: {why}; it was not written by this program, or the disk has lost data", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A program that the driver needs is not there.
    #[error("{program} can't be run ({source}): install the package {package}")]
    Program {
        /// The program.
        program: String,
        /// Debian's name of the package that has it.
        package: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A fault that a test has asked for.
    #[error("VM `{vm}`: injected fault in {operation}")]
    Injected {
        /// The VM.
        vm: VmId,
        /// Where.
        operation: Operation,
    },
}

/// Something that an operation would destroy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Programs run, and have unsaved state.
    RunningPrograms,
    /// The memory of a suspended VM.
    SavedMemory {
        /// How much, where it is in a file.
        bytes: u64,
    },
    /// A disk that this host alone may have.
    Disk {
        /// Its name.
        name: String,
        /// How much room its file takes.
        bytes: u64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunningPrograms => f.write_str("what its programs have in memory"),
            Self::SavedMemory { bytes } => write!(f, "its saved memory ({} KiB)", bytes >> 10),
            Self::Disk { name, bytes } => write!(f, "its disk `{name}` ({} KiB)", bytes >> 10),
        }
    }
}

fn list(losses: &[Loss]) -> String {
    losses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn tail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; its log ends with: {log}") }
}

impl DriverError {
    pub(crate) fn io(vm: &VmId, action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let (vm, action) = (vm.clone(), action.into());
        move |source| Self::Io { vm, action, source }
    }

    pub(crate) fn folder(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Folder { action, source }
    }
}
