//! The trait that every driver implements.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vnet_core::control::PortKind;

use crate::config::VmConfig;
use crate::error::{DriverError, Loss};
use crate::id::VmId;
use crate::live::LiveMigration;
use crate::state::{Operation, State};

/// A virtual machine monitor.
///
/// Calls block until they are done. Different VMs can be worked on by different
/// threads at once; calls about the same VM wait for each other. Whatever a call
/// has promised survives the driver's process: opening the same folder again
/// gives the same VMs, and those that run go on running (if
/// [`Capabilities::adopts`]). The [`conformance`](crate::conformance) suite
/// checks all of it.
pub trait Driver: Send + Sync {
    /// The driver's name.
    fn name(&self) -> &'static str;

    /// What the monitor can do on this machine.
    fn capabilities(&self) -> Capabilities;

    /// The folder where each VM has a folder of its own, by its id.
    fn root(&self) -> &Path;

    /// Makes a VM; it is stopped then.
    fn create(&self, config: &VmConfig) -> Result<(), DriverError>;

    /// Makes a VM known whose files are in its folder already, as a migration
    /// has put them there. It is `Stopped` or `Suspended` then, as told.
    fn register(&self, config: &VmConfig, state: State, version: u64) -> Result<(), DriverError>;

    /// Forgets a VM. Its files stay, and can be registered again.
    fn unregister(&self, id: &VmId) -> Result<(), DriverError>;

    /// Turns a VM on.
    fn start(&self, id: &VmId) -> Result<(), DriverError>;

    /// Turns a VM off.
    fn stop(&self, id: &VmId, how: Stop) -> Result<(), DriverError>;

    /// Lets a VM stand still, with its memory kept.
    fn suspend(&self, id: &VmId) -> Result<(), DriverError>;

    /// Lets a suspended VM go on.
    fn resume(&self, id: &VmId) -> Result<(), DriverError>;

    /// Removes a VM and its files.
    fn delete(&self, id: &VmId, consent: Consent) -> Result<(), DriverError>;

    /// What is known of a VM.
    fn status(&self, id: &VmId) -> Result<VmStatus, DriverError>;

    /// All VMs that are known here, by id.
    fn list(&self) -> Result<Vec<VmStatus>, DriverError>;

    /// What would be lost by an operation now.
    fn losses(&self, id: &VmId, operation: Operation) -> Result<Vec<Loss>, DriverError>;

    /// Changes a VM's share of the processors.
    fn set_cpu_share(&self, id: &VmId, share: CpuShare) -> Result<(), DriverError>;

    /// Changes how much memory a running VM may use, up to what it was
    /// configured with. What it has grows or shrinks as the guest lets it.
    fn set_memory(&self, id: &VmId, bytes: u64) -> Result<(), DriverError>;

    /// Where a VNC client reaches the screen of a running VM; `None`: it has none.
    fn console(&self, id: &VmId) -> Result<Option<SocketAddr>, DriverError>;

    /// What a daemon on this host opens to have the frames of a running VM's
    /// network cards, in their order; `None`: it goes through a stream socket.
    fn ports(&self, id: &VmId) -> Result<Vec<Option<PortKind>>, DriverError>;

    /// The files of a VM that doesn't run: what a migration carries.
    fn files(&self, id: &VmId) -> Result<Vec<VmFile>, DriverError>;

    /// Marks a VM as handed over to another host: it can't run here any more.
    fn hand_over(&self, id: &VmId) -> Result<(), DriverError>;

    /// The other host doesn't have it: it is again what it was before
    /// [`Driver::hand_over`], and runs if it ran.
    fn take_back(&self, id: &VmId) -> Result<State, DriverError>;

    /// Live migration, where the monitor can.
    fn live(&self) -> Option<&dyn LiveMigration> {
        None
    }
}

/// What a monitor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// How it suspends.
    pub suspend: SuspendKind,
    /// Its VMs run on when the driver's process ends, and are found again.
    pub adopts: bool,
    /// [`Driver::set_cpu_share`].
    pub cpu_share: bool,
    /// [`Driver::set_memory`].
    pub memory: bool,
    /// [`Driver::console`].
    pub console: bool,
    /// VMs can have disks.
    pub disks: bool,
    /// VMs can be asked to shut down by themselves.
    pub graceful_stop: bool,
    /// [`Driver::live`].
    pub live: bool,
    /// [`LiveMigration::receive_before_disks`].
    pub lazy_disks: bool,
}

/// How a monitor suspends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuspendKind {
    /// To a file, which can move to another host.
    ToFile,
    /// In place: the host must not be turned off, and the VM can't move.
    InPlace,
}

/// How a VM is turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is asked to shut down, and given this long.
    Graceful(Duration),
    /// At once, whatever it does.
    Force(Consent),
}

/// May something be lost?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// No: the answer lists what would be lost.
    Withheld,
    /// Yes.
    Given,
}

/// A VM's share of the processors when there are not enough for all, relative
/// to others: 1 to 10,000, and 100 is ordinary (as `cpu.weight` of cgroups).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuShare(u32);

impl CpuShare {
    /// What a VM has unless told otherwise.
    pub const ORDINARY: Self = Self(100);

    /// The share; values outside 1 to 10,000 become the nearest one in it.
    pub fn new(weight: u32) -> Self {
        Self(weight.clamp(1, 10_000))
    }

    /// As a number.
    pub const fn weight(self) -> u32 {
        self.0
    }

    /// The nice value whose weight in the kernel's scheduler is nearest: each
    /// step is a factor of 1.25 (sched(7), `sched_prio_to_weight`).
    pub fn nice(self) -> i32 {
        let steps = (f64::from(self.0) / 100.0).ln() / 1.25_f64.ln();
        (-steps.round() as i32).clamp(-20, 19)
    }
}

/// What is known of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmStatus {
    /// What it was made from.
    pub config: VmConfig,
    /// Its state.
    pub state: State,
    /// Grows with every change of state of which something is kept: a VM's
    /// files at two hosts are compared by it.
    pub version: u64,
    /// Its share of the processors.
    pub cpu_share: CpuShare,
    /// Memory that it may use now, in bytes.
    pub memory_bytes: u64,
    /// The monitor's process.
    pub pid: Option<u32>,
    /// Why it stopped, when it did so by itself.
    pub ended: Option<String>,
}

/// A file of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmFile {
    /// Its name in the VM's folder.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Where it is.
    pub path: PathBuf,
    /// How long it is, in bytes.
    pub bytes: u64,
}

/// What a file of a VM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A disk.
    Disk,
    /// What it had in memory when it was suspended.
    Memory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_nice_values() {
        let nice = |weight| CpuShare::new(weight).nice();
        assert_eq!((nice(100), nice(1), nice(10_000), nice(0)), (0, 19, -20, 19));
        assert_eq!((nice(125), nice(80)), (-1, 1));
    }
}
