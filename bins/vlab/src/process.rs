//! Processes in hosts and VMs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::sys;

/// Runs a command in the foreground and waits for it: what Ctrl-C sends is for
/// the command to decide on, and doesn't end this program, and so the laboratory.
pub fn run_in_foreground(command: &mut Command) -> io::Result<ExitStatus> {
    sys::run_in_foreground(command)
}

/// A process group in a host or VM. Dropping it ends the group with SIGKILL.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Option<PathBuf>,
}

impl Process {
    /// Starts `command` as the leader of a new process group, so that it gets
    /// signals only through us and with all its children.
    pub(crate) fn spawn(command: &mut Command, log: Option<PathBuf>) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        if let Some(path) = &log {
            let file = File::options().create(true).append(true).open(path)?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        Ok(Self { child: command.process_group(0).spawn()?, log })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes, when it is kept.
    pub fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    /// Its standard streams, where they were asked for as pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal to the group.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::kill_process_group(self.pid(), signal)?)
    }

    /// `kill -9`: ends the group at once, and waits for its leader.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        match self.signal(Signal::KILL) {
            // The group has ended by itself.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            result => result?,
        }
        self.child.wait()
    }

    /// Asks the group to end with SIGTERM, and uses SIGKILL when its leader is
    /// still there after `grace`.
    pub fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        match self.wait_for(grace)? {
            Some(status) => Ok(status),
            None => self.kill(),
        }
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Has the process ended?
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for the process to end, but not longer than `time`.
    pub fn wait_for(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.kill();
        } else {
            // The leader is gone and waited for; children may have stayed, and
            // as long as one does, the group's number is not used again.
            let _ = self.signal(Signal::KILL);
        }
    }
}
