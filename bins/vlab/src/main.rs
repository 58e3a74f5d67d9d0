//! `vlab`: builds a laboratory from a description and runs programs in it.

mod cli;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vlab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
