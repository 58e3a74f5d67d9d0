//! Live migration: disks by mirroring them to the other QEMU over NBD while the
//! VM runs, memory by pre-copy, and a hand-over that the caller agrees to.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use ::qapi::qmp as api;
use serde_json::json;

use crate::config::VmConfig;
use crate::disk;
use crate::error::DriverError;
use crate::id::VmId;
use crate::live::{LiveError, LiveMigration, LiveProgress, LiveSummary, Sockets};
use crate::managed::{Managed, MaybeLive, Monitor};
use crate::store::Record;

use super::Qemu;
use super::command_line::Begin;
use super::qmp::Connection;

pub(super) const MEMORY_SOCKET: &str = "memory.sock";
pub(super) const DISKS_SOCKET: &str = "disks.sock";

/// How long the VM may stand still for the last of its memory, as QEMU plans it, in
/// milliseconds: so long at first; twice as long each time that [`PASSES`] more passes over
/// its memory have left more than that, as a VM that writes faster than the network carries
/// would never come to its end; and no longer.
const STILL_MS: RangeInclusive<u64> = 10..=5000;
const PASSES: u64 = 4;

/// How often QEMU is asked how far it is: while the VM runs, and while it stands still.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_CLOSELY: Duration = Duration::from_millis(1);

/// How long ending something may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl MaybeLive for Managed<Qemu> {
    fn maybe_live(&self) -> Option<&dyn LiveMigration> {
        Some(self)
    }
}

impl LiveMigration for Managed<Qemu> {
    fn receive(&self, config: &VmConfig, version: u64) -> Result<Sockets, DriverError> {
        self.expect_arrival(config, version, |record, folder| self.wait_for(record, folder))
    }

    fn keep_disks(&self, id: &VmId) -> Result<(), DriverError> {
        self.keep_arriving_disks(id)
    }

    fn has_arrived(&self, id: &VmId, patience: Duration) -> Result<bool, DriverError> {
        self.wait_for_arrival(id, patience)
    }

    fn arrive(&self, id: &VmId) -> Result<(), DriverError> {
        self.finish_arrival(id, |record, folder| {
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
            let empty = crate::config::DiskConfig { image: None, ..disk.clone() };
            disk::create(id, &empty, &path)?;
        }
        self.monitor.run(record, folder, Begin::Wait)?;
        let (memory, disks) = (folder.join(MEMORY_SOCKET), folder.join(DISKS_SOCKET));
        self.monitor.with(id, folder, |qemu| {
            if !config.disks.is_empty() {
                let address = json!({"addr": {"type": "unix", "data": {"path": disks}}});
                let start: api::nbd_server_start = made(qemu, address)?;
                qemu.call("open its disks to the other host", &start)?;
            }
            for disk in &config.disks {
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

/// Copies disks and memory until the VM stands still with all but the last of
/// its memory at the other side.
fn copy(
    qemu: &mut Connection,
    config: &VmConfig,
    to: &Sockets,
    report: &mut dyn FnMut(LiveProgress),
) -> Result<(), DriverError> {
    cancel(qemu)?;
    remove_mirrors(qemu)?;
    set_capabilities(qemu, &["events", "return-path", "pause-before-switchover"])?;
    let mut limit_ms = *STILL_MS.start();
    set_limits(qemu, limit_ms)?;
    let disk_bytes = mirror_disks(qemu, config, to, report)?;
    qemu.call("send its memory", &migrate_to(format!("unix:{}", to.memory.display())))?;
    let mut passes = PASSES;
    loop {
        let migration = qemu.migration()?;
        let ram = migration.ram.unwrap_or_default();
        let is_still = migration.status == "pre-switchover";
        report(LiveProgress {
            sent_bytes: disk_bytes + ram.transferred,
            left_bytes: ram.remaining,
            is_still,
        });
        match migration.status.as_str() {
            "pre-switchover" => break,
            "failed" | "cancelled" => {
                let why = migration.error_desc.unwrap_or_else(|| "QEMU gives no reason".into());
                return Err(qemu.error("send its memory", why));
            }
            _ => {}
        }
        if ram.dirty_sync_count > passes && limit_ms < *STILL_MS.end() {
            passes = ram.dirty_sync_count + PASSES;
            limit_ms = (2 * limit_ms).min(*STILL_MS.end());
            tracing::debug!(
                "its memory changes faster than it crosses: it may stand still for {limit_ms} ms"
            );
            set_limits(qemu, limit_ms)?;
        }
        // Close to the end every look is time that the VM stands still.
        std::thread::sleep(if ram.remaining > 16 << 20 { LOOK } else { LOOK_CLOSELY });
    }
    // What the guest has written is at the other side too: it was written there first.
    for job in qemu.block_jobs()? {
        let end = api::block_job_cancel { force: Some(false), device: job.device };
        qemu.call("finish copying a disk", &end)?;
    }
    let begun = Instant::now();
    while !qemu.block_jobs()?.is_empty() {
        if begun.elapsed() > PATIENCE {
            return Err(qemu.error("finish copying its disks", format!("it takes more than {PATIENCE:?}")));
        }
        std::thread::sleep(LOOK_CLOSELY);
    }
    Ok(())
}

/// Mirrors all disks, and waits until each is the same at both sides and stays so.
fn mirror_disks(
    qemu: &mut Connection,
    config: &VmConfig,
    to: &Sockets,
    report: &mut dyn FnMut(LiveProgress),
) -> Result<u64, DriverError> {
    let Some(socket) = &to.disks else { return Ok(0) };
    for disk in &config.disks {
        let node = json!({"driver": "nbd", "node-name": remote(&disk.name), "export": disk.name,
            "server": {"type": "unix", "path": socket}});
        let node: api::blockdev_add = made(qemu, node)?;
        qemu.call("reach a disk at the other host", &node)?;
        let mirror = json!({"job-id": mirror(&disk.name), "device": disk.name,
            "target": remote(&disk.name), "sync": "full", "copy-mode": "write-blocking"});
        let mirror: api::blockdev_mirror = made(qemu, mirror)?;
        qemu.call("copy a disk", &mirror)?;
    }
    loop {
        let jobs = qemu.block_jobs()?;
        let missing =
            config.disks.iter().find(|disk| !jobs.iter().any(|job| job.device == mirror(&disk.name)));
        if let Some(disk) = missing {
            return Err(qemu.error("copy a disk", format!("copying `{}` has ended early", disk.name)));
        }
        let sent_bytes = jobs.iter().map(|job| job.offset).sum();
        let all: u64 = jobs.iter().map(|job| job.len).sum();
        report(LiveProgress { sent_bytes, left_bytes: all.saturating_sub(sent_bytes), is_still: false });
        if jobs.iter().all(|job| job.ready) {
            return Ok(sent_bytes);
        }
        std::thread::sleep(LOOK);
    }
}

enum Finished {
    Arrived(LiveSummary),
    /// It failed, and QEMU has let the VM run on.
    RunsOn(DriverError),
}

/// Lets the last of the memory cross.
fn finish(qemu: &mut Connection) -> Result<Finished, DriverError> {
    let go_on = api::migrate_continue { state: api::MigrationStatus::pre_switchover };
    qemu.call("hand it over", &go_on)?;
    loop {
        let migration = qemu.migration()?;
        match migration.status.as_str() {
            // With the return path on: the other QEMU has said that it has all of it.
            "completed" => {
                return Ok(Finished::Arrived(LiveSummary {
                    still: Duration::from_millis(migration.downtime.unwrap_or(0)),
                    memory_bytes: migration.ram.unwrap_or_default().transferred,
                }));
            }
            "failed" | "cancelled" => {
                let why = migration.error_desc.unwrap_or_else(|| "the other QEMU could not load it".into());
                return Ok(Finished::RunsOn(qemu.error("hand it over", why)));
            }
            _ => std::thread::sleep(LOOK_CLOSELY),
        }
    }
}

/// Ends a migration that is under way, if there is one.
pub(super) fn cancel(qemu: &mut Connection) -> Result<(), DriverError> {
    if qemu.migration()?.is_over() {
        return Ok(());
    }
    qemu.call("cancel the migration", &api::migrate_cancel {})?;
    let begun = Instant::now();
    while !qemu.migration()?.is_over() {
        if begun.elapsed() > PATIENCE {
            return Err(qemu.error("cancel the migration", format!("it takes more than {PATIENCE:?}")));
        }
        std::thread::sleep(LOOK_CLOSELY);
    }
    Ok(())
}

/// Ends the copying of disks and lets the other host's go.
fn remove_mirrors(qemu: &mut Connection) -> Result<(), DriverError> {
    for job in qemu.block_jobs()? {
        // It may end by itself in this moment.
        let _ =
            qemu.call("end copying a disk", &api::block_job_cancel { force: Some(true), device: job.device });
    }
    let begun = Instant::now();
    while !qemu.block_jobs()?.is_empty() {
        if begun.elapsed() > PATIENCE {
            return Err(qemu.error("end copying its disks", format!("it takes more than {PATIENCE:?}")));
        }
        std::thread::sleep(LOOK_CLOSELY);
    }
    let nodes = qemu.call("list its disks", &super::qmp::QueryNodes { flat: true })?;
    for node in nodes.into_iter().filter_map(|node| node.node_name).filter(|name| name.ends_with(REMOTE)) {
        qemu.call("let a disk at the other host go", &api::blockdev_del { node_name: node })?;
    }
    Ok(())
}

/// Turns these capabilities on and the others that we use off.
pub(super) fn set_capabilities(qemu: &mut Connection, on: &[&str]) -> Result<(), DriverError> {
    let all = ["events", "return-path", "pause-before-switchover"];
    let states: Vec<_> =
        all.iter().map(|name| json!({"capability": name, "state": on.contains(name)})).collect();
    let set: api::migrate_set_capabilities = made(qemu, json!({"capabilities": states}))?;
    qemu.call("prepare a migration", &set).map(|_| ())
}

/// Lets migrations use all that the network gives, as what throttles them is the tunnel, and
/// stand still for so long.
pub(super) fn set_limits(qemu: &mut Connection, still_ms: u64) -> Result<(), DriverError> {
    let set = json!({"max-bandwidth": 1_u64 << 40, "downtime-limit": still_ms});
    let set: api::migrate_set_parameters = made(qemu, set)?;
    qemu.call("prepare a migration", &set).map(|_| ())
}

/// Lets its network cards say where they are (RARP), now that frames to them come here.
/// QEMU does so by itself before a VM goes on, and then at growing intervals.
pub(super) fn announce(qemu: &mut Connection) -> Result<(), DriverError> {
    let announce = json!({"initial": 50, "max": 500, "rounds": 4, "step": 100});
    let announce: api::announce_self = made(qemu, announce)?;
    qemu.call("let its network cards say where they are", &announce).map(|_| ())
}

pub(super) fn migrate_to(uri: String) -> api::migrate {
    api::migrate { channels: None, detach: None, resume: None, uri: Some(uri) }
}

/// A command from what QEMU's own documentation would write.
fn made<C: serde::de::DeserializeOwned>(
    qemu: &Connection,
    value: serde_json::Value,
) -> Result<C, DriverError> {
    serde_json::from_value(value).map_err(|error| qemu.error("make a command for QEMU", error.to_string()))
}

const REMOTE: &str = "-remote";

fn remote(disk: &str) -> String {
    format!("{disk}{REMOTE}")
}

fn mirror(disk: &str) -> String {
    format!("{disk}-mirror")
}
