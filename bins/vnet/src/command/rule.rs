//! `vnet rule`: primitives 3, 4 and 7.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use vnet_core::control::{Request, RuleEntry, RuleStatus};
use vnet_core::{Destination, HostName, InterfaceName, Source};
use vnetd::config::{parse_destination, parse_source};

use crate::cli::Global;
use crate::connect::connect;
use crate::input;
use crate::output::{self, Table};

/// List, add and delete forwarding rules
///
/// Of the rules that match a frame, the strongest apply: an exact address
/// beats `not`, `not` beats `any`, `any` beats `none` (the default rule), and
/// the destination weighs more than the source.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rules of a daemon, or of all, with what they forwarded
    List {
        /// The daemon
        host: Option<HostName>,
        /// Rule sets that are not in use, too
        #[arg(long)]
        all_versions: bool,
    },
    /// Add a rule to the ones in use
    #[command(after_help = "\
Examples:
  vnet rule add host-a any 02:00:00:00:00:02 --edge host-b
  vnet rule add host-b any 02:00:00:00:00:02 --interface vm2
  vnet rule add host-a 'not 02:00:00:00:00:01' ff:ff:ff:ff:ff:ff --interface vm1
  vnet rule add host-a any none --edge proxy")]
    Add(RuleArgs),
    /// Delete a rule from the ones in use
    #[command(alias = "delete")]
    Del(RuleArgs),
}

#[derive(Debug, Args)]
struct RuleArgs {
    /// The daemon that holds the rule
    host: HostName,
    /// Which senders: `any`, a MAC address, or `not` and one
    #[arg(value_parser = parse_source)]
    source: Source,
    /// Which receivers: `any`, a MAC address, `not` and one, or `none`
    #[arg(value_parser = parse_destination)]
    destination: Destination,
    /// Send the frames over the link to this daemon
    #[arg(long, value_name = "HOST", required_unless_present = "interface", conflicts_with = "interface")]
    edge: Option<HostName>,
    /// Deliver the frames to this local interface
    #[arg(long, value_name = "NAME")]
    interface: Option<InterfaceName>,
}

#[derive(Serialize)]
struct Listed {
    host: HostName,
    /// Is the rule in the set that is in use?
    current: bool,
    #[serde(flatten)]
    rule: RuleStatus,
}

pub(crate) fn run(global: &Global, options: Options) -> Result<()> {
    match options.command {
        Command::List { host, all_versions } => list(global, host.as_ref(), all_versions),
        Command::Add(rule) => change(global, rule, "added", Request::AddRule),
        Command::Del(rule) => change(global, rule, "deleted", Request::DeleteRule),
    }
}

fn change(global: &Global, args: RuleArgs, done: &str, request: fn(RuleEntry) -> Request) -> Result<()> {
    let RuleArgs { host, source, destination, edge, interface } = args;
    let rule = input::rule(&host, source, destination, edge, interface)?;
    let entry = RuleEntry { network: global.network, rule };
    connect(global.control.as_ref())?.call(Some(&host), request(entry.clone()))?;
    output::show(global.json, &entry, || format!("{done} `{}` at {host}\n", entry.rule))
}

fn list(global: &Global, host: Option<&HostName>, all_versions: bool) -> Result<()> {
    let overlay = super::survey(&mut connect(global.control.as_ref())?)?;
    if let Some(host) = host.filter(|host| !overlay.daemons.contains_key(host)) {
        anyhow::bail!("there is no daemon {host}; `vnet status` lists them");
    }
    let mut listed = Vec::new();
    for (name, daemon) in overlay.daemons.iter().filter(|(name, _)| host.is_none_or(|host| host == *name)) {
        let current = overlay.version(name, global.network);
        for rule in daemon.rules.iter().filter(|rule| rule.network == global.network) {
            let current = rule.version == current;
            if current || all_versions {
                listed.push(Listed { host: name.clone(), current, rule: rule.clone() });
            }
        }
    }
    output::show(global.json, &listed, || {
        let mut table = Table::new(["HOST", "VERSION", "RULE", "FRAMES", "BYTES"]);
        for Listed { host, current, rule } in &listed {
            table.row([
                host.to_string(),
                if *current { rule.version.to_string() } else { format!("({})", rule.version) },
                rule.rule.to_string(),
                rule.frames.to_string(),
                rule.bytes.to_string(),
            ]);
        }
        table.text()
    })
}
