//! A monitor that simulates its VMs, with a virtual clock and faults on request.
//!
//! Its VMs have real disks (files), so that migrations of them can be tested;
//! their processors and memory are a counter that grows with the virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vnet_core::control::PortKind;

use crate::config::VmConfig;
use crate::driver::{Capabilities, CpuShare, Driver, SuspendKind};
use crate::error::DriverError;
use crate::id::VmId;
use crate::managed::{Life, Managed, MaybeLive, Monitor};
use crate::state::Operation;
use crate::store::{Record, locked};

/// How fast an ordinary VM counts.
pub const TICKS_PER_SECOND: u64 = 1000;

/// A machine that runs simulated VMs: what survives when a driver's process ends.
/// Clones are the same machine.
#[derive(Clone, Debug, Default)]
pub struct Machine(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    vms: BTreeMap<VmId, Guest>,
    faults: VecDeque<Fault>,
}

#[derive(Debug)]
struct Guest {
    is_running: bool,
    /// Ticks, and the rest in billionths of one.
    ticks: u64,
    rest: u64,
    share: CpuShare,
    memory_bytes: u64,
}

/// A fault that a driver meets once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In which operation of the monitor: `Start` and `Resume` fail to launch,
    /// `Suspend` fails to save, `Stop` ignores the guest's being asked.
    pub operation: Operation,
}

impl Machine {
    /// A machine without VMs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the virtual clock go on.
    pub fn advance(&self, time: Duration) {
        for guest in locked(&self.0).vms.values_mut().filter(|guest| guest.is_running) {
            let nanoseconds = time.as_nanos() as u64 * u64::from(guest.share.weight()) / 100;
            let units = guest.rest + nanoseconds * TICKS_PER_SECOND;
            guest.ticks += units / 1_000_000_000;
            guest.rest = units % 1_000_000_000;
        }
    }

    /// What a VM has counted to; `None`: it isn't on.
    pub fn ticks(&self, id: &VmId) -> Option<u64> {
        locked(&self.0).vms.get(id).map(|guest| guest.ticks)
    }

    /// Ends the monitor of a VM, as `kill -9` does. Was there one?
    pub fn kill(&self, id: &VmId) -> bool {
        locked(&self.0).vms.remove(id).is_some()
    }

    /// Turns the machine off and on again: no VM runs.
    pub fn power_cycle(&self) {
        locked(&self.0).vms.clear();
    }

    /// The next operation of this kind fails.
    pub fn inject(&self, fault: Fault) {
        locked(&self.0).faults.push_back(fault);
    }

    fn meets(&self, operation: Operation) -> bool {
        let faults = &mut locked(&self.0).faults;
        let found = faults.iter().position(|fault| fault.operation == operation);
        found.is_some_and(|at| faults.remove(at).is_some())
    }

    fn guest<T>(&self, id: &VmId, work: impl FnOnce(&mut Guest) -> T) -> Result<T, DriverError> {
        let mut inner = locked(&self.0);
        let guest = inner.vms.get_mut(id).ok_or_else(|| DriverError::Monitor {
            vm: id.clone(),
            action: "reach its monitor".into(),
            answer: "it has ended".into(),
            log: String::new(),
        })?;
        Ok(work(guest))
    }
}

/// A driver of simulated VMs on `machine`, which keeps them in the folder `root`.
///
/// # Errors
/// The folder can't be used, or a record in it is damaged.
pub fn open(root: &Path, machine: &Machine) -> Result<impl Driver + use<>, DriverError> {
    Managed::open(root, machine.clone())
}

impl MaybeLive for Managed<Machine> {}

impl Monitor for Machine {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            suspend: SuspendKind::ToFile,
            adopts: true,
            cpu_share: true,
            memory: true,
            console: false,
            disks: true,
            graceful_stop: true,
            live: false,
            lazy_disks: false,
        }
    }

    fn check(&self, config: &VmConfig) -> Result<(), DriverError> {
        if config.console {
            let what = "console = true: simulated VMs have no screen".into();
            return Err(DriverError::Config { vm: config.id.clone(), what });
        }
        Ok(())
    }

    fn life(&self, id: &VmId, _: &Path) -> Result<Life, DriverError> {
        Ok(match locked(&self.0).vms.get(id) {
            None => Life::Absent,
            Some(guest) if guest.is_running => Life::Running,
            Some(_) => Life::Still,
        })
    }

    fn pid(&self, _: &VmId, _: &Path) -> Option<u32> {
        None
    }

    fn launch(&self, record: &Record, _: &Path, memory: Option<&Path>) -> Result<(), DriverError> {
        let id = &record.config.id;
        let operation = if memory.is_some() { Operation::Resume } else { Operation::Start };
        if self.meets(operation) {
            return Err(DriverError::Injected { vm: id.clone(), operation });
        }
        let ticks = match memory {
            None => 0,
            Some(path) => {
                let action = || format!("read {}", path.display());
                let text = fs::read_to_string(path).map_err(DriverError::io(id, action()))?;
                text.trim().parse().map_err(|error: std::num::ParseIntError| DriverError::Monitor {
                    vm: id.clone(),
                    action: action(),
                    answer: error.to_string(),
                    log: String::new(),
                })?
            }
        };
        let memory_bytes = record.config.memory_bytes;
        let guest = Guest { is_running: false, ticks, rest: 0, share: record.cpu_share, memory_bytes };
        locked(&self.0).vms.insert(id.clone(), guest);
        Ok(())
    }

    fn go(&self, id: &VmId, _: &Path) -> Result<(), DriverError> {
        self.guest(id, |guest| guest.is_running = true)
    }

    fn freeze(&self, id: &VmId, _: &Path) -> Result<(), DriverError> {
        self.guest(id, |guest| guest.is_running = false)
    }

    fn save(&self, id: &VmId, _: &Path, memory: &Path) -> Result<(), DriverError> {
        if self.meets(Operation::Suspend) {
            return Err(DriverError::Injected { vm: id.clone(), operation: Operation::Suspend });
        }
        let ticks = self.guest(id, |guest| guest.ticks)?;
        fs::write(memory, format!("{ticks}\n"))
            .map_err(DriverError::io(id, format!("write {}", memory.display())))
    }

    fn shut_down(&self, id: &VmId, _: &Path, _: Duration) -> Result<bool, DriverError> {
        if self.meets(Operation::Stop) {
            return Ok(false);
        }
        self.kill(id);
        Ok(true)
    }

    fn end(&self, id: &VmId, _: &Path) -> Result<(), DriverError> {
        self.kill(id);
        Ok(())
    }

    fn epitaph(&self, _: &VmId, _: &Path) -> String {
        "its simulated monitor was killed".into()
    }

    fn set_cpu_share(&self, id: &VmId, _: &Path, share: CpuShare) -> Result<(), DriverError> {
        self.guest(id, |guest| guest.share = share)
    }

    fn set_memory(&self, id: &VmId, _: &Path, bytes: u64) -> Result<(), DriverError> {
        self.guest(id, |guest| guest.memory_bytes = bytes)
    }

    fn memory(&self, id: &VmId, _: &Path) -> Result<Option<u64>, DriverError> {
        self.guest(id, |guest| Some(guest.memory_bytes))
    }

    fn console(&self, _: &VmId, _: &Path) -> Result<Option<SocketAddr>, DriverError> {
        Ok(None)
    }

    fn ports(&self, record: &Record, _: &Path) -> Result<Vec<Option<PortKind>>, DriverError> {
        Ok(vec![None; record.config.nics.len()])
    }
}
