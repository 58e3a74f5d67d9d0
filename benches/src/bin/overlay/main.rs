//! Our overlay beside the kernel's VXLAN and other overlays, on one machine.
//!
//! `cargo run --release -p vnet-benches --bin overlay`, as root.
#![forbid(unsafe_code)]

mod contender;
mod generator;
mod lab;
mod measure;
mod plane;
mod report;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure overlays side by side.
///
/// Two hosts in network namespaces are joined by a veth pair with an MTU of
/// 1500. Each contender carries an Ethernet (or IP) network with an MTU of 1400
/// between them, over which TCP and UDP run. All contenders are up at once and
/// have their turns interleaved, so that the machine's moods strike all alike. The
/// table has medians, the spread, and ratios to the kernel's VXLAN.
#[derive(Parser)]
#[command(name = "overlay", version, about)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measurement: measure::MeasureArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Our overlay in one host
    #[command(hide = true)]
    Plane(plane::PlaneArgs),
    /// A wire that loses packets
    #[command(hide = true)]
    Wire(wire::WireArgs),
    /// Answer and count datagrams
    #[command(hide = true)]
    Serve(generator::ServeArgs),
    /// Measure round trips
    #[command(hide = true)]
    Ping(generator::PingArgs),
    /// Send small datagrams as fast as it goes
    #[command(hide = true)]
    Blast(generator::BlastArgs),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.command {
        Some(Command::Plane(args)) => plane::run(args),
        Some(Command::Wire(args)) => wire::run(args),
        Some(Command::Serve(args)) => generator::serve(args),
        Some(Command::Ping(args)) => generator::ping(args),
        Some(Command::Blast(args)) => generator::blast(args),
        None => measure::run(&options.measurement),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overlay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
