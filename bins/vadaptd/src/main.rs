//! The adaptation loop as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    vadaptd::main_from_env()
}
