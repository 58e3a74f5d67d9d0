//! The VNET daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    vnetd::main_from_args(std::env::args_os())
}
