//! What QEMU is told to do in a live migration, step by step.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use ::qapi::qmp as api;
use serde_json::json;

use super::qmp::{Connection, QueryNodes};
use crate::config::VmConfig;
use crate::error::DriverError;
use crate::live::{LiveProgress, LiveSummary, Sockets};

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
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Copies disks and memory until the VM stands still with all but the last of
/// its memory at the other side.
pub(super) fn copy(
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
            "target": remote(&disk.name), "sync": "full", "copy-mode": "write-blocking",
            // It stands still then, and says why.
            "on-target-error": "stop"});
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
        if let Some(job) = jobs.iter().find(|job| !matches!(job.io_status.as_str(), "" | "ok")) {
            let why = match job.io_status.as_str() {
                "nospace" => "the other host has no room for it (No space left on device)",
                _ => "the other host can't write it",
            };
            return Err(qemu.error("copy a disk", why));
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

/// How a hand-over has ended.
pub(super) enum Finished {
    /// The other QEMU has it.
    Arrived(LiveSummary),
    /// It failed, and QEMU has let the VM run on.
    RunsOn(DriverError),
}

/// Lets the last of the memory cross.
pub(super) fn finish(qemu: &mut Connection) -> Result<Finished, DriverError> {
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
pub(super) fn remove_mirrors(qemu: &mut Connection) -> Result<(), DriverError> {
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
    let nodes = qemu.call("list its disks", &QueryNodes { flat: true })?;
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
pub(super) fn made<C: serde::de::DeserializeOwned>(
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
