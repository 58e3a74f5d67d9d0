//! The methods of machines that stand still: all of their files, or what of them is missing.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use vm_driver::{Driver, DriverError, State, SuspendKind};
use vmmp::delta::receive::Durability;
use vmmp::delta::{DeltaError, Further};
use vmmp::io::channel::Channel;
use vmmp::{MethodName, Progress, copy, delta};

use super::host::{Host, Incoming, Outgoing};
use super::manifest::{Manifest, Part};
use super::method::{Leaves, Method, kind};

/// How often progress is told.
const TELL: Duration = Duration::from_millis(200);

/// Machines that stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// All of their files.
    Copy,
    /// What of their files is missing.
    Delta,
}

impl Method for Files {
    fn name(&self) -> MethodName {
        let name = match self {
            Self::Copy => "COPY",
            Self::Delta => "DELTA",
        };
        MethodName::new(name).expect("capital letters are a method's name")
    }

    fn can_send(&self, driver: &dyn Driver, state: State) -> bool {
        state != State::Running || driver.capabilities().suspend == SuspendKind::ToFile
    }

    fn can_take(&self, _: &dyn Driver) -> bool {
        true
    }

    fn hold(&self, host: &Host, outgoing: &Outgoing) -> Result<(), String> {
        let status = host.driver.status(&outgoing.vm).map_err(said)?;
        if status.state == State::Running {
            if !self.can_send(&*host.driver, status.state) {
                return Err(format!(
                    "the {} driver can't save a running machine to a file: stop it first, or move it live",
                    host.driver.name()
                ));
            }
            host.driver.suspend(&outgoing.vm).map_err(said)?;
        }
        Ok(())
    }

    fn serve(&self, host: &Host, outgoing: &Outgoing, mut channel: Channel) -> Result<(), String> {
        let status = host.driver.status(&outgoing.vm).map_err(said)?;
        let files = host.driver.files(&outgoing.vm).map_err(said)?;
        let manifest = Manifest {
            config: status.config,
            state: status.state,
            version: status.version,
            run: host.running.is_wanted(&outgoing.machine),
            method: self.name(),
            files: files.iter().map(|file| Part { name: file.name.clone(), bytes: file.bytes }).collect(),
        };
        let body = serde_json::to_vec(&manifest).map_err(said)?;
        channel.writer.send(kind::MANIFEST, &body).map_err(said)?;
        let total = manifest.bytes();
        let mut before = 0;
        loop {
            let (kind, body) = channel.reader.receive().map_err(said)?;
            let name = String::from_utf8_lossy(&body);
            match kind {
                kind::BYE => return Ok(()),
                kind::FAILED => return Err(name.into_owned()),
                kind::GET => {}
                kind => return Err(format!("the destination says {kind}, which makes no sense")),
            }
            let file = files.iter().find(|file| file.name == name);
            let file = file.ok_or_else(|| format!("the destination wants `{name}`, which isn't there"))?;
            let mut told = Throttle::default();
            let mut watch = |further: Further| {
                if told.is_due() {
                    let done = before + further.done;
                    host.progress(outgoing.id, Progress { done, total, sent: further.wire_bytes });
                }
            };
            match self {
                Self::Copy => copy::send(&file.path, &mut channel, &mut watch).map_err(said)?,
                Self::Delta => delta::send(&file.path, &mut channel, &mut watch).map_err(said)?,
            };
            before += file.bytes;
        }
    }

    fn hand_over(&self, host: &Host, outgoing: &Outgoing) -> Result<(), String> {
        host.driver.hand_over(&outgoing.vm).map_err(said)
    }

    fn is_live(&self) -> bool {
        false
    }

    fn leaves(&self) -> Leaves {
        Leaves::OldVersion
    }

    fn fetch(&self, host: &Arc<Host>, incoming: &Incoming, mut channel: Channel) -> Result<(), String> {
        let manifest = match channel.reader.receive().map_err(said)? {
            (kind::MANIFEST, body) => Manifest::from_bytes(&body, &incoming.machine)?,
            (_, why) => return Err(String::from_utf8_lossy(&why).into_owned()),
        };
        if !matches!(manifest.state, State::Stopped | State::Suspended) {
            return Err(format!("the origin sends a machine that is {}", manifest.state));
        }
        let folder = host.folder(&incoming.machine);
        fs::create_dir_all(&folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
        manifest.save(&folder).map_err(|error| format!("write in {}: {error}", folder.display()))?;
        let total = manifest.bytes();
        let mut before = 0;
        for part in &manifest.files {
            channel.writer.send(kind::GET, part.name.as_bytes()).map_err(said)?;
            let mut told = Throttle::default();
            let mut watch = |further: Further| {
                if told.is_due() {
                    let done = before + further.done;
                    host.progress(incoming.id, Progress { done, total, sent: further.wire_bytes });
                }
            };
            let path = folder.join(&part.name);
            let disk = Durability::Disk;
            let received = match self {
                Self::Copy => copy::receive(&path, &mut channel, disk, &mut watch),
                Self::Delta => delta::receive(&path, &mut channel, disk, &mut watch),
            };
            received.map_err(|error| lost_connection(error, &incoming.from.to_string()))?;
            before += part.bytes;
        }
        host.progress(incoming.id, Progress { done: total, total, sent: channel.reader.wire_bytes() });
        channel.writer.send(kind::BYE, &[]).map_err(said)
    }

    fn complete(&self, _: &Host, _: &Incoming) -> Result<(), String> {
        // Everything was there, and checked, before the origin was asked to release it.
        Ok(())
    }

    fn own(&self, host: &Arc<Host>, manifest: &Manifest) -> Result<(), String> {
        match host.driver.status(&manifest.config.id) {
            // Before a restart.
            Ok(_) => Ok(()),
            Err(DriverError::Illegal { .. }) => {
                host.driver.register(&manifest.config, manifest.state, manifest.version).map_err(said)
            }
            Err(error) => Err(said(error)),
        }
    }
}

fn lost_connection(error: DeltaError, origin: &str) -> String {
    match error {
        DeltaError::Io { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            format!("the connection to {origin} has ended")
        }
        error => error.to_string(),
    }
}

pub(super) fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Says now and then that it is time to tell something.
#[derive(Default)]
pub(super) struct Throttle(Option<std::time::Instant>);

impl Throttle {
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() >= TELL);
        if is_due {
            self.0 = Some(std::time::Instant::now());
        }
        is_due
    }
}
