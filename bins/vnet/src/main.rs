//! The client of the VNET daemons, and the demonstration.

mod demo;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Look at and change a virtual network of VNET daemons.
#[derive(Parser)]
#[command(name = "vnet", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Options),
}

fn main() -> ExitCode {
    // This program again, as a daemon or a VM's application in a laboratory.
    if let Some(code) = testbed::dispatch() {
        return code;
    }
    let result = match Cli::parse().command {
        Command::Demo(options) => {
            vlab::enter().map_err(anyhow::Error::from).and_then(|_| demo::run(&options))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vnet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
