//! `vsched run`: a command under a reservation, with a daemon or alone.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use vsched::io::HostOptions;
use vsched::protocol::{Request, Response};
use vsched::{Goal, Reservation};
use vschedd::{Client, ClientError, Scheduler, SchedulerOptions};

use crate::args::{self, Args, CAPACITY};

/// How often signals to us are looked for.
const POLL: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let args::Command::Run { wanted, hold_rate, progress, hold_utilisation, mechanism, state, command } =
        &args.command
    else {
        bail!("not `run`");
    };
    let reservation = wanted.reservation()?;
    let goal = hold_rate.map(Goal::Rate).or(hold_utilisation.map(Goal::Utilisation));
    let goal = goal.map(|goal| (goal, progress.clone()));
    let signals = Signals::new()?;
    match Client::connect(&args.socket) {
        Ok(client) if mechanism.is_none() => with_daemon(client, command, &reservation, goal, &signals),
        Ok(_) => bail!("the daemon has its mechanism; leave --mechanism out, or stop the daemon"),
        Err(ClientError::NoDaemon { .. }) => {
            let host = HostOptions { capacity: CAPACITY, ..HostOptions::all_cores()? };
            let options = SchedulerOptions { state: state.clone(), mechanism: *mechanism, host };
            alone(options, command, &reservation, goal, &signals)
        }
        Err(error) => Err(error.into()),
    }
}

fn with_daemon(
    mut client: Client,
    command: &[String],
    reservation: &Reservation,
    goal: Option<(Goal, Option<PathBuf>)>,
    signals: &Signals,
) -> anyhow::Result<ExitCode> {
    let mut child = Guarded::start(command)?;
    let attach = Request::Attach { name: name(command), pids: vec![child.0.id()], reservation: *reservation };
    let task = match client.ask(&attach) {
        Ok(Response::Attached { task }) => task,
        Ok(other) => bail!("the daemon answers something else: {other:?}"),
        Err(error) => return child.ended_before(error.into()),
    };
    if let Some((goal, progress)) = goal {
        let progress = progress.map(|path| std::path::absolute(&path)).transpose()?;
        client.ask(&Request::Hold { task, goal, progress })?;
    }
    let status = child.wait(signals, POLL)?;
    // If all of it has ended, the daemon has let go of it already.
    let _ = client.ask(&Request::Release { task });
    Ok(exit_code(status))
}

fn alone(
    options: SchedulerOptions,
    command: &[String],
    reservation: &Reservation,
    goal: Option<(Goal, Option<PathBuf>)>,
    signals: &Signals,
) -> anyhow::Result<ExitCode> {
    let mut watchdog = Command::new(std::env::current_exe()?);
    watchdog.arg("watchdog").arg("--state").arg(&options.state);
    let mut scheduler = Scheduler::start(options, &mut watchdog)?;
    let mut child = Guarded::start(command)?;
    {
        let host = scheduler.host();
        let mut host = host.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let task = match host.attach(&name(command), &[child.0.id()], reservation) {
            Ok(task) => task,
            Err(error) => return child.ended_before(error.into()),
        };
        if let Some((goal, progress)) = goal {
            host.hold(task, goal, progress)?;
        }
    }
    let mut status = None;
    let mut failed = None;
    scheduler.run(|_| {
        match child.poll(signals, Duration::ZERO) {
            Ok(ended) => status = ended,
            Err(error) => failed = Some(error),
        }
        status.is_some() || failed.is_some()
    })?;
    match (status, failed) {
        (Some(status), _) => Ok(exit_code(status)),
        (None, Some(error)) => Err(error),
        (None, None) => bail!("the scheduler ended before the command"),
    }
}

/// A child that doesn't outlive a failure of ours.
struct Guarded(Child);

impl Guarded {
    fn start(command: &[String]) -> anyhow::Result<Self> {
        let Some((program, arguments)) = command.split_first() else { bail!("no command is given") };
        let child = Command::new(program).args(arguments).spawn();
        Ok(Self(child.with_context(|| format!("could not start `{program}`"))?))
    }

    fn wait(&mut self, signals: &Signals, every: Duration) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.poll(signals, every)? {
                return Ok(status);
            }
        }
    }

    /// A command that was too quick to be attached is no failure.
    fn ended_before(&mut self, error: anyhow::Error) -> anyhow::Result<ExitCode> {
        match self.0.try_wait()? {
            Some(status) => Ok(exit_code(status)),
            None => Err(error),
        }
    }

    /// Hands signals on, and waits a while. A plain wait would wake us at each stop of the child.
    fn poll(&mut self, signals: &Signals, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let pid = Pid::from_child(&self.0);
        if let Some(signal) = signals.take() {
            kill_process(pid, signal)?;
        }
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
            Ok(_) => Ok(self.0.try_wait()?),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Ended already, unless we fail.
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// The last signal that asked us to end.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP]
        {
            let number = usize::try_from(signal)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&last), number)
                .context("could not handle signals")?;
        }
        Ok(Self(last))
    }

    fn take(&self) -> Option<Signal> {
        let number = i32::try_from(self.0.swap(0, Ordering::Relaxed)).ok()?;
        Signal::from_named_raw(number)
    }
}

/// As shells do: 128 and the signal's number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn name(command: &[String]) -> String {
    let program = command.first().map_or("", String::as_str);
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    name.chars().filter(|c| !c.is_control()).take(32).collect()
}
