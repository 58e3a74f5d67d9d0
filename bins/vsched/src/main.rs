//! `vsched`: runs virtual machines and other processes under CPU reservations.
#![forbid(unsafe_code)]

mod args;
mod daemon;
mod offline;
mod run;
mod tune;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("VSCHED_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
    match carry_out(&args) {
        Ok(code) => code,
        // The reader of our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vsched: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(args: &Args) -> anyhow::Result<ExitCode> {
    let socket = &args.socket;
    match &args.command {
        Command::Run { .. } => return run::run(args),
        Command::Attach { wanted, name, pids, json } => {
            daemon::attach(socket, name.as_deref(), pids, &wanted.reservation()?, *json)?;
        }
        Command::Set { task, wanted } => daemon::set(socket, *task, &wanted.reservation()?)?,
        Command::Release { task } => daemon::release(socket, *task)?,
        Command::List { json } => daemon::list(socket, *json)?,
        Command::Top { every, times, json } => daemon::top(socket, **every, *times, *json)?,
        Command::Check { file: Some(file), json, .. } => return offline::check(file, *json),
        Command::Check { period, slice, json, .. } => {
            let (Some(period), Some(slice)) = (period, slice) else {
                anyhow::bail!("a file, or --period and --slice are needed");
            };
            daemon::check(socket, &vsched::Reservation::new(**period, **slice)?, *json)?;
        }
        Command::Simulate { file, duration, seed, json } => {
            offline::simulate(file, **duration, *seed, *json)?;
        }
        Command::Tune { task } => tune::tune(socket, *task)?,
        Command::Mechanisms { state, json } => return offline::mechanisms(state, *json),
        Command::Watchdog { state } => vschedd::watchdog(state)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
