//! Our overlay beside the kernel's VXLAN and other overlays, on one machine.
#![forbid(unsafe_code)]

mod plane;

use clap::{Parser, Subcommand};

/// Measures overlays side by side.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Our overlay in one host; started by the measurement.
    #[command(hide = true)]
    Plane(plane::PlaneArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Some(Command::Plane(args)) => plane::run(&args),
        None => Ok(()),
    }
}
