//! `vnet bound`: the eighth primitive.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use vnet_core::HostName;
use vnet_core::control::Request;
use vnetd::client::{Call, Client};

use crate::cli::Global;
use crate::connect::connect;
use crate::input;
use crate::output::{self, Table};

/// Show or set the upper bound on configuration time
///
/// The bound says how long the overlay may take to reconfigure itself. VTTIF
/// derives from it how often it samples and over how long it averages: there
/// is no use in following an application faster than the overlay can.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vnet bound\n  vnet bound 500ms")]
pub(crate) struct Options {
    /// The new bound, for all daemons
    #[arg(value_name = "DURATION", value_parser = input::parse_duration)]
    bound: Option<Duration>,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    if let Some(bound) = options.bound {
        let hosts = super::targets(&mut client, None)?;
        set(&mut client, &hosts, bound)?;
    }
    let bounds: BTreeMap<HostName, u64> = super::survey(&mut client)?
        .daemons
        .into_iter()
        .map(|(host, daemon)| (host, daemon.status.configuration_bound_ms))
        .collect();
    output::show(global.json, &bounds, || {
        let mut table = Table::new(["HOST", "BOUND"]);
        for (host, ms) in &bounds {
            table.row([host.to_string(), format!("{ms} ms")]);
        }
        table.text()
    })
}

/// Sets the bound at all these daemons.
pub(super) fn set(client: &mut Client, hosts: &[HostName], bound: Duration) -> Result<()> {
    let ms = u64::try_from(bound.as_millis().max(1)).unwrap_or(u64::MAX);
    let calls: Vec<Call> =
        hosts.iter().map(|host| (Some(host.clone()), Request::SetConfigurationBound(ms))).collect();
    for (host, answer) in hosts.iter().zip(client.call_many(calls)?) {
        answer.map_err(|error| anyhow!("{host}: {error}"))?;
    }
    Ok(())
}
