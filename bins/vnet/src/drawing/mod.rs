//! Topologies and traffic as pictures, of characters or of lines.

mod dot;
mod heat_map;
mod layout;
mod svg;
mod text;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use vnet_core::{Action, Destination, HostName, InterfaceName, LinkId, MacAddr, NetworkId, Topology};
use vnetd::client::Overlay;

pub(crate) use heat_map::HeatMap;

/// How to print a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables
    Text,
    /// JSON
    Json,
    /// For Graphviz
    Dot,
    /// A drawing
    Svg,
    /// The description language
    Vnet,
}

impl Format {
    /// This, or JSON where `--json` asks for it.
    pub(crate) fn or_json(self, json: bool) -> Self {
        if json { Self::Json } else { self }
    }
}

/// A topology to be shown.
#[derive(Clone, Copy)]
pub(crate) struct Picture<'a> {
    pub(crate) topology: &'a Topology,
    /// The network whose rules these are, where that is known.
    pub(crate) network: Option<NetworkId>,
    /// The daemons that have it, for their addresses and the state of links.
    pub(crate) overlay: Option<&'a Overlay>,
}

/// A VM as rules or interfaces tell of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Vm {
    interface: InterfaceName,
    mac: Option<MacAddr>,
}

impl Picture<'_> {
    pub(crate) fn render(&self, format: Format) -> Result<String> {
        Ok(match format {
            Format::Text => text::render(self),
            Format::Json => serde_json::to_string(self.topology).context("can't write JSON")? + "\n",
            Format::Dot => dot::render(self),
            Format::Svg => svg::render(self),
            Format::Vnet => self.topology.to_string(),
        })
    }

    fn proxy(&self) -> Option<&HostName> {
        self.overlay.and_then(|overlay| overlay.proxy.as_ref())
    }

    /// The VMs of each host: those that rules deliver to, and interfaces.
    fn vms(&self) -> BTreeMap<&HostName, Vec<Vm>> {
        let mut vms: BTreeMap<&HostName, Vec<Vm>> = BTreeMap::new();
        for (host, rules) in &self.topology.rules {
            for rule in rules {
                if let (Destination::Exact(mac), Action::Interface(interface)) =
                    (rule.destination, &rule.action)
                    && !mac.is_multicast()
                {
                    vms.entry(host).or_default().push(Vm { interface: interface.clone(), mac: Some(mac) });
                }
            }
        }
        for (host, daemon) in self.overlay.iter().flat_map(|overlay| &overlay.daemons) {
            for interface in &daemon.status.interfaces {
                let spec = &interface.spec;
                let known = vms.entry(host).or_default();
                if Some(spec.network) == self.network && !known.iter().any(|vm| vm.interface == spec.name) {
                    known.push(Vm { interface: spec.name.clone(), mac: spec.mac });
                }
            }
        }
        for known in vms.values_mut() {
            known.sort_unstable();
            known.dedup();
        }
        vms
    }

    /// Why a link is down at one of its ends; `None` while it is up at both,
    /// or nobody knows.
    fn why_down(&self, link: &LinkId) -> Option<&str> {
        let ends = self.overlay?.daemons.values().flat_map(|daemon| &daemon.status.links);
        let down = ends.filter(|status| status.link.id() == *link).find(|status| !status.state.up)?;
        Some(&down.state.why)
    }
}
