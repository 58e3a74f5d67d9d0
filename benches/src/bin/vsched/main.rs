//! How well reservations of CPU are kept, beside what the kernel offers.
//!
//! `cargo run --release -p vnet-benches --bin vsched`

mod cell;
mod figures;
mod guest;
mod spinner;
mod table;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use spinner::Hog;

/// Measure how well reservations of CPU are kept.
///
/// Processes that compute run under (period, slice), one at a time and several,
/// alone and beside two processes that want all the CPU. They write down when
/// they could run. A slice is late if more than 2 % of it is missing when its
/// period ends. The mechanisms take turns; needs root.
#[derive(Parser)]
#[command(name = "vsched", version, about)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    table: table::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Real guests: their total, and the round trip of a ping
    Guest(guest::Options),
    /// The simulator's speed, how soon a change takes effect, and what feedback costs
    Figures(figures::Options),
    /// Make progress (started by the measurements)
    #[command(hide = true)]
    Work { progress: PathBuf, cost: PathBuf },
    /// Compute, and write down when (started by the measurements)
    #[command(hide = true)]
    Spin { trace: PathBuf, end: u64 },
    /// Compute (started by the measurements)
    #[command(hide = true)]
    Hog,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.command {
        Some(Command::Spin { trace, end }) => spinner::run(&trace, end).map_err(Into::into),
        Some(Command::Guest(options)) => guest::run(&options),
        Some(Command::Figures(options)) => figures::run(&options),
        Some(Command::Work { progress, cost }) => figures::work(&progress, &cost),
        Some(Command::Hog) => Hog::run(),
        None => table::run(&options.table),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vsched: {error:#}");
            ExitCode::FAILURE
        }
    }
}
