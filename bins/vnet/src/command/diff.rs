//! `vnet diff`: what is missing for a description to be true.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use vnetd::client::{ApplyOptions, propose};

use crate::cli::Global;
use crate::connect::connect;
use crate::{input, output};

/// Show what would have to change to match a description
///
/// Lines with `+` would be added, lines with `-` removed. Links between the
/// Proxy and the daemons stay whatever the description says.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vnet generate ring --from star.vnet | vnet diff -")]
pub(crate) struct Options {
    /// The description; `-` reads standard input
    file: PathBuf,
    /// Remove links with the Proxy, too, that the description doesn't have
    #[arg(long)]
    without_star: bool,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let desired = input::read_topology(&options.file)?;
    let mut client = connect(global.control.as_ref())?;
    let apply =
        ApplyOptions { network: global.network, keep_star: !options.without_star, ..ApplyOptions::default() };
    let proposal = propose(&mut client, &desired, &apply)?;
    output::show(global.json, &proposal, || super::apply::describe(&proposal))
}
