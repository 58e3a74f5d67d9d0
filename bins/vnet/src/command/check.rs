//! `vnet check`: is a description good?

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::counted;
use crate::cli::Global;
use crate::drawing::{Format, Picture};
use crate::{input, output};

/// Check a description
///
/// Errors name the line and the column. Warnings tell of what can't work
/// though it can be described, such as a rule over a link that isn't there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vnet check office.vnet
  vnet check office.vnet --format svg > office.svg")]
pub(crate) struct Options {
    /// The description; `-` reads standard input
    file: PathBuf,
    /// Show the topology, too
    #[arg(short, long, value_enum)]
    format: Option<Format>,
}

#[derive(Serialize)]
struct Checked {
    hosts: usize,
    links: usize,
    rules: usize,
    warnings: Vec<String>,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let topology = input::read_topology(&options.file)?;
    let checked = Checked {
        hosts: topology.hosts.len(),
        links: topology.links.len(),
        rules: topology.rule_count(),
        warnings: topology.warnings().iter().map(ToString::to_string).collect(),
    };
    if let Some(format) = options.format {
        for warning in &checked.warnings {
            eprintln!("vnet: warning: {warning}");
        }
        let picture = Picture { topology: &topology, network: None, overlay: None };
        return output::print(&picture.render(format.or_json(global.json))?);
    }
    output::show(global.json, &checked, || {
        let mut text = format!(
            "good: {}, {}, {}\n",
            counted(checked.hosts, "host"),
            counted(checked.links, "link"),
            counted(checked.rules, "rule")
        );
        for warning in &checked.warnings {
            text += &format!("warning: {warning}\n");
        }
        text
    })
}
