//! `vadapt`: solves, checks, compares, generates and draws adaptation problems.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod svg;
mod table;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("VADAPT_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let done = match args.command {
        Command::Solve(args) => commands::solve::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Bound(args) => commands::bound::run(&args),
        Command::Draw(args) => commands::draw::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vadapt: {error:#}");
            ExitCode::FAILURE
        }
    }
}
