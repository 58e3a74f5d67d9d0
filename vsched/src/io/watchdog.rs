//! A process of its own that puts everything back when the scheduler dies.
//!
//! It waits at the end of a pipe whose other end only the scheduler has. When
//! the pipe closes without a farewell, the scheduler is dead: the watchdog
//! recovers from its journal. When no heartbeat comes for a while, the scheduler
//! hangs: the watchdog continues all tasks.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::io::journal::{self, JournalError, Recovery};
use crate::io::proc;
use crate::io::signal::WATCHDOG_PRIORITY;
use crate::io::sys::{self, SchedAttr};
use crate::mechanism::Process;

/// A scheduler that says nothing for so long hangs.
pub const SILENCE: Duration = Duration::from_millis(800);

/// How often [`Watchdog::beat`] is to be called at least.
pub const HEARTBEAT: Duration = Duration::from_millis(200);

/// How long a dead scheduler may take until the kernel has let go of its files.
const PATIENCE: Duration = Duration::from_secs(5);

/// After this, nothing of a dead scheduler stops a task any more.
const LAST_ALARM: Duration = Duration::from_millis(100);

const BEAT: u8 = b'.';
const FAREWELL: u8 = b'q';

/// The scheduler's end.
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
    pipe: ChildStdin,
}

/// What [`watch`] has seen.
#[derive(Debug)]
pub enum Watched {
    /// The scheduler took its leave.
    Farewell,
    /// The scheduler died; this was put back.
    Died(Recovery),
}

impl Watchdog {
    /// Starts `command`, which is to call [`watch`] with its standard input.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let pipe = child.stdin.take().ok_or_else(|| io::Error::other("the child has no standard input"))?;
        Ok(Self { child, pipe })
    }

    /// The watchdog's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells that we are alive. An error means that the watchdog is not.
    pub fn beat(&mut self) -> io::Result<()> {
        self.pipe.write_all(&[BEAT])
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // If it is dead, nothing needs to be said.
        let _ = self.pipe.write_all(&[FAREWELL]);
        let _ = self.child.wait();
    }
}

/// Waits until the scheduler at the other end of `pipe` has gone. If it has died,
/// puts back what its journal in the folder `state` says.
pub fn watch(mut pipe: impl Read + AsFd, state: &Path) -> Result<Watched, JournalError> {
    // Tasks may be left with real-time priority, and must not keep us from ending that.
    if let Err(error) = sys::sched_setattr(0, &SchedAttr::fifo(WATCHDOG_PRIORITY)) {
        tracing::debug!("the watchdog has an ordinary priority: {error}");
    }
    // Ctrl-C is for the scheduler, which then says farewell.
    let _ = rustix::process::setsid();
    loop {
        if !readable_within(&pipe, SILENCE) {
            go_on(&journal::processes(state));
            continue;
        }
        let mut said = [0; 64];
        match pipe.read(&mut said) {
            Ok(0) => return recover(state).map(Watched::Died),
            Ok(length) if said[..length].contains(&FAREWELL) => return Ok(Watched::Farewell),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A pipe that can't be read has no other end that lives.
            Err(_) => return recover(state).map(Watched::Died),
        }
    }
}

fn recover(state: &Path) -> Result<Recovery, JournalError> {
    let processes = journal::processes(state);
    let recovery = journal::recover(state, PATIENCE)?;
    // While the kernel lets go of the files of the dead, its alarms may still have stopped a task.
    std::thread::sleep(LAST_ALARM);
    go_on(&processes);
    Ok(recovery)
}

fn go_on(processes: &[Process]) {
    for process in processes.iter().filter(|process| proc::is_alive(process)) {
        // It may have ended just now.
        let _ = sys::kill(process.pid, libc::SIGCONT);
    }
}

fn readable_within(pipe: &impl AsFd, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
    let mut fds = [PollFd::new(pipe, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(ready) => ready > 0,
        // Looked at again by reading.
        Err(_) => true,
    }
}
