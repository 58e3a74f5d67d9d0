//! The method of machines that go on running: the monitors' own live migration, through
//! encrypted tunnels, with a hand-over that the protocol agrees to.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vm_driver::{Driver, DriverError, LiveProgress, Sockets, State};
use vmmp::io::channel::Channel;
use vmmp::{MachineId, MethodName, Progress};

use super::behind::{self, OtherEnd};
use super::files::{Throttle, said};
use super::host::{Host, Incoming, Outgoing, locked};
use super::manifest::Manifest;
use super::method::{Leaves, Method, kind};
use super::tunnel::Entrance;
use super::visitors::{Hello, Part};

/// How long the last of a machine may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// Machines that run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LiveMethod {
    /// With their disks.
    WithDisks,
    /// Before their disks, which are fetched when they are read, and streamed in behind.
    BeforeDisks,
}

impl Method for LiveMethod {
    fn name(&self) -> MethodName {
        let name = match self {
            Self::WithDisks => "LIVE",
            Self::BeforeDisks => "LAZY",
        };
        MethodName::new(name).expect("capital letters are a method's name")
    }

    fn can_send(&self, driver: &dyn Driver, state: State) -> bool {
        state == State::Running && self.can_take(driver)
    }

    fn can_take(&self, driver: &dyn Driver) -> bool {
        let can = driver.capabilities();
        can.live && (*self == Self::WithDisks || can.lazy_disks)
    }

    fn hold(&self, host: &Host, outgoing: &Outgoing) -> Result<(), String> {
        let state = host.driver.status(&outgoing.vm).map_err(said)?.state;
        match state {
            State::Running if self.can_send(&*host.driver, state) => Ok(()),
            State::Running => {
                Err(format!("the {} driver can't move machines live this way", host.driver.name()))
            }
            state => Err(format!("it is {state}, and only what runs moves live; use DELTA or COPY")),
        }
    }

    fn serve(&self, host: &Host, outgoing: &Outgoing, mut channel: Channel) -> Result<(), String> {
        let result = send(host, outgoing, &mut channel);
        outgoing.live.end(result.clone());
        if let Err(why) = &result {
            // If it can't be told any more, the connection is what has failed.
            let _ = channel.writer.send(kind::FAILED, why.as_bytes());
        }
        result
    }

    fn hand_over(&self, host: &Host, outgoing: &Outgoing) -> Result<(), String> {
        outgoing.live.decide(true);
        outgoing.live.wait_for_end().ok_or("its monitor is not sending it")??;
        if *self == Self::BeforeDisks {
            let Outgoing { id, ticket, to, .. } = outgoing;
            let other = OtherEnd { id: *id, ticket: *ticket, peer: to.clone() };
            let noted = other.note_serving(&host.folder(&outgoing.machine));
            noted.map_err(|error| format!("note who reads its disks: {error}"))?;
        }
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }

    fn leaves(&self) -> Leaves {
        match self {
            Self::WithDisks => Leaves::Nothing,
            Self::BeforeDisks => Leaves::Disks,
        }
    }

    fn fetch(&self, host: &Arc<Host>, incoming: &Incoming, mut channel: Channel) -> Result<(), String> {
        let manifest = match channel.reader.receive().map_err(said)? {
            (kind::MANIFEST, body) => Manifest::from_bytes(&body, &incoming.machine)?,
            (_, why) => return Err(String::from_utf8_lossy(&why).into_owned()),
        };
        let live = host.driver.live().ok_or("the driver can't move machines live")?;
        let sockets = match self {
            Self::WithDisks => live.receive(&manifest.config, manifest.version),
            Self::BeforeDisks => live.receive_before_disks(&manifest.config, manifest.version),
        };
        let sockets = sockets.map_err(said)?;
        let folder = host.folder(&incoming.machine);
        let wrong = |error| format!("write in {}: {error}", folder.display());
        manifest.save(&folder).map_err(wrong)?;
        if *self == Self::BeforeDisks && !manifest.config.disks.is_empty() {
            let Incoming { id, ticket, from, .. } = incoming;
            let other = OtherEnd { id: *id, ticket: *ticket, peer: from.clone() };
            other.note_behind(&folder).map_err(wrong)?;
            behind::open(host, &incoming.machine)?;
        }
        // Noted while nobody waits for it; only a machine that is ours runs.
        host.running.want(&incoming.machine, manifest.run).map_err(said)?;
        *locked(&incoming.takes) = Some(sockets);
        channel.writer.send(kind::LISTENING, &[]).map_err(said)?;
        loop {
            let (kind, body) = channel.reader.receive().map_err(|error| match error {
                vmmp::delta::DeltaError::Io { .. } => {
                    format!("the connection to {} has ended", incoming.from)
                }
                error => error.to_string(),
            })?;
            match (kind, body.as_chunks::<8>()) {
                (kind::PROGRESS, ([sent, left], [])) => {
                    let (sent, left) = (u64::from_be_bytes(*sent), u64::from_be_bytes(*left));
                    let total = sent.saturating_add(left);
                    host.progress(incoming.id, Progress { done: sent, total, sent });
                }
                (kind::STILL, _) => return Ok(()),
                (kind::FAILED, _) => return Err(String::from_utf8_lossy(&body).into_owned()),
                (kind, _) => return Err(format!("the origin says {kind}, which makes no sense")),
            }
        }
    }

    fn complete(&self, host: &Host, incoming: &Incoming) -> Result<(), String> {
        let live = host.driver.live().ok_or("the driver can't move machines live")?;
        match live.has_arrived(&incoming.vm, PATIENCE).map_err(said)? {
            true => Ok(()),
            false => Err(format!("the last of it has not arrived within {PATIENCE:?}")),
        }
    }

    fn own(&self, host: &Arc<Host>, manifest: &Manifest) -> Result<(), String> {
        let vm = &manifest.config.id;
        // After a restart it is not open.
        behind::open(host, &MachineId::new(vm.as_str()).map_err(said)?)?;
        match host.driver.status(vm).map(|status| status.state) {
            Ok(State::Incoming) => {
                host.driver.live().ok_or("the driver can't move machines live")?.arrive(vm).map_err(said)
            }
            // Before a restart; or its monitor has ended, and it is started again.
            Ok(_) => Ok(()),
            Err(error @ DriverError::Illegal { .. }) => Err(format!("it is not there any more: {error}")),
            Err(error) => Err(said(error)),
        }
    }
}

fn send(host: &Host, outgoing: &Outgoing, channel: &mut Channel) -> Result<(), String> {
    let driver = host.driver.live().ok_or("the driver can't move machines live")?;
    let status = host.driver.status(&outgoing.vm).map_err(said)?;
    let disks = outgoing.method.leaves() == Leaves::Nothing && !status.config.disks.is_empty();
    let manifest = Manifest {
        config: status.config,
        state: State::Running,
        version: status.version,
        run: true,
        method: outgoing.method.name(),
        files: Vec::new(),
    };
    outgoing.live.begin();
    let body = serde_json::to_vec(&manifest).map_err(said)?;
    channel.writer.send(kind::MANIFEST, &body).map_err(said)?;
    match channel.reader.receive().map_err(said)? {
        (kind::LISTENING, _) => {}
        (_, why) => return Err(String::from_utf8_lossy(&why).into_owned()),
    }
    let folder = Folder::make(host.sockets.join(format!("{:08x}", outgoing.id.0 as u32)))?;
    let open = |part, path: &PathBuf| {
        let hello = Hello { id: outgoing.id, ticket: outgoing.ticket, part };
        let connections = Arc::clone(&outgoing.connections);
        Entrance::open(&host.keys, host.contact(&outgoing.to)?, hello, connections, path)
    };
    let memory = folder.0.join("memory");
    let _memory = open(Part::Memory, &memory)?;
    let disks = disks.then(|| folder.0.join("disks"));
    let _disks = disks.as_ref().map(|path| open(Part::Disks, path)).transpose()?;
    let mut told = Throttle::default();
    let writer = std::cell::RefCell::new(&mut channel.writer);
    let mut report = |progress: LiveProgress| {
        if told.is_due() {
            let LiveProgress { sent_bytes, left_bytes, .. } = progress;
            let body = [sent_bytes.to_be_bytes(), left_bytes.to_be_bytes()];
            // The next thing that is said fails, too.
            let _ = writer.borrow_mut().send(kind::PROGRESS, body.as_flattened());
            let total = sent_bytes.saturating_add(left_bytes);
            host.progress(outgoing.id, Progress { done: sent_bytes, total, sent: sent_bytes });
        }
    };
    let to = Sockets { memory, disks };
    let summary = std::thread::scope(|scope| {
        let mut agree = || {
            let said = writer.borrow_mut().send(kind::STILL, &[]);
            // It stands still: from here on nothing need be forwarded to it. That is done
            // beside the hand-over, and is done when this function is.
            if let Some(overlay) = &host.overlay {
                scope.spawn(|| overlay.detach(&manifest.config));
            }
            said.is_ok() && outgoing.live.wait_for_agreement()
        };
        driver.send(&outgoing.vm, &to, &mut report, &mut agree).map_err(said)
    })?;
    tracing::info!(
        "machine {} stood still for {:?}, and {} MB of its memory have crossed",
        outgoing.machine,
        summary.still,
        summary.memory_bytes / 1_000_000
    );
    Ok(())
}

/// A folder that goes when nobody needs it.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> Result<Self, String> {
        // An earlier run may have left it.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is removed with the next run.
        let _ = fs::remove_dir_all(&self.0);
    }
}
