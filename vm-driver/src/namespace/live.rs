//! Live migration of processes between two providers of one machine: they stand still,
//! change hands, and go on, with their memory and their connections.
//!
//! What crosses is a line of JSON that says which processes they are. A destination that
//! doesn't see them, as on another machine, refuses.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{LOG, MARK, Namespaces, PATIENCE, PID, gate, remove_if_there};
use crate::config::VmConfig;
use crate::error::DriverError;
use crate::id::VmId;
use crate::io::process::is_ours;
use crate::live::{LiveError, LiveMigration, LiveProgress, LiveSummary, Sockets};
use crate::managed::{Managed, MaybeLive, Monitor};
use crate::state::State;
use crate::store::Record;

/// The first process, as [`PID`], of a VM that has arrived and is not ours yet.
pub(super) const ARRIVED: &str = "arrived.pid";

/// The first process of a VM that was handed over.
pub(super) const DEPARTED: &str = "departed.pid";

const SOCKET: &str = "memory.sock";
const READY: &str = "ready";
const YOURS: &str = "yours";
const MINE: &str = "mine";

const NO_DISKS: DriverError =
    DriverError::Unsupported { driver: "namespace", what: "let disks come behind a VM: it has none" };

/// How often an arrival is looked for.
const LOOK: Duration = Duration::from_millis(2);

/// Which processes a VM is.
#[derive(Debug, Serialize, Deserialize)]
struct Processes {
    first: u32,
    /// By which the first one is known: an argument of it.
    mark: String,
    log: PathBuf,
}

/// Somebody waits for a VM.
pub(super) struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

impl MaybeLive for Managed<Namespaces> {
    fn maybe_live(&self) -> Option<&dyn LiveMigration> {
        Some(self)
    }
}

impl LiveMigration for Managed<Namespaces> {
    fn receive(&self, config: &VmConfig, version: u64) -> Result<Sockets, DriverError> {
        let id = &config.id;
        let record = Record::new(config, Some(State::Incoming), version);
        self.expect_arrival(&record, |_, folder| {
            let memory = folder.join(SOCKET);
            let waiting = wait_at(&memory, folder)
                .map_err(DriverError::io(id, format!("wait at {}", memory.display())))?;
            self.monitor.waiting.insert(id, waiting);
            Ok(Sockets { memory, disks: None })
        })
    }

    fn receive_before_disks(&self, _: &VmConfig, _: u64) -> Result<Sockets, DriverError> {
        Err(NO_DISKS)
    }

    fn fetch_disks(&self, _: &VmId) -> Result<Option<LiveProgress>, DriverError> {
        Ok(None)
    }

    fn serve_disks(&self, _: &VmId) -> Result<PathBuf, DriverError> {
        Err(NO_DISKS)
    }

    fn end_serving(&self, _: &VmId) -> Result<(), DriverError> {
        Ok(())
    }

    fn keep_disks(&self, id: &VmId) -> Result<(), DriverError> {
        self.keep_arriving_disks(id)
    }

    fn has_arrived(&self, id: &VmId, patience: Duration) -> Result<bool, DriverError> {
        self.wait_for_arrival(id, patience)
    }

    fn arrive(&self, id: &VmId) -> Result<(), DriverError> {
        self.finish_arrival(id, |_, folder| {
            match fs::rename(folder.join(ARRIVED), folder.join(PID)) {
                // Before a crash.
                Err(error) if error.kind() == ErrorKind::NotFound && folder.join(PID).exists() => Ok(()),
                renamed => renamed,
            }
            .and_then(|()| remove_if_there(&folder.join(SOCKET)))
            .map_err(DriverError::io(id, "take its processes"))?;
            self.monitor.waiting.remove(id);
            Ok(())
        })
    }

    fn abandon(&self, id: &VmId) -> Result<(), DriverError> {
        self.give_up_arrival(id, |_| {
            self.monitor.waiting.remove(id);
            Ok(())
        })
    }

    fn send(
        &self,
        id: &VmId,
        to: &Sockets,
        report: &mut dyn FnMut(LiveProgress),
        agree: &mut dyn FnMut() -> bool,
    ) -> Result<LiveSummary, LiveError> {
        let mut begun = Instant::now();
        let result = self.with_leaving(id, |record, folder| {
            let wrong = |action: &'static str| move |error| DriverError::io(id, action)(error);
            let mut talk = Talk::begin(&to.memory).map_err(wrong("reach the other provider"))?;
            let processes = self.monitor.processes(id, folder)?;
            talk.say(&processes).map_err(wrong("offer its processes"))?;
            talk.expect(READY).map_err(wrong("offer its processes"))?;
            begun = Instant::now();
            self.monitor.freeze(id, folder)?;
            report(LiveProgress { sent_bytes: 0, left_bytes: 0, is_still: true });
            if !agree() {
                self.monitor.go(id, folder)?;
                return Ok(false);
            }
            self.commit_hand_over(record)?;
            let mut hand_over = || {
                fs::rename(folder.join(PID), folder.join(DEPARTED))?;
                talk.say_line(YOURS)?;
                talk.expect(MINE)
            };
            if let Err(error) = hand_over() {
                // Nobody at the other side lets it run before we say so.
                self.monitor.reclaim(folder).map_err(wrong("take its processes back"))?;
                self.revoke_hand_over(record)?;
                self.monitor.go(id, folder)?;
                return Err(wrong("hand its processes over")(error));
            }
            Ok(true)
        });
        match result {
            Ok(true) => Ok(LiveSummary { still: begun.elapsed(), memory_bytes: 0 }),
            Ok(false) => Err(LiveError::Refused { vm: id.clone() }),
            Err(error) => Err(LiveError::RunsOn(error)),
        }
    }
}

impl Namespaces {
    fn processes(&self, id: &VmId, folder: &Path) -> Result<Processes, DriverError> {
        let first = self.expect(id, folder)?;
        let mark = fs::read_to_string(folder.join(MARK)).unwrap_or_else(|_| gate(folder));
        Ok(Processes { first, mark, log: folder.join(LOG) })
    }
}

/// A conversation in lines.
struct Talk {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Talk {
    fn begin(socket: &Path) -> std::io::Result<Self> {
        Self::over(UnixStream::connect(socket)?)
    }

    fn over(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { lines: BufReader::new(stream.try_clone()?), stream })
    }

    fn say(&mut self, what: &impl Serialize) -> std::io::Result<()> {
        self.say_line(&serde_json::to_string(what)?)
    }

    fn say_line(&mut self, line: &str) -> std::io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())
    }

    fn hear(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn expect(&mut self, wanted: &str) -> std::io::Result<()> {
        match self.hear()? {
            line if line == wanted => Ok(()),
            line => Err(std::io::Error::other(line)),
        }
    }
}

/// Waits for processes that somebody hands over, in a thread.
fn wait_at(socket: &Path, folder: &Path) -> std::io::Result<Waiting> {
    remove_if_there(socket)?;
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let is_wanted = Arc::new(AtomicBool::new(true));
    let (go_on, folder) = (Arc::clone(&is_wanted), folder.to_owned());
    thread::Builder::new().name("vm-driver-arrival".into()).spawn(move || {
        while go_on.load(Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = take(stream, &folder, &go_on) {
                        tracing::info!("a VM has not arrived in {}: {error}", folder.display());
                    }
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    })?;
    Ok(Waiting(is_wanted))
}

fn take(stream: UnixStream, folder: &Path, is_wanted: &AtomicBool) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut talk = Talk::over(stream)?;
    let processes: Processes = serde_json::from_str(&talk.hear()?)?;
    if !is_ours(processes.first, &processes.mark) {
        return talk.say_line("its processes are on another machine, which they can't leave");
    }
    talk.say_line(READY)?;
    talk.stream.set_read_timeout(None)?;
    while talk.hear()? != YOURS {}
    // What its program says goes on where it went before; both folders show it.
    let log = folder.join(LOG);
    if fs::hard_link(&processes.log, &log).is_err() {
        tracing::info!("{} goes on as {}", log.display(), processes.log.display());
    }
    fs::write(folder.join(MARK), &processes.mark)?;
    if !is_wanted.load(Relaxed) {
        return talk.say_line("nobody waits for it any more");
    }
    let partial = folder.join("arrived.partial");
    fs::write(&partial, format!("{}\n", processes.first))?;
    fs::rename(&partial, folder.join(ARRIVED))?;
    talk.say_line(MINE)
}
