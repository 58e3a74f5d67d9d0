//! Live migration: disks by mirroring them to the other QEMU over NBD while the
//! VM runs, memory by pre-copy, and a hand-over that the caller agrees to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::qapi::qmp as api;
use serde_json::json;

use crate::config::{DiskConfig, DiskFormat, VmConfig};
use crate::disk;
use crate::error::DriverError;
use crate::id::VmId;
use crate::live::{LiveError, LiveMigration, LiveProgress, LiveSummary, Sockets};
use crate::managed::{Managed, MaybeLive, Monitor};
use crate::state::{Operation, State};
use crate::store::Record;

use super::command_line::Begin;
use super::migration::{Finished, cancel, copy, finish, made, remove_mirrors, set_capabilities};
use super::{Qemu, behind, files};

pub(super) const MEMORY_SOCKET: &str = "memory.sock";
pub(super) const DISKS_SOCKET: &str = "disks.sock";

impl MaybeLive for Managed<Qemu> {
    fn maybe_live(&self) -> Option<&dyn LiveMigration> {
        Some(self)
    }
}

impl LiveMigration for Managed<Qemu> {
    fn receive(&self, config: &VmConfig, version: u64) -> Result<Sockets, DriverError> {
        let record = Record::new(config, Some(State::Incoming), version);
        self.expect_arrival(&record, |record, folder| self.wait_for(record, folder))
    }

    fn receive_before_disks(&self, config: &VmConfig, version: u64) -> Result<Sockets, DriverError> {
        let mut record = Record::new(config, Some(State::Incoming), version);
        record.behind = !config.disks.is_empty();
        for disk in &mut record.config.disks {
            (disk.format, disk.image) = (DiskFormat::Qcow2, None);
        }
        self.expect_arrival(&record, |record, folder| self.wait_for(record, folder))
    }

    fn fetch_disks(&self, id: &VmId) -> Result<Option<LiveProgress>, DriverError> {
        // What can be suspended is what runs.
        self.with(id, Operation::Suspend, |record, folder| {
            if !record.behind {
                return Ok(None);
            }
            let missing =
                self.monitor.with(id, folder, |qemu| behind::fetch(qemu, &record.config, folder))?;
            if missing.is_none() {
                record.behind = false;
                self.store.write(record)?;
            }
            Ok(missing)
        })
    }

    fn serve_disks(&self, id: &VmId) -> Result<PathBuf, DriverError> {
        self.store.lock(id, || match self.store.read(id)? {
            Some(record) if matches!(record.state, None | Some(State::Departed)) => {
                self.monitor.serve(&record.config, &self.store.folder(id))
            }
            _ => {
                let what = "let the disks of a VM that has not left be read";
                Err(DriverError::Unsupported { driver: "qemu", what })
            }
        })
    }

    fn end_serving(&self, id: &VmId) -> Result<(), DriverError> {
        self.store.lock(id, || self.monitor.end_serving(id, &self.store.folder(id)))
    }

    fn keep_disks(&self, id: &VmId) -> Result<(), DriverError> {
        self.keep_arriving_disks(id)
    }

    fn has_arrived(&self, id: &VmId, patience: Duration) -> Result<bool, DriverError> {
        if !self.wait_for_arrival(id, patience)? {
            return Ok(false);
        }
        self.with(id, Operation::Arrive, |record, folder| match record.behind {
            true => self.monitor.with(id, folder, |qemu| behind::attach(qemu, &record.config, folder)),
            false => Ok(()),
        })?;
        Ok(true)
    }

    fn arrive(&self, id: &VmId) -> Result<(), DriverError> {
        self.finish_arrival(id, |record, folder| {
            if record.behind {
                // The way to the other host is open now. Later it may not be, and QEMU answers
                // nobody while it waits for what it reads to begin this.
                return self
                    .monitor
                    .with(id, folder, |qemu| behind::fetch(qemu, &record.config, folder).map(|_| ()));
            }
            if record.config.disks.is_empty() {
                return Ok(());
            }
            self.monitor.with(id, folder, |qemu| {
                // They may have been closed before a crash; open ones keep it from running.
                let _ = qemu.call("close its disks to the other host", &api::nbd_server_stop {});
                Ok(())
            })
        })
    }

    fn abandon(&self, id: &VmId) -> Result<(), DriverError> {
        self.give_up_arrival(id, |folder| self.monitor.end(id, folder))
    }

    fn send(
        &self,
        id: &VmId,
        to: &Sockets,
        report: &mut dyn FnMut(LiveProgress),
        agree: &mut dyn FnMut() -> bool,
    ) -> Result<LiveSummary, LiveError> {
        let mut is_committed = false;
        let result = self.with_leaving(id, |record, folder| {
            let sent = self.monitor.with(id, folder, |qemu| copy(qemu, &record.config, to, report));
            if let Err(error) = sent {
                self.put_right(id, folder)?;
                return Err(error);
            }
            if !agree() {
                self.put_right(id, folder)?;
                return Ok(None);
            }
            is_committed = true;
            // Noting it takes as long as the last of its memory takes to cross. Should this
            // process end before both are done, nobody has been told that it is elsewhere.
            let finished = std::thread::scope(|scope| {
                let noting = scope.spawn(|| self.commit_hand_over(record));
                let finished = self.monitor.with(id, folder, finish);
                noting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(finished)
            });
            match finished {
                Ok(Finished::Arrived(summary)) => Ok(Some(summary)),
                Ok(Finished::RunsOn(error)) => {
                    // Nobody at the other side lets it run before we say so.
                    self.revoke_hand_over(record)?;
                    is_committed = false;
                    self.put_right(id, folder)?;
                    Err(error)
                }
                Err(error) => Err(error),
            }
        });
        match result {
            Ok(Some(summary)) => Ok(summary),
            Ok(None) => Err(LiveError::Refused { vm: id.clone() }),
            Err(error) if is_committed => Err(LiveError::Uncertain(error)),
            Err(error) => Err(LiveError::RunsOn(error)),
        }
    }
}

impl Managed<Qemu> {
    /// Starts a QEMU that waits, with its disks open to the other host.
    fn wait_for(&self, record: &Record, folder: &Path) -> Result<Sockets, DriverError> {
        let config = &record.config;
        let id = &config.id;
        for disk in &config.disks {
            let path = folder.join(disk.file_name());
            let _ = fs::remove_file(&path);
            let empty = DiskConfig { image: None, ..disk.clone() };
            disk::create(id, &empty, &path)?;
        }
        self.monitor.run(record, folder, Begin::Wait)?;
        let memory = folder.join(MEMORY_SOCKET);
        let disks = folder.join(if record.behind { files::BEHIND } else { DISKS_SOCKET });
        self.monitor.with(id, folder, |qemu| {
            let mirrored: &[DiskConfig] = if record.behind { &[] } else { &config.disks };
            if !mirrored.is_empty() {
                let address = json!({"addr": {"type": "unix", "data": {"path": disks}}});
                let start: api::nbd_server_start = made(qemu, address)?;
                qemu.call("open its disks to the other host", &start)?;
            }
            for disk in mirrored {
                let export = json!({"type": "nbd", "id": format!("{}-export", disk.name),
                    "node-name": disk.name, "name": disk.name, "writable": true});
                let export: api::block_export_add = made(qemu, export)?;
                qemu.call("open a disk to the other host", &export)?;
            }
            set_capabilities(qemu, &["events", "return-path"])?;
            let uri = Some(format!("unix:{}", memory.display()));
            let incoming = api::migrate_incoming { channels: None, exit_on_error: None, uri };
            qemu.call("wait for its memory", &incoming)
        })?;
        Ok(Sockets { memory, disks: (!config.disks.is_empty()).then_some(disks) })
    }

    /// Cancels what is under way and lets the VM run on.
    fn put_right(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        self.monitor.with(id, folder, |qemu| {
            cancel(qemu)?;
            remove_mirrors(qemu)?;
            match qemu.run_state()? {
                api::RunState::running => Ok(()),
                _ => qemu.call("let it run on", &api::cont {}).map(|_| ()),
            }
        })
    }
}
