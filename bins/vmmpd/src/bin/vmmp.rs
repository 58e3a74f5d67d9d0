//! `vmmp`: the client of the migration agent and of providers.
use std::process::ExitCode;

fn main() -> ExitCode {
    vmmpd::client::main_from_env()
}
