//! `vnet down`: stop all daemons.

use anyhow::{Result, bail};
use clap::Args;
use vnet_core::HostName;
use vnet_core::control::Request;
use vnetd::client::Call;

use super::counted;
use crate::cli::Global;
use crate::connect::connect;
use crate::output;

/// Stop all daemons of the overlay
///
/// Links, rules and interfaces stay on record: daemons that are started again
/// have them.
#[derive(Debug, Args)]
pub(crate) struct Options {}

pub(crate) fn run(global: &Global, _: &Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    let overlay = super::survey(&mut client)?;
    // The Proxy hands the others their request; the daemon at the other end
    // of this connection hands it to the Proxy.
    let mut order: Vec<HostName> = overlay.daemons.keys().cloned().collect();
    order.sort_by_key(|host| (overlay.proxy.as_ref() == Some(host), *host == overlay.here));
    let last = order.split_off(order.len().saturating_sub(2));
    let mut failures = Vec::new();
    let mut stop = |hosts: &[HostName]| -> Result<()> {
        let calls: Vec<Call> = hosts.iter().map(|host| (Some(host.clone()), Request::Shutdown)).collect();
        for (host, answer) in hosts.iter().zip(client.call_many(calls)?) {
            if let Err(error) = answer {
                failures.push(format!("{host}: {error}"));
            }
        }
        Ok(())
    };
    stop(&order)?;
    for host in &last {
        stop(std::slice::from_ref(host))?;
    }
    if !failures.is_empty() {
        bail!("not all daemons stopped: {}", failures.join("; "));
    }
    let stopped: Vec<_> = overlay.daemons.keys().collect();
    output::show(global.json, &stopped, || format!("{} stopped\n", counted(stopped.len(), "daemon")))
}
