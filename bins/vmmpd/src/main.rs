//! `vmmpd`: a provider of virtual machines, as origin and destination of migrations.
use std::process::ExitCode;

fn main() -> ExitCode {
    vmmpd::provider::main_from_env()
}
