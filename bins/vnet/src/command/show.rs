//! `vnet show`: the topology as it is.

use anyhow::Result;
use clap::Args;
use vnet_core::Topology;

use crate::cli::Global;
use crate::connect::connect;
use crate::drawing::{Format, Picture};
use crate::output;

/// Show the current topology
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vnet show
  vnet show --format vnet > now.vnet      a description that `vnet apply` takes
  vnet show --format svg > overlay.svg
  vnet show --format dot | dot -Tpdf > overlay.pdf")]
pub(crate) struct Options {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let overlay = super::survey(&mut connect(global.control.as_ref())?)?;
    let topology = overlay.topology(global.network, &Topology::default());
    let picture = Picture { topology: &topology, network: Some(global.network), overlay: Some(&overlay) };
    output::print(&picture.render(options.format.or_json(global.json))?)
}
