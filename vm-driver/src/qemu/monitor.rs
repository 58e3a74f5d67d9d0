//! QEMU as every driver's monitor.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ::qapi::qmp as api;
use rustix::process::Signal;
use vnet_core::control::PortKind;

use super::command_line::{self, Begin};
use super::{PATIENCE, Qemu, files, live, migration, remove_if_there};
use crate::config::{Attachment, Boot, VmConfig};
use crate::driver::{Capabilities, CpuShare, SuspendKind};
use crate::error::DriverError;
use crate::id::VmId;
use crate::io::process::{last_lines, set_nice, signal, wait_until};
use crate::io::tap;
use crate::managed::{Life, Monitor};
use crate::store::Record;

/// Unix sockets have room for 107 octets, and ours are called `/memory.sock` at most.
const MAX_FOLDER: usize = 107 - 12;

impl Monitor for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            suspend: SuspendKind::ToFile,
            adopts: true,
            cpu_share: true,
            memory: true,
            console: true,
            disks: true,
            graceful_stop: true,
            live: true,
            lazy_disks: true,
        }
    }

    fn check(&self, config: &VmConfig) -> Result<(), DriverError> {
        let wrong = |what: String| Err(DriverError::Config { vm: config.id.clone(), what });
        match &config.boot {
            Boot::Program { .. } => {
                return wrong("boot.program: QEMU runs machines; use the namespace driver".into());
            }
            Boot::Kernel { kernel, initrd, .. } => {
                for file in [Some(kernel), initrd.as_ref()].into_iter().flatten() {
                    if !file.is_file() {
                        return wrong(format!("boot.kernel: there is no file {}", file.display()));
                    }
                }
            }
            Boot::Disk if config.disks.is_empty() => {
                return wrong("boot: it has neither a disk nor a kernel to start from".into());
            }
            Boot::Disk => {}
        }
        Ok(())
    }

    fn life(&self, id: &VmId, folder: &Path) -> Result<Life, DriverError> {
        if self.process(folder).is_none() {
            self.connections.remove(id);
            if let Some(mut child) = self.children.remove(id) {
                wait_until(PATIENCE, || !matches!(child.try_wait(), Ok(None)));
            }
            return Ok(Life::Absent);
        }
        match self.with(id, folder, |qemu| qemu.run_state()) {
            Ok(api::RunState::running) => Ok(Life::Running),
            Ok(api::RunState::inmigrate) => Ok(Life::Waiting),
            Ok(_) => Ok(Life::Still),
            // It has ended while it was asked.
            Err(_) if wait_until(Duration::from_secs(1), || self.process(folder).is_none()) => {
                self.life(id, folder)
            }
            Err(error) => Err(error),
        }
    }

    fn pid(&self, _: &VmId, folder: &Path) -> Option<u32> {
        self.process(folder)
    }

    fn launch(&self, record: &Record, folder: &Path, memory: Option<&Path>) -> Result<(), DriverError> {
        let id = &record.config.id;
        let length = folder.as_os_str().len();
        if length > MAX_FOLDER {
            let what = format!(
                "its folder {} has {length} octets, and Unix sockets in it can't be longer than {MAX_FOLDER}; \
                 use a shorter one",
                folder.display()
            );
            return Err(DriverError::Config { vm: id.clone(), what });
        }
        let Some(memory) = memory else { return self.run(record, folder, Begin::Fresh) };
        self.run(record, folder, Begin::From(memory))?;
        loop {
            match self.with(id, folder, |qemu| qemu.run_state())? {
                api::RunState::inmigrate => std::thread::sleep(Duration::from_millis(2)),
                _ => return Ok(()),
            }
        }
    }

    fn go(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        self.with(id, folder, |qemu| {
            migration::cancel(qemu)?;
            qemu.call("let it run", &api::cont {}).map(|_| ())
        })
    }

    fn announce(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        self.with(id, folder, migration::announce)
    }

    fn freeze(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        self.with(id, folder, |qemu| qemu.call("let it stand still", &api::stop {}).map(|_| ()))
    }

    fn save(&self, id: &VmId, folder: &Path, memory: &Path) -> Result<(), DriverError> {
        const ACTION: &str = "save its memory";
        self.with(id, folder, |qemu| {
            // It stands still already.
            migration::set_limits(qemu, 1000)?;
            migration::set_capabilities(qemu, &[])?;
            let uri = format!("exec:cat > {}", command_line::quoted(memory));
            qemu.call(ACTION, &migration::migrate_to(uri))?;
            loop {
                let migration = qemu.migration()?;
                match migration.status.as_str() {
                    "completed" => return Ok(()),
                    "failed" | "cancelled" => {
                        let why = migration.error_desc.unwrap_or_else(|| "QEMU gives no reason".into());
                        return Err(qemu.error(ACTION, why));
                    }
                    _ => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        })
    }

    fn shut_down(&self, id: &VmId, folder: &Path, patience: Duration) -> Result<bool, DriverError> {
        self.with(id, folder, |qemu| {
            qemu.call("press its power button", &api::system_powerdown {}).map(|_| ())
        })?;
        Ok(wait_until(patience, || self.process(folder).is_none()))
    }

    fn end(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        if let Some(pid) = self.process(folder) {
            // What it has in its buffers goes to the disks. If it can't answer any
            // more, that is lost, as at a power failure.
            let asked = self.with(id, folder, |qemu| qemu.call("end it", &api::quit {}).map(|_| ()));
            if asked.is_err() || !wait_until(PATIENCE, || self.process(folder).is_none()) {
                signal(pid, Signal::KILL).map_err(DriverError::io(id, "end QEMU"))?;
                wait_until(PATIENCE, || self.process(folder).is_none());
            }
        }
        self.connections.remove(id);
        if let Some(mut child) = self.children.remove(id) {
            if self.process(folder).is_none()
                && !wait_until(PATIENCE, || !matches!(child.try_wait(), Ok(None)))
            {
                // It has not come as far as to answer.
                let _ = child.kill();
            }
            child.wait().map_err(DriverError::io(id, "wait for QEMU"))?;
        }
        [files::QMP, files::SERIAL, files::PID, live::MEMORY_SOCKET, live::DISKS_SOCKET]
            .iter()
            .try_for_each(|name| remove_if_there(&folder.join(name)))
            .map_err(DriverError::io(id, "remove what QEMU has left"))?;
        self.remove_taps(id, folder)
    }

    fn epitaph(&self, _: &VmId, folder: &Path) -> String {
        let console = fs::read(folder.join(files::CONSOLE_LOG)).unwrap_or_default();
        let console = String::from_utf8_lossy(&console[console.len().saturating_sub(8 << 10)..]).into_owned();
        let panic = console.lines().rev().find(|line| line.contains("Kernel panic"));
        match (panic, last_lines(&folder.join(files::LOG))) {
            (Some(panic), _) => format!("its kernel has given up: {}", panic.trim()),
            (None, log) if log.is_empty() => "QEMU has ended (shut down by the guest, or killed)".into(),
            (None, log) => format!("QEMU has ended; its log ends with: {log}"),
        }
    }

    fn set_cpu_share(&self, id: &VmId, folder: &Path, share: CpuShare) -> Result<(), DriverError> {
        let Some(pid) = self.process(folder) else { return Ok(()) };
        set_nice(pid, share.nice()).map_err(DriverError::io(id, "set the priority of QEMU's threads"))
    }

    fn set_memory(&self, id: &VmId, folder: &Path, bytes: u64) -> Result<(), DriverError> {
        // A VM has less than 2^63 octets.
        let value = bytes.cast_signed();
        self.with(id, folder, |qemu| {
            qemu.call("set the size of its balloon", &api::balloon { value }).map(|_| ())
        })
    }

    fn memory(&self, id: &VmId, folder: &Path) -> Result<Option<u64>, DriverError> {
        self.with(id, folder, |qemu| {
            let info = qemu.call("ask for the size of its balloon", &api::query_balloon {})?;
            Ok(u64::try_from(info.actual).ok())
        })
    }

    fn console(&self, id: &VmId, folder: &Path) -> Result<Option<SocketAddr>, DriverError> {
        let info = self.with(id, folder, |qemu| qemu.call("ask for its screen", &api::query_vnc {}))?;
        let host = info.host.and_then(|host| host.parse::<IpAddr>().ok());
        let port = info.service.and_then(|service| service.parse::<u16>().ok());
        Ok(host.zip(port).map(SocketAddr::from))
    }

    fn ports(&self, record: &Record, folder: &Path) -> Result<Vec<Option<PortKind>>, DriverError> {
        let port = |nic: &crate::config::NicConfig| match nic.attachment {
            Attachment::Tap => {
                Some(PortKind::Packet { device: tap::device_name(folder, nic.mac), netns: None })
            }
            Attachment::Stream { .. } => None,
        };
        Ok(record.config.nics.iter().map(port).collect())
    }
}

impl Qemu {
    /// Removes the TAP devices that the record in the folder names.
    fn remove_taps(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        let Ok(text) = fs::read_to_string(folder.join(crate::store::RECORD)) else { return Ok(()) };
        // What can't be read was refused before, with its own error.
        let Ok(record) = serde_json::from_str::<Record>(&text) else { return Ok(()) };
        for nic in record.config.nics.iter().filter(|nic| nic.attachment == Attachment::Tap) {
            let name = tap::device_name(folder, nic.mac);
            tap::remove(&name).map_err(DriverError::io(id, format!("remove the TAP device {name}")))?;
        }
        Ok(())
    }
}
