//! `vmmpa`: the migration agent, which knows where every machine is.
use std::process::ExitCode;

fn main() -> ExitCode {
    vmmpd::agent::main_from_env()
}
