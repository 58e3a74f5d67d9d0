//! `vttif`: infers the topology of an application from a traffic matrix or a capture.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod report;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use vnet_core::NetworkId;

use args::{Args, Command};

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Infer { file, options, output } => commands::infer(&file, &options, &output),
        Command::Watch { control, network, interval, count, options, output } => {
            let what = watch::What { control, network: NetworkId(network), interval: *interval, count };
            watch::watch(&what, &options, &output)
        }
        Command::Capture { file, by, window, step, options, output } => {
            commands::capture(&file, by, *window, *step, &options, &output)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vttif: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
