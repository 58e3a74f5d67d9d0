//! `vnet generate`: hosts and VMs and a shape make a description.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use vnet_core::generate::{Overlay, VmSpec};
use vnet_core::{
    Action, Destination, Host, HostName, InterfaceName, LinkKind, MacAddr, Shape, Topology, UserName,
};

use crate::cli::Global;
use crate::drawing::{Format, Picture};
use crate::{input, output};

/// Generate the description of an overlay
///
/// Hosts come from --host flags, or from a description whose hosts and VMs
/// are taken (--from). The result has the links of the shape and rules by which
/// every VM reaches every other, broadcasts included.
#[derive(Debug, Args)]
#[command(after_help = "\
A host is [USER@]NAME[:PORT], a VM is HOST/INTERFACE=MAC. Without --vm, each
host has one VM, vm1, vm2, ..., with the addresses 02:00:00:00:00:01 and so on.

Examples:
  vnet generate star --host proxy --host a --host b
  vnet generate mesh:2x2 --hosts 4 --format svg > mesh.svg
  vnet generate ring --from star.vnet
  vnet generate all-to-all --host a:7700 --host b:7700 --vm a/vm1=02:00:00:00:00:01")]
pub(crate) struct Options {
    /// star, ring, bus, mesh, torus, hypercube, tree, all-to-all; mesh:4x2, torus:3x3x3
    shape: Shape,
    /// A host; its place in the shape is its place here
    #[arg(long = "host", value_name = "HOST", value_parser = parse_host)]
    hosts: Vec<HostArg>,
    /// So many hosts: host1, host2, ...
    #[arg(long = "hosts", value_name = "N", conflicts_with_all = ["hosts", "from"])]
    numbered: Option<u32>,
    /// A VM
    #[arg(long = "vm", value_name = "VM", value_parser = parse_vm)]
    vms: Vec<VmSpec>,
    /// Take hosts and VMs from this description; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hosts", "vms"])]
    from: Option<PathBuf>,
    /// The host at the centre of a star or the root of a tree [default: the first]
    #[arg(long, value_name = "NAME")]
    hub: Option<HostName>,
    /// TCP links instead of UDP
    #[arg(long)]
    tcp: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Vnet)]
    format: Format,
}

#[derive(Clone, Debug)]
struct HostArg {
    user: UserName,
    machine: HostName,
    port: u16,
}

pub(crate) fn run(global: &Global, options: Options) -> Result<()> {
    let format = options.format.or_json(global.json);
    let (hosts, vms) = match (&options.from, options.numbered) {
        (Some(file), _) => members(&input::read_topology(file)?),
        (None, Some(count)) => named(numbered(count)?, options.vms)?,
        (None, None) => named(options.hosts, options.vms)?,
    };
    let mut overlay = Overlay::new(hosts, vms, options.shape);
    overlay.hub = options.hub;
    if options.tcp {
        overlay.link_kind = LinkKind::Tcp;
    }
    let topology = overlay.generate()?;
    output::print(&Picture { topology: &topology, network: None, overlay: None }.render(format)?)
}

/// The hosts of a description and the VMs that its rules deliver to.
fn members(topology: &Topology) -> (Vec<Host>, Vec<VmSpec>) {
    let mut vms = Vec::new();
    for (host, rules) in &topology.rules {
        for rule in rules {
            if let (Destination::Exact(mac), Action::Interface(interface)) = (rule.destination, &rule.action)
                && !mac.is_multicast()
            {
                vms.push(VmSpec { mac, host: host.clone(), interface: interface.clone() });
            }
        }
    }
    vms.sort_unstable();
    vms.dedup();
    (topology.hosts.clone(), vms)
}

fn named(hosts: Vec<HostArg>, vms: Vec<VmSpec>) -> Result<(Vec<Host>, Vec<VmSpec>)> {
    if hosts.is_empty() {
        bail!("no hosts: give some with --host, --hosts N or --from FILE");
    }
    let vms = if vms.is_empty() { one_each(&hosts)? } else { vms };
    let interface_of =
        |host: &HostName| vms.iter().find(|vm| vm.host == *host).map(|vm| vm.interface.clone());
    let none = InterfaceName::new("none").context("a name")?;
    let hosts = hosts
        .into_iter()
        .map(|host| Host {
            interface: interface_of(&host.machine).unwrap_or_else(|| none.clone()),
            username: host.user,
            machine: host.machine,
            port: host.port,
        })
        .collect();
    Ok((hosts, vms))
}

fn one_each(hosts: &[HostArg]) -> Result<Vec<VmSpec>> {
    let vm = |(at, host): (usize, &HostArg)| -> Result<VmSpec> {
        let number = u32::try_from(at + 1).context("too many hosts")?;
        Ok(VmSpec {
            mac: MacAddr::local(number),
            host: host.machine.clone(),
            interface: InterfaceName::new(&format!("vm{number}"))?,
        })
    };
    hosts.iter().enumerate().map(vm).collect()
}

fn numbered(count: u32) -> Result<Vec<HostArg>> {
    (1..=count).map(|number| parse_host(&format!("host{number}")).map_err(anyhow::Error::msg)).collect()
}

fn parse_host(text: &str) -> Result<HostArg, String> {
    let (user, rest) = text.split_once('@').unwrap_or(("vnet", text));
    let (machine, port) = match rest.rsplit_once(':') {
        Some((machine, port)) => {
            (machine, port.parse().map_err(|error| format!("the port `{port}`: {error}"))?)
        }
        None => (rest, vnetd::config::DEFAULT_DATA_PORT),
    };
    let name = |error: vnet_core::name::NameError| error.to_string();
    Ok(HostArg {
        user: UserName::new(user).map_err(name)?,
        machine: HostName::new(machine).map_err(name)?,
        port,
    })
}

fn parse_vm(text: &str) -> Result<VmSpec, String> {
    let wrong = || format!("`{text}` is not a VM; write HOST/INTERFACE=MAC");
    let (place, mac) = text.split_once('=').ok_or_else(wrong)?;
    let (host, interface) = place.split_once('/').ok_or_else(wrong)?;
    let name = |error: vnet_core::name::NameError| error.to_string();
    Ok(VmSpec {
        mac: mac.parse().map_err(|error: vnet_core::mac::ParseMacError| error.to_string())?,
        host: HostName::new(host).map_err(name)?,
        interface: InterfaceName::new(interface).map_err(name)?,
    })
}
