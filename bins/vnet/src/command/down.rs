//! `vnet down`: stop all daemons.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use vnet_core::HostName;
use vnet_core::control::Request;
use vnetd::client::{Call, Client};

use super::counted;
use crate::cli::Global;
use crate::connect::connect;
use crate::output;

const PATIENCE: Duration = Duration::from_secs(10);

/// Stop all daemons of the overlay
///
/// Links, rules and interfaces stay on record: daemons that are started again
/// have them.
#[derive(Debug, Args)]
pub(crate) struct Options {}

pub(crate) fn run(global: &Global, _: &Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    let overlay = super::survey(&mut client)?;
    // Requests go through the daemon at the other end of this connection and
    // through the Proxy: these two stop last.
    let is_last = |host: &&HostName| **host == overlay.here || Some(*host) == overlay.proxy.as_ref();
    let (last, first): (Vec<&HostName>, Vec<&HostName>) = overlay.daemons.keys().partition(is_last);
    stop(&mut client, &first)?;
    if let Some(proxy) = &overlay.proxy {
        wait_for("the other daemons to leave", || {
            let registered = client.status(Some(proxy))?.daemons;
            Ok(!registered.iter().any(|daemon| first.contains(&&daemon.host)))
        })?;
        if *proxy != overlay.here {
            stop(&mut client, &[proxy])?;
        }
    }
    if last.contains(&&overlay.here) {
        stop(&mut client, &[&overlay.here])?;
    }
    let address = client.address().clone();
    wait_for("the last daemon to stop", || Ok(Client::connect(&address).is_err()))?;
    let stopped: Vec<_> = overlay.daemons.keys().collect();
    output::show(global.json, &stopped, || format!("{} stopped\n", counted(stopped.len(), "daemon")))
}

fn stop(client: &mut Client, hosts: &[&HostName]) -> Result<()> {
    let calls: Vec<Call> = hosts.iter().map(|host| (Some((*host).clone()), Request::Shutdown)).collect();
    for (host, answer) in hosts.iter().zip(client.call_many(calls)?) {
        answer.map_err(|error| anyhow!("{host} did not stop: {error}"))?;
    }
    Ok(())
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() >= end {
            bail!("waited {PATIENCE:?} in vain for {what}; `vnet status` shows what is left");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
