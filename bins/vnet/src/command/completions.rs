//! `vnet completions`: scripts that complete commands and flags in a shell.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

/// Print a shell's completion script
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vnet completions bash > ~/.local/share/bash-completion/completions/vnet
  vnet completions fish > ~/.config/fish/completions/vnet.fish")]
pub(crate) struct Options {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "vnet", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
