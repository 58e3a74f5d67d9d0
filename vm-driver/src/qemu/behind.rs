//! Disks that come behind their VM: it runs at the destination before they are there.
//!
//! | where | what |
//! | --- | --- |
//! | destination, waiting | each disk is an empty qcow2 file |
//! | destination, arrived | behind it stands the origin's disk, read over NBD: what the VM reads is fetched, what it writes stays here |
//! | destination, running | `block-stream` fetches the rest; a lost connection is waited for, however long that takes |
//! | origin, handed over | `qemu-storage-daemon` lets the disks be read, and nothing writes them |
//!
//! Writes are never on the way, so neither end can lose one by dying; while the origin is
//! away, a VM that reads what has not come yet waits for it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::qapi::qmp as api;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::migration::{PATIENCE, made};
use super::qmp::{Connection, Node, QueryNodes, Reopen};
use super::{Qemu, files, remove_if_there};
use crate::config::{DiskConfig, VmConfig};
use crate::error::DriverError;
use crate::id::VmId;
use crate::io::process::{is_ours, last_lines, signal, spawn, wait_until};
use crate::live::LiveProgress;

/// What lets the disks of a VM that has left be read.
const STORAGE: &str = "qemu-storage-daemon";

/// How long a connection that was lost is waited for, in seconds: ten years. Until then
/// whoever reads waits; a VM must never see an error for what is only late.
const RECONNECT_S: u64 = 10 * 365 * 86400;

/// How long the first connection may take, in seconds.
const OPEN_S: u64 = 20;

/// The node of the origin's disk.
fn behind(disk: &str) -> String {
    format!("{disk}-behind")
}

fn stream(disk: &str) -> String {
    format!("{disk}-stream")
}

/// The node that reads a disk at the origin.
pub(super) fn node(folder: &Path, disk: &DiskConfig) -> Value {
    json!({"driver": "nbd", "node-name": behind(&disk.name), "export": disk.name, "read-only": true,
        "reconnect-delay": RECONNECT_S, "open-timeout": OPEN_S,
        "server": {"type": "unix", "path": folder.join(files::BEHIND)}})
}

/// A disk with, or without, the origin's behind it.
fn overlay(disk: &DiskConfig, backing: Option<String>) -> Value {
    json!({"driver": disk.format.name(), "node-name": disk.name, "file": format!("{}-file", disk.name),
        "backing": backing})
}

/// Puts the origin's disks behind those of a VM that has arrived, unless they are.
pub(super) fn attach(qemu: &mut Connection, config: &VmConfig, folder: &Path) -> Result<(), DriverError> {
    let nodes = nodes(qemu)?;
    for disk in &config.disks {
        if find(&nodes, &behind(&disk.name)).is_none() {
            let node: api::blockdev_add = made(qemu, node(folder, disk))?;
            qemu.call("reach a disk that is still at the other host", &node)?;
        }
        if find(&nodes, &disk.name).is_none_or(|node| node.backing_file_depth == 0) {
            let reopen = Reopen { options: vec![overlay(disk, Some(behind(&disk.name)))] };
            qemu.call("put a disk at the other host behind its own", &reopen)?;
        }
    }
    Ok(())
}

/// Fetches what is missing. How much is; `None`: all is here, and on disk.
pub(super) fn fetch(
    qemu: &mut Connection,
    config: &VmConfig,
    folder: &Path,
) -> Result<Option<LiveProgress>, DriverError> {
    let nodes = nodes(qemu)?;
    let jobs = qemu.block_jobs()?;
    let mut progress: Option<LiveProgress> = None;
    for disk in &config.disks {
        let node = find(&nodes, &disk.name);
        let node =
            node.ok_or_else(|| qemu.error("fetch what is missing of a disk", "QEMU has no such disk"))?;
        if node.backing_file_depth == 0 {
            continue;
        }
        let job = jobs.iter().find(|job| job.device == stream(&disk.name));
        if job.is_none() {
            let begin: api::block_stream =
                made(qemu, json!({"job-id": stream(&disk.name), "device": disk.name}))?;
            qemu.call("fetch what is missing of a disk", &begin)?;
        }
        let so_far = progress.get_or_insert(LiveProgress { sent_bytes: 0, left_bytes: 0, is_still: false });
        let (done, all) = job.map_or((0, disk.bytes), |job| (job.offset, job.len));
        so_far.sent_bytes += done;
        so_far.left_bytes += all.saturating_sub(done);
    }
    if progress.is_some() {
        return Ok(progress);
    }
    for disk in &config.disks {
        // What QEMU has not written yet, it writes before it opens a disk anew.
        let reopen = Reopen { options: vec![overlay(disk, None)] };
        qemu.call("write what has come of a disk", &reopen)?;
        let path = folder.join(disk.file_name());
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(DriverError::io(&config.id, format!("write {}", path.display())))?;
        if find(&nodes, &behind(&disk.name)).is_some() {
            let delete = api::blockdev_del { node_name: behind(&disk.name) };
            qemu.call("let a disk at the other host go", &delete)?;
        }
    }
    Ok(None)
}

fn nodes(qemu: &mut Connection) -> Result<Vec<Node>, DriverError> {
    qemu.call("list its disks", &QueryNodes { flat: false })
}

fn find<'a>(nodes: &'a [Node], name: &str) -> Option<&'a Node> {
    nodes.iter().find(|node| node.node_name.as_deref() == Some(name))
}

impl Qemu {
    /// Lets the disks of a VM that has left be read, until [`Qemu::end_serving`]: where.
    pub(super) fn serve(&self, config: &VmConfig, folder: &Path) -> Result<PathBuf, DriverError> {
        let id = &config.id;
        let socket = folder.join(files::SERVE);
        if serving(folder).is_some() && socket.exists() {
            return Ok(socket);
        }
        self.end_serving(id, folder)?;
        let log = folder.join(files::SERVE_LOG);
        let child = spawn(&mut command(config, folder), &log).map_err(|source| DriverError::Program {
            program: STORAGE.into(),
            package: "qemu-system-common",
            source,
        })?;
        let pid = child.id();
        self.serving.insert(id, child);
        // Its id is written when it serves.
        let serves = || folder.join(files::SERVE_PID).exists() && socket.exists();
        let has_ended = || crate::io::process::state(pid).is_none_or(|state| state == 'Z');
        wait_until(Duration::from_secs(10), || serves() || has_ended());
        if serves() && !has_ended() {
            return Ok(socket);
        }
        let log = last_lines(&log);
        self.end_serving(id, folder)?;
        let (action, answer) = ("let its disks be read".into(), format!("{STORAGE} does not serve them"));
        Err(DriverError::Monitor { vm: id.clone(), action, answer, log })
    }

    /// Nobody reads the disks any more.
    pub(super) fn end_serving(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        if let Some(pid) = serving(folder) {
            // It has nothing to write.
            signal(pid, Signal::KILL).map_err(DriverError::io(id, format!("end {STORAGE}")))?;
            wait_until(PATIENCE, || serving(folder).is_none());
        }
        if let Some(mut child) = self.serving.remove(id) {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().map_err(DriverError::io(id, format!("wait for {STORAGE}")))?;
        }
        [files::SERVE, files::SERVE_PID]
            .iter()
            .try_for_each(|name| remove_if_there(&folder.join(name)))
            .map_err(DriverError::io(id, format!("remove what {STORAGE} has left")))
    }
}

/// The process that lets the disks of this folder be read.
fn serving(folder: &Path) -> Option<u32> {
    let path = folder.join(files::SERVE_PID);
    let pid = read_pid(&path).ok()?;
    is_ours(pid, &path.display().to_string()).then_some(pid)
}

fn read_pid(path: &Path) -> io::Result<u32> {
    std::fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
}

fn command(config: &VmConfig, folder: &Path) -> Command {
    let comma = |path: PathBuf| path.display().to_string().replace(',', ",,");
    let mut command = Command::new(STORAGE);
    command.arg("--pidfile").arg(folder.join(files::SERVE_PID));
    let socket = comma(folder.join(files::SERVE));
    command.args(["--nbd-server", &format!("addr.type=unix,addr.path={socket},max-connections=0")]);
    for disk in &config.disks {
        let file = format!("{}-file", disk.name);
        // The QEMU that has sent the VM may still have it open. It writes no more.
        let node = json!({"driver": "file", "node-name": file, "filename": folder.join(disk.file_name()),
            "read-only": true, "locking": "off"});
        command.args(["--blockdev", &node.to_string()]);
        let node = json!({"driver": disk.format.name(), "node-name": disk.name, "file": file,
            "read-only": true});
        command.args(["--blockdev", &node.to_string()]);
        let name = &disk.name;
        let export = format!("type=nbd,id={name}-export,node-name={name},name={name},writable=off");
        command.args(["--export", &export]);
    }
    command
}
