//! `vnet daemon`: this program as a daemon, so that one executable is enough.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Flags of vnetd
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<OsString>,
}

pub(crate) fn run(options: Options) -> ExitCode {
    vnetd::main_from_args([OsString::from("vnetd")].into_iter().chain(options.flags))
}
