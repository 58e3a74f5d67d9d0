//! Overlays from a list of hosts and VMs and the name of a shape.
//!
//! The rules of a generated overlay let every VM reach every other:
//!
//! - A frame to a VM of the overlay follows the shortest path to its host,
//!   by rules for that destination. Where several are as short, the hosts
//!   that stand first in the list are preferred.
//! - Every other frame (broadcast, multicast, an unknown destination) is
//!   flooded over one spanning tree of the links, by default rules. Since no
//!   frame leaves where it came in, each VM gets it once.
//!
//! [`add_fast_paths`] puts paths for single pairs of VMs on top.
//!
//! ```
//! use vnet_core::generate::{Overlay, VmSpec};
//! use vnet_core::{HostName, InterfaceName, MacAddr, Shape, route};
//!
//! let overlay = Overlay::numbered(4, Shape::Ring);
//! let topology = overlay.generate()?;
//! assert_eq!(topology.links.len(), 4);
//! let VmSpec { host, interface, mac } = &overlay.vms[0];
//! let flood = route::route(&topology, host, interface, *mac, MacAddr::BROADCAST);
//! assert_eq!(flood.deliveries().len(), 3);
//! # Ok::<(), vnet_core::generate::GenerateError>(())
//! ```

mod error;
mod fast_path;
mod forwarding;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::link::{Link, LinkKind};
use crate::mac::MacAddr;
use crate::name::{HostName, InterfaceName, UserName};
use crate::shape::Shape;
use crate::topology::{Host, Topology};

pub use error::GenerateError;
pub use fast_path::{FastPath, add_fast_paths};
pub use forwarding::add_forwarding_rules;

/// A VM and where it is attached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VmSpec {
    /// The VM's address.
    pub mac: MacAddr,
    /// The host that it runs on.
    pub host: HostName,
    /// The local port of that host's daemon that it is behind.
    pub interface: InterfaceName,
}

/// What an overlay is generated from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The hosts. They take the places of the shape in this order, after the hub.
    pub hosts: Vec<Host>,
    /// The VMs; a host may have any number of them.
    pub vms: Vec<VmSpec>,
    /// The host at place 0 of the shape (the centre of a star, the root of a
    /// tree), normally the Proxy; `None`: the first host.
    pub hub: Option<HostName>,
    /// The graph that the links make.
    pub shape: Shape,
    /// What carries the links.
    pub link_kind: LinkKind,
}

impl Overlay {
    /// An overlay of this shape with UDP links and the first host as its hub.
    pub fn new(hosts: Vec<Host>, vms: Vec<VmSpec>, shape: Shape) -> Self {
        Self { hosts, vms, hub: None, shape, link_kind: LinkKind::Udp }
    }

    /// Hosts `host1`, `host2`, ... on port 7777, with one VM each, `vm1`,
    /// `vm2`, ... with the addresses [`MacAddr::local`]`(1)`, `(2)`, ...: for
    /// tests and examples.
    pub fn numbered(hosts: u32, shape: Shape) -> Self {
        let name = |prefix: &str, i: u32| format!("{prefix}{i}");
        let vms: Vec<_> = (1..=hosts)
            .map(|i| VmSpec {
                mac: MacAddr::local(i),
                // Letters and digits make a name.
                host: HostName::new(&name("host", i)).expect("a legal name"),
                interface: InterfaceName::new(&name("vm", i)).expect("a legal name"),
            })
            .collect();
        let hosts = vms
            .iter()
            .map(|vm| Host {
                username: UserName::new("virtuoso").expect("a legal name"),
                machine: vm.host.clone(),
                port: 7777,
                interface: vm.interface.clone(),
            })
            .collect();
        Self::new(hosts, vms, shape)
    }

    /// The topology: links in the shape, and rules by which every VM reaches
    /// every other. Of the two ends of a link the one that stands later in the
    /// list of hosts opens it, so that two shapes over the same hosts agree on
    /// the links that they share.
    pub fn generate(&self) -> Result<Topology, GenerateError> {
        let places = self.places()?;
        let mut topology = Topology { hosts: self.hosts.clone(), ..Topology::default() };
        let listed: HashMap<_, _> =
            self.hosts.iter().enumerate().map(|(i, host)| (&host.machine, i)).collect();
        for (a, b) in self.shape.edges(places.len())? {
            topology.add_link(link_between(self.link_kind, &listed, places[a], places[b]));
        }
        add_forwarding_rules(&mut topology, &self.vms, places[0])?;
        Ok(topology)
    }

    /// The hosts in the order of their places in the shape.
    fn places(&self) -> Result<Vec<&HostName>, GenerateError> {
        let mut places: Vec<_> = self.hosts.iter().map(|host| &host.machine).collect();
        let mut seen = HashSet::new();
        if let Some(host) = places.iter().find(|host| !seen.insert(**host)) {
            return Err(GenerateError::DuplicateHost { host: (*host).clone() });
        }
        if let Some(hub) = &self.hub {
            let place = places.iter().position(|host| *host == hub);
            let place =
                place.ok_or_else(|| GenerateError::UnknownHost { host: hub.clone(), role: "the hub" })?;
            places[..=place].rotate_right(1);
        }
        if places.is_empty() {
            return Err(GenerateError::NoHosts);
        }
        Ok(places)
    }
}

/// The link between two hosts, given the place of each in the list of hosts.
fn link_between(
    kind: LinkKind,
    listed: &HashMap<&HostName, usize>,
    one: &HostName,
    other: &HostName,
) -> Link {
    let (a, b) = if listed[one] < listed[other] { (one, other) } else { (other, one) };
    Link { kind, opener: b.clone(), a: a.clone(), b: b.clone() }
}
