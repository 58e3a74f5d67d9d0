//! Moving a VM while it runs.
//!
//! The monitors at both hosts copy disks and memory while the VM runs on at the
//! origin. They talk through Unix sockets, so that whoever drives the migration
//! decides how bytes cross the network (and encrypts them). At the end the VM
//! stands still at the origin, and only when the caller agrees does the last of
//! it cross: that is the instant of hand-over.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::VmConfig;
use crate::error::DriverError;
use crate::id::VmId;

/// Live migration out and in.
pub trait LiveMigration: Send + Sync {
    /// Gets ready for a VM: makes its disks and a monitor that waits. The VM is
    /// [`Incoming`](crate::State::Incoming) then.
    fn receive(&self, config: &VmConfig, version: u64) -> Result<Sockets, DriverError>;

    /// As [`LiveMigration::receive`], for a VM that is to run here before its disks are here:
    /// they begin empty, as qcow2 files whatever they were, and take what they don't hold
    /// from [`Sockets::disks`] (NBD, each an export of its name). The caller listens there,
    /// and is connected to what [`LiveMigration::serve_disks`] of the other host gives, from
    /// before [`LiveMigration::has_arrived`] until [`LiveMigration::fetch_disks`] says that all
    /// is here, also each time that the VM is started anew. Lost connections are waited for.
    ///
    /// # Errors
    /// [`DriverError::Unsupported`] where [`Capabilities::lazy_disks`](crate::Capabilities) is not.
    fn receive_before_disks(&self, config: &VmConfig, version: u64) -> Result<Sockets, DriverError>;

    /// Fetches, in the background, what the disks of a running VM don't hold yet. How much is
    /// missing; `None`: nothing is (any more), and the other host's disks are not needed.
    fn fetch_disks(&self, id: &VmId) -> Result<Option<LiveProgress>, DriverError>;

    /// Lets the disks of a VM that was handed over be read, as the exports that
    /// [`LiveMigration::receive_before_disks`] wants: the Unix socket. Once is enough, and
    /// goes on when this process ends.
    ///
    /// # Errors
    /// As [`LiveMigration::receive_before_disks`].
    fn serve_disks(&self, id: &VmId) -> Result<PathBuf, DriverError>;

    /// Nobody reads the disks any more.
    fn end_serving(&self, id: &VmId) -> Result<(), DriverError>;

    /// All that its disks hold is here, and what changes there changes here: from now on
    /// they stay even if its monitor ends, and the VM is [`Stopped`](crate::State::Stopped)
    /// then. [`LiveMigration::has_arrived`] notes that too, but while the VM stands still;
    /// whoever knows when memory begins to come says it then.
    fn keep_disks(&self, id: &VmId) -> Result<(), DriverError>;

    /// Has the VM arrived, whole? Waits up to `patience` until the monitor says
    /// that it runs. It doesn't leave the state `Incoming` before
    /// [`LiveMigration::arrive`]. When it has, its disks are whole: should its monitor end
    /// before `arrive`, the VM is [`Stopped`](crate::State::Stopped).
    fn has_arrived(&self, id: &VmId, patience: Duration) -> Result<bool, DriverError>;

    /// The VM has arrived: it is an ordinary, running one of this host.
    fn arrive(&self, id: &VmId) -> Result<(), DriverError>;

    /// The VM won't arrive: its monitor ends, and what was received is removed. That
    /// there is nothing any more is no error.
    fn abandon(&self, id: &VmId) -> Result<(), DriverError>;

    /// Sends a running VM to the monitor behind these sockets. `agree` is asked
    /// once, when the VM stands still and all but the last of it is there; when it
    /// answers `false`, or anything fails before, the VM runs on here.
    ///
    /// When this returns `Ok`, the VM is [`Departed`](crate::State::Departed)
    /// here and stands still. An error after `agree` has answered `true` leaves
    /// it departed too, if the other side may have it:
    /// [`LiveError::Uncertain`]. Ask the other side, then take it back or let it go.
    fn send(
        &self,
        id: &VmId,
        to: &Sockets,
        report: &mut dyn FnMut(LiveProgress),
        agree: &mut dyn FnMut() -> bool,
    ) -> Result<LiveSummary, LiveError>;
}

/// Where a waiting monitor takes a VM in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// For its memory and devices.
    pub memory: PathBuf,
    /// For all its disks (NBD, each an export of its name); `None`: it has none, or the
    /// destination doesn't wait for them.
    pub disks: Option<PathBuf>,
}

/// How far a live migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveProgress {
    /// Bytes that have crossed.
    pub sent_bytes: u64,
    /// Bytes that are still to cross, as known now.
    pub left_bytes: u64,
    /// Does it stand still already?
    pub is_still: bool,
}

/// What a live migration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSummary {
    /// How long the monitor says that the VM stood still.
    pub still: Duration,
    /// Bytes of memory that have crossed.
    pub memory_bytes: u64,
}

/// Why a live migration failed.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// It failed, and the VM runs on where it was.
    #[error("{0}; the VM runs on where it was")]
    RunsOn(#[source] DriverError),
    /// The caller did not agree to the hand-over; the VM runs on where it was.
    #[error("the hand-over of VM `{vm}` was refused; it runs on where it was")]
    Refused {
        /// The VM.
        vm: VmId,
    },
    /// It is not known at this host whether the other one has the VM.
    #[error("{0}; the VM stands still here: ask the other host whether it has it")]
    Uncertain(#[source] DriverError),
}
