//! `vschedd`: holds virtual machines and process trees to CPU reservations.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use vsched::io::HostOptions;
use vsched::{Capacity, MechanismKind};
use vschedd::{SOCKET, STATE, Scheduler, SchedulerOptions, Server};

/// Holds virtual machines and process trees to CPU reservations.
///
/// Tasks are attached and changed through its socket (see `vsched`). When it
/// ends, or dies, everything is put back as it was: by itself, by its watchdog,
/// or by the next start.
#[derive(Parser)]
#[command(name = "vschedd", version, about)]
struct Options {
    /// The folder of the journal
    #[arg(long, default_value = STATE, global = true)]
    state: PathBuf,
    /// Where to listen
    #[arg(long, default_value = SOCKET)]
    socket: PathBuf,
    /// How to hold tasks to their slices: signal, deadline, cgroup or simulated [default: the best that can be used]
    #[arg(long, value_parser = mechanism)]
    mechanism: Option<MechanismKind>,
    /// The cores that tasks may use [default: all]
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// The part of each core that may be reserved; the rest is the host's
    #[arg(long, default_value_t = Capacity::DEFAULT.fraction())]
    capacity: f64,
    #[command(subcommand)]
    command: Option<Internal>,
}

#[derive(Subcommand)]
enum Internal {
    /// Put everything back when the scheduler at the other end of standard input dies
    #[command(hide = true)]
    Watchdog,
}

fn mechanism(name: &str) -> Result<MechanismKind, String> {
    let all =
        [MechanismKind::Signal, MechanismKind::Deadline, MechanismKind::Cgroup, MechanismKind::Simulated];
    let found = all.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| "there are signal, deadline, cgroup and simulated".to_owned())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_env("VSCHED_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
    let done = match options.command {
        Some(Internal::Watchdog) => vschedd::watchdog(&options.state),
        None => run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vschedd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let mut host = HostOptions::all_cores()?;
    if !options.cores.is_empty() {
        host.cores = options.cores;
    }
    host.capacity = Capacity::new(options.capacity)?;
    let mut watchdog = Command::new(std::env::current_exe()?);
    watchdog.arg("--state").arg(&options.state).arg("watchdog");
    let scheduler =
        SchedulerOptions { state: options.state, mechanism: options.mechanism, host: host.clone() };
    let mut scheduler = Scheduler::start(scheduler, &mut watchdog)?;
    let _server = Server::start(&options.socket, scheduler.host(), host)?;
    tracing::info!("listening at {}", options.socket.display());
    let end = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&end)).context("could not handle signals")?;
    }
    scheduler.run(|_| end.load(Ordering::Relaxed))
}
