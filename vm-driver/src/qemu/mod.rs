//! VMs under QEMU: a process for each, spoken to through QMP.
//!
//! What is in a VM's folder while it runs:
//!
//! | file | is |
//! | --- | --- |
//! | `qmp.sock` | QEMU's monitor |
//! | `serial.sock`, `console.log` | its first serial line, and what was written to it |
//! | `qemu.log` | what QEMU has said |
//! | `pid` | QEMU's process |
//!
//! A network card with the TAP [`Attachment`] is a TAP device
//! of this network namespace that QEMU reads; the daemon opens it with a packet
//! socket, as [`Driver::ports`] says.

mod acceleration;
mod behind;
mod command_line;
pub mod guest;
mod live;
mod migration;
mod monitor;
mod qmp;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config::Attachment;
use crate::driver::Driver;
use crate::error::DriverError;
use crate::id::VmId;
use crate::io::process::{is_ours, last_lines, spawn, wait_until};
use crate::io::tap;
use crate::managed::{Managed, PerVm};
use crate::store::Record;

use command_line::Begin;
use qmp::Connection;

pub use acceleration::Acceleration;

/// The files in a VM's folder.
pub mod files {
    /// QEMU's monitor.
    pub const QMP: &str = "qmp.sock";
    /// The first serial line, as a Unix socket.
    pub const SERIAL: &str = "serial.sock";
    /// What was written to the first serial line.
    pub const CONSOLE_LOG: &str = "console.log";
    /// What QEMU has said.
    pub const LOG: &str = "qemu.log";
    /// QEMU's process.
    pub const PID: &str = "pid";
    /// Where what its disks don't hold yet comes from.
    pub const BEHIND: &str = "behind.sock";
    /// Where its disks are read after it has left.
    pub const SERVE: &str = "serve.sock";
    /// The process that lets them be read.
    pub const SERVE_PID: &str = "serve.pid";
    /// What that has said.
    pub const SERVE_LOG: &str = "serve.log";
}

/// How long QEMU may take to start, to stop and to load, beyond what it does.
const PATIENCE: Duration = Duration::from_secs(30);

/// How QEMU is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub program: PathBuf,
    /// How guests' instructions are executed.
    pub acceleration: Acceleration,
}

impl Default for Options {
    fn default() -> Self {
        Self { program: "qemu-system-x86_64".into(), acceleration: Acceleration::Auto }
    }
}

/// A driver of QEMU, which keeps its VMs in the folder `root`.
///
/// # Errors
/// QEMU is not installed, the folder can't be used, or a record in it is damaged.
pub fn open(root: &Path, options: Options) -> Result<impl Driver + use<>, DriverError> {
    let found = Command::new(&options.program).arg("--version").output();
    found.map_err(|source| DriverError::Program {
        program: options.program.display().to_string(),
        package: "qemu-system-x86",
        source,
    })?;
    let chosen = Arc::new(OnceLock::new());
    // A trial that hangs takes seconds: better now than when a VM arrives.
    let (early, copy) = (Arc::clone(&chosen), options.clone());
    let trial = std::thread::Builder::new().name("vm-driver-trial".into());
    trial.spawn(move || choose(&early, &copy)).map_err(DriverError::folder("start a thread"))?;
    let (connections, children, serving) = (PerVm::new(), PerVm::new(), PerVm::new());
    let qemu = Qemu { options, chosen, connections, children, serving };
    Managed::open(root, qemu)
}

fn choose(chosen: &OnceLock<Acceleration>, options: &Options) -> Acceleration {
    *chosen.get_or_init(|| match options.acceleration {
        Acceleration::Auto if acceleration::kvm_works(&options.program) => Acceleration::Kvm,
        Acceleration::Auto => {
            tracing::info!("KVM does not run guests on this machine: QEMU translates them (TCG)");
            Acceleration::Tcg
        }
        chosen => chosen,
    })
}

pub(crate) struct Qemu {
    options: Options,
    chosen: Arc<OnceLock<Acceleration>>,
    /// QEMU talks to one client at a time.
    connections: PerVm<Connection>,
    /// The processes that this one has started, to be collected.
    children: PerVm<Child>,
    /// Those that let disks be read.
    serving: PerVm<Child>,
}

impl Qemu {
    fn acceleration(&self) -> Acceleration {
        choose(&self.chosen, &self.options)
    }

    /// The process of a VM, if there is one.
    fn process(&self, folder: &Path) -> Option<u32> {
        let pid: u32 = fs::read_to_string(folder.join(files::PID)).ok()?.trim().parse().ok()?;
        is_ours(pid, &folder.join(files::QMP).display().to_string()).then_some(pid)
    }

    /// Talks to the monitor of a VM.
    fn with<T>(
        &self,
        id: &VmId,
        folder: &Path,
        work: impl FnOnce(&mut Connection) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mut connection = match self.connections.remove(id) {
            Some(connection) => connection,
            None => self.connect(id, folder)?,
        };
        let result = work(&mut connection);
        // A connection on which something failed may be out of step.
        if result.is_ok() {
            self.connections.insert(id, connection);
        }
        result
    }

    fn connect(&self, id: &VmId, folder: &Path) -> Result<Connection, DriverError> {
        let (socket, log) = (folder.join(files::QMP), folder.join(files::LOG));
        let mut last = None;
        wait_until(PATIENCE, || match Connection::open(id, &socket, &log) {
            Ok(connection) => {
                last = Some(Ok(connection));
                true
            }
            Err(error) => {
                last = Some(Err(error));
                self.has_ended(id, folder)
            }
        });
        match last {
            Some(Ok(connection)) => Ok(connection),
            Some(Err(error)) => Err(DriverError::Monitor {
                vm: id.clone(),
                action: "reach QEMU".into(),
                answer: error.to_string(),
                log: last_lines(&log),
            }),
            None => unreachable!("it is tried once at least"),
        }
    }

    /// Has QEMU ended? Before its first breath it has neither written its id nor ended.
    fn has_ended(&self, id: &VmId, folder: &Path) -> bool {
        if let Some(mut child) = self.children.remove(id) {
            if matches!(child.try_wait(), Ok(None)) {
                self.children.insert(id, child);
                return false;
            }
            return true;
        }
        self.process(folder).is_none()
    }

    /// Starts QEMU and waits until it answers.
    fn run(&self, record: &Record, folder: &Path, begin: Begin<'_>) -> Result<(), DriverError> {
        let config = &record.config;
        let id = &config.id;
        let stale = [files::QMP, files::SERIAL, files::PID];
        stale
            .iter()
            .try_for_each(|name| remove_if_there(&folder.join(name)))
            .map_err(DriverError::io(id, "remove what an earlier QEMU has left"))?;
        for nic in config.nics.iter().filter(|nic| nic.attachment == Attachment::Tap) {
            let name = tap::device_name(folder, nic.mac);
            tap::make(&name, None, None)
                .map_err(DriverError::io(id, format!("make the TAP device {name}")))?;
        }
        let mut command = Command::new(&self.options.program);
        command.args(command_line::arguments(record, folder, self.acceleration(), begin));
        let child = spawn(&mut command, &folder.join(files::LOG)).map_err(|source| DriverError::Program {
            program: self.options.program.display().to_string(),
            package: "qemu-system-x86",
            source,
        })?;
        self.connections.remove(id);
        self.children.insert(id, child);
        self.with(id, folder, |qemu| qemu.run_state()).map(|_| ())
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
