//! `vnet apply`: make a description true.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use vnetd::client::{Applied, ApplyOptions, Progress, Proposal, apply, propose};

use super::counted;
use crate::cli::Global;
use crate::connect::connect;
use crate::{input, output};

/// Reconfigure the overlay to match a description, without losing a frame
///
/// New links come up first. Then every daemon gets the new rules beside the
/// old ones, and all change over to them; every frame is forwarded by one of
/// the two on its whole way. When no old frame is left, old rules and links go.
/// What fails before the change-over is undone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vnet apply office.vnet
  vnet apply office.vnet --dry-run --json
  vnet show --format vnet | sed s/UDP/TCP/ | vnet apply -")]
pub(crate) struct Options {
    /// The description; `-` reads standard input
    file: PathBuf,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for frames that are under way by the old rules
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = input::parse_duration)]
    drain: Duration,
    /// How long new links may take to come up [default: the configuration
    /// bound, at least 10s]
    #[arg(long, value_name = "TIME", value_parser = input::parse_duration)]
    links_within: Option<Duration>,
    /// Remove links with the Proxy, too, that the description doesn't have
    #[arg(long)]
    without_star: bool,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let desired = input::read_topology(&options.file)?;
    let mut client = connect(global.control.as_ref())?;
    let apply_options = ApplyOptions {
        network: global.network,
        drain: options.drain,
        links_within: options.links_within,
        keep_star: !options.without_star,
        ..ApplyOptions::default()
    };
    if options.dry_run {
        let proposal = propose(&mut client, &desired, &apply_options)?;
        return output::show(global.json, &proposal, || describe(&proposal));
    }
    let applied = apply(&mut client, &desired, &apply_options, report)?;
    output::show(global.json, &applied, || summary(&applied))
}

/// Progress goes to standard error, as the result goes to standard output.
pub(super) fn report(progress: &Progress) {
    eprintln!("{progress}");
}

pub(super) fn summary(applied: &Applied) -> String {
    if applied.proposal.is_empty() {
        return "nothing had to change\n".to_owned();
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let difference = &applied.proposal.difference;
    let rules: usize =
        difference.rules_added.values().chain(difference.rules_removed.values()).map(Vec::len).sum();
    let mut text = format!(
        "{} added, {} removed, {} changed; in force after {:.1} ms, done after {:.1} ms\n",
        counted(difference.links_added.len() + difference.links_replaced.len(), "link"),
        difference.links_removed.len() + difference.links_replaced.len(),
        counted(rules, "rule"),
        ms(applied.in_force),
        ms(applied.total),
    );
    for leftover in &applied.leftovers {
        text += &format!("left over: {leftover}\n");
    }
    text
}

pub(super) fn describe(proposal: &Proposal) -> String {
    let mut text = proposal.difference.to_string();
    for (host, link) in &proposal.strays {
        text += &format!("- the end of link {link} at {host}, which has no other end\n");
    }
    for link in proposal.plan.interrupted_links() {
        text += &format!("! link {link} is interrupted while it is replaced\n");
    }
    if proposal.is_empty() {
        text += "nothing has to change\n";
    }
    for link in &proposal.kept {
        text += &format!("  link {link} with the Proxy stays\n");
    }
    text
}
