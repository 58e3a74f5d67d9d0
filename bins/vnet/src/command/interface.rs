//! `vnet interface`: primitive 5, and interfaces that come and go.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use vnet_core::control::{InterfaceSpec, InterfaceStatus, PortKind, Request};
use vnet_core::{HostName, InterfaceName, MacAddr};

use crate::cli::Global;
use crate::connect::connect;
use crate::output::{self, Table};

/// List, add and delete interfaces
///
/// An interface is where the frames of VMs enter and leave a daemon. It waits
/// for its device where that isn't there.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the interfaces of a daemon, or of all
    List {
        /// The daemon
        host: Option<HostName>,
    },
    /// Add an interface to a daemon
    #[command(after_help = "\
Examples:
  vnet interface add host-a vm1 --tap vnet0 --mac 02:00:00:00:00:01
  vnet interface add host-a lan --packet eth1
  vnet interface add host-a vm2 --stream /run/user/1000/vm2.sock")]
    Add(Box<AddArgs>),
    /// Delete an interface from a daemon
    #[command(alias = "delete")]
    Del {
        /// The daemon
        host: HostName,
        /// The interface
        name: InterfaceName,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    /// The daemon
    host: HostName,
    /// The interface's name in rules
    name: InterfaceName,
    #[command(flatten)]
    port: PortArgs,
    /// The network namespace of the device, such as /proc/42/ns/net
    #[arg(long, value_name = "PATH", conflicts_with = "stream")]
    netns: Option<PathBuf>,
    /// Make the TAP device
    #[arg(long, requires = "tap")]
    create: bool,
    /// The address of the VM behind it
    #[arg(long)]
    mac: Option<MacAddr>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PortArgs {
    /// Its device: a TAP device
    #[arg(long, value_name = "DEVICE")]
    tap: Option<String>,
    /// Its device: any other, by a packet socket
    #[arg(long, value_name = "DEVICE")]
    packet: Option<String>,
    /// No device, but a Unix socket that the daemon makes, for QEMU's `-netdev stream`
    #[arg(long, value_name = "PATH")]
    stream: Option<PathBuf>,
}

#[derive(Serialize)]
struct Listed {
    host: HostName,
    #[serde(flatten)]
    interface: InterfaceStatus,
}

pub(crate) fn run(global: &Global, options: Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    match options.command {
        Command::List { host } => {
            let mut listed = Vec::new();
            for host in super::targets(&mut client, host.as_ref())? {
                let interfaces = client.interfaces(Some(&host))?;
                listed
                    .extend(interfaces.into_iter().map(|interface| Listed { host: host.clone(), interface }));
            }
            output::show(global.json, &listed, || text(&listed))
        }
        Command::Add(args) => {
            let AddArgs { host, name, port, netns, create, mac } = *args;
            let port = match port {
                PortArgs { tap: Some(device), .. } => PortKind::Tap { device, netns, create },
                PortArgs { stream: Some(path), .. } => PortKind::Stream { path },
                PortArgs { packet, .. } => PortKind::Packet { device: packet.unwrap_or_default(), netns },
            };
            let spec = InterfaceSpec { name, network: global.network, mac, port };
            client.call(Some(&host), Request::AddInterface(spec.clone()))?;
            output::show(global.json, &spec, || format!("added the interface {} at {host}\n", spec.name))
        }
        Command::Del { host, name } => {
            client.call(Some(&host), Request::DeleteInterface(name.clone()))?;
            output::show(global.json, &name, || format!("deleted the interface {name} at {host}\n"))
        }
    }
}

fn text(listed: &[Listed]) -> String {
    let mut table = Table::new(["HOST", "INTERFACE", "NETWORK", "DEVICE", "VM", "STATE"]);
    for Listed { host, interface } in listed {
        let spec = &interface.spec;
        let device = match &spec.port {
            PortKind::Tap { device, .. } => format!("TAP {device}"),
            PortKind::Packet { device, .. } => device.clone(),
            PortKind::Stream { path } => path.display().to_string(),
        };
        table.row([
            host.to_string(),
            spec.name.to_string(),
            spec.network.to_string(),
            device,
            spec.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string()),
            if interface.state.up { "up".to_owned() } else { format!("down: {}", interface.state.why) },
        ]);
    }
    table.text()
}
