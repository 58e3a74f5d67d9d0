//! One file per command: its flags and what it does.

pub(crate) mod apply;
pub(crate) mod bound;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod daemon;
pub(crate) mod diff;
pub(crate) mod down;
pub(crate) mod generate;
pub(crate) mod interface;
pub(crate) mod keygen;
pub(crate) mod link;
pub(crate) mod paths;
pub(crate) mod peer;
pub(crate) mod route;
pub(crate) mod rule;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod traffic;
pub(crate) mod up;

use anyhow::Result;
use vnet_core::HostName;
use vnetd::client::{Client, Overlay};

/// Asks all daemons; those that do not answer are named on standard error.
fn survey(client: &mut Client) -> Result<Overlay> {
    let overlay = Overlay::survey(client)?;
    for (host, why) in &overlay.silent {
        eprintln!("vnet: {host} does not answer: {why}");
    }
    Ok(overlay)
}

/// The daemons that a command is about: one, or all that answer.
fn targets(client: &mut Client, one: Option<&HostName>) -> Result<Vec<HostName>> {
    Ok(match one {
        Some(host) => vec![host.clone()],
        None => survey(client)?.daemons.into_keys().collect(),
    })
}

fn counted(count: impl TryInto<u64>, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
