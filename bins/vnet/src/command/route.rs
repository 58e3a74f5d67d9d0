//! `vnet route`: where a frame goes.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use vnet_core::route::{attachments, route};
use vnet_core::{Action, Destination, HostName, InterfaceName, MacAddr, Topology};

use crate::cli::Global;
use crate::connect::connect;
use crate::{input, output};

/// Show the way of a frame between two VMs
///
/// The way is worked out from the rules as the daemons have them, or as a
/// description has them, hop by hop, with the rules that decide.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vnet route 02:00:00:00:00:01 02:00:00:00:00:02
  vnet route vm1 vm2                       VMs by the names of their interfaces
  vnet route vm1 ff:ff:ff:ff:ff:ff         the ways of a broadcast
  vnet route vm1 vm2 --file office.vnet    as a description has it")]
pub(crate) struct Options {
    /// The sender: its MAC address, or its interface
    source: String,
    /// The receiver: its MAC address, or its interface
    destination: String,
    /// The host where the frame enters, if the rules don't tell where the sender is
    #[arg(long, value_name = "HOST", requires = "interface")]
    host: Option<HostName>,
    /// The interface where the frame enters
    #[arg(long, value_name = "NAME", requires = "host")]
    interface: Option<InterfaceName>,
    /// Ask this description instead of the daemons; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let topology = match &options.file {
        Some(file) => input::read_topology(file)?,
        None => super::survey(&mut connect(global.control.as_ref())?)?
            .topology(global.network, &Topology::default()),
    };
    let source = address(&topology, &options.source)?;
    let destination = address(&topology, &options.destination)?;
    let (host, interface) = match (&options.host, &options.interface) {
        (Some(host), Some(interface)) => (host.clone(), interface.clone()),
        _ => place(&topology, source)?,
    };
    let route = route(&topology, &host, &interface, source, destination);
    output::show(global.json, &route, || route.to_string())
}

/// The MAC address that `text` is, or that the interface of that name has.
fn address(topology: &Topology, text: &str) -> Result<MacAddr> {
    let not_mac = match text.parse() {
        Ok(mac) => return Ok(mac),
        Err(error) => error,
    };
    let mut found: Vec<MacAddr> = topology
        .rules
        .values()
        .flatten()
        .filter(|rule| matches!(&rule.action, Action::Interface(name) if name.as_str() == text))
        .filter_map(|rule| match rule.destination {
            Destination::Exact(mac) if !mac.is_multicast() => Some(mac),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [mac] => Ok(mac),
        [] => bail!("{not_mac}, and no rule delivers to an interface of that name"),
        _ => bail!("several VMs are behind interfaces named {text}; give the MAC address"),
    }
}

fn place(topology: &Topology, mac: MacAddr) -> Result<(HostName, InterfaceName)> {
    let mut places = attachments(topology, mac);
    match (places.pop(), places.len()) {
        (Some(place), 0) => Ok(place),
        (None, _) => {
            bail!("no rule tells where {mac} is; say where the frame enters with --host and --interface")
        }
        (Some(_), _) => {
            bail!(
                "rules deliver to {mac} at several places; say where the frame enters with --host and --interface"
            )
        }
    }
}
