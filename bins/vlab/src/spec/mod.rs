//! The description of a laboratory, as a TOML file or built in a program.

mod check;
mod path;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vnet_core::{Bandwidth, HostName, InterfaceName, MacAddr};

use crate::text::serde_duration;
use crate::wan::QueueLimit;

pub use check::SpecError;
pub use path::PathTruth;

/// What the papers' experiment ran on, in today's figures: a fast cluster
/// (`fast1` to `fast4`), a slower one (`slow1` to `slow3`), a far host
/// (`far1`), and the user's `proxy` behind a slow link.
pub const PAPERS: &str = include_str!("../../labs/papers.toml");

/// What network cards are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NicChoice {
    /// TAP devices where `/dev/net/tun` can be opened, else veth.
    #[default]
    Auto,
    /// TAP devices.
    Tap,
    /// veth pairs and packet sockets, which need no device file.
    Veth,
}

/// A laboratory: sites, the hosts at them, the paths between them, and VMs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabSpec {
    /// Its name, for people.
    pub name: String,
    /// What network cards are made of.
    #[serde(default)]
    pub nics: NicChoice,
    /// The hosts' IPv4 subnet.
    #[serde(default = "LabSpec::default_subnet")]
    pub subnet: Subnet,
    /// The VMs' IPv4 subnet, on the virtual network.
    #[serde(default = "LabSpec::default_vm_subnet")]
    pub vm_subnet: Subnet,
    /// The largest packet on the hosts' network, in bytes.
    #[serde(default = "LabSpec::default_mtu")]
    pub mtu: u32,
    /// The largest packet of VMs, in bytes: smaller than `mtu`, so that an
    /// encapsulated frame still fits.
    #[serde(default = "LabSpec::default_vm_mtu")]
    pub vm_mtu: u32,
    /// Give VMs link-local IPv6 addresses.
    #[serde(default)]
    pub vm_ipv6: bool,
    /// From which all chance in the network follows.
    #[serde(default)]
    pub seed: u64,
    /// The host where the Proxy belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<HostName>,
    /// Sites.
    #[serde(rename = "site", default)]
    pub sites: Vec<SiteSpec>,
    /// Hosts, at the sites.
    #[serde(rename = "host", default)]
    pub hosts: Vec<HostSpec>,
    /// Paths between sites, or between two hosts.
    #[serde(rename = "path", default)]
    pub paths: Vec<PathSpec>,
    /// VMs.
    #[serde(rename = "vm", default)]
    pub vms: Vec<VmSpec>,
}

/// Hosts that are close to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSpec {
    /// Its name, which no host may have.
    pub name: String,
    /// One way between two of its hosts.
    #[serde(default, with = "serde_duration")]
    pub latency: Duration,
    /// The largest deviation from `latency`.
    #[serde(default, with = "serde_duration", skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// What all its hosts together can send to each other; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

/// A host: a network namespace with a NIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// Its name.
    pub name: HostName,
    /// Where it is.
    pub site: String,
    /// What its NIC sends at.
    pub up: Bandwidth,
    /// What its NIC receives at.
    pub down: Bandwidth,
    /// How much waits at either end of its access link.
    #[serde(default)]
    pub queue: QueueLimit,
    /// How many VMs it has room for.
    #[serde(default)]
    pub room: u32,
    /// How fast it computes; 1 is ordinary.
    #[serde(default = "one")]
    pub speed: f64,
    /// Its address; absent: the next free one of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The address of its NIC; absent: made from `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
}

/// What lies between two sites (for all their hosts together) or two hosts
/// (for them alone, instead of what lies between their sites).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathSpec {
    /// The two ends: two sites or two hosts.
    pub between: [String; 2],
    /// The rate in each direction; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// One way.
    #[serde(with = "serde_duration")]
    pub latency: Duration,
    /// The largest deviation from `latency`.
    #[serde(default, with = "serde_duration", skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// The probability that a frame is lost, from 0 to 1.
    #[serde(default)]
    pub loss: f64,
    /// How much waits at each end.
    #[serde(default)]
    pub queue: QueueLimit,
}

/// A VM: a network namespace whose NIC an overlay's daemon opens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// Its name, also that of its port at a daemon.
    pub name: InterfaceName,
    /// The host where it starts; absent: that is for others to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// Its address on the virtual network; absent: the next free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The address of its NIC; absent: made from `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
}

/// An IPv4 subnet, written `10.77.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its first address.
    pub network: Ipv4Addr,
    /// How many bits all its addresses have in common.
    pub prefix: u8,
}

/// An end of the hosts' or the VMs' network: where a NIC stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// How many bits of it the subnet has.
    pub prefix: u8,
    /// The address of the NIC.
    pub mac: MacAddr,
}

impl LabSpec {
    /// The laboratory of [`PAPERS`].
    pub fn papers() -> Self {
        match Self::parse(PAPERS, "papers.toml") {
            Ok(spec) => spec,
            // The file is part of this program, and a test reads it.
            Err(error) => unreachable!("{error}"),
        }
    }

    /// `hosts` hosts `h1`, `h2`, ... at one site `lan`, all with NICs of
    /// `bandwidth` and `latency` apart, with room for any number of VMs.
    pub fn lan(hosts: u32, bandwidth: Bandwidth, latency: Duration) -> Self {
        let host = |n| HostSpec {
            // Letters and digits: a name.
            name: HostName::new(&format!("h{n}")).expect("h and digits are a name"),
            site: "lan".to_owned(),
            up: bandwidth,
            down: bandwidth,
            queue: QueueLimit::default(),
            room: u32::MAX,
            speed: 1.0,
            address: None,
            mac: None,
        };
        Self {
            name: "lan".to_owned(),
            nics: NicChoice::Auto,
            subnet: Self::default_subnet(),
            vm_subnet: Self::default_vm_subnet(),
            mtu: Self::default_mtu(),
            vm_mtu: Self::default_vm_mtu(),
            vm_ipv6: false,
            seed: 0,
            proxy: None,
            sites: vec![SiteSpec {
                name: "lan".to_owned(),
                latency,
                jitter: Duration::ZERO,
                bandwidth: None,
            }],
            hosts: (1..=hosts).map(host).collect(),
            paths: Vec::new(),
            vms: Vec::new(),
        }
    }

    /// Adds `count` VMs `vm1`, `vm2`, ... without a place.
    #[must_use]
    pub fn with_vms(mut self, count: u32) -> Self {
        let vm = |n| VmSpec {
            // Letters and digits: a name.
            name: InterfaceName::new(&format!("vm{n}")).expect("vm and digits are a name"),
            host: None,
            address: None,
            mac: None,
        };
        self.vms = (1..=count).map(vm).collect();
        self
    }

    /// The host with this name.
    pub fn host(&self, name: &HostName) -> Option<&HostSpec> {
        self.hosts.iter().find(|host| host.name == *name)
    }

    /// Where the hosts' NICs stand, in the order of `hosts`.
    ///
    /// An address that isn't given is the subnet's first one that nobody has
    /// before it, and a MAC address is `02:00` and the four octets of the
    /// address.
    pub fn host_addresses(&self) -> Vec<NicAddress> {
        assign(self.subnet, self.hosts.iter().map(|host| (host.address, host.mac)))
    }

    /// Where the VMs' NICs stand, in the order of `vms`.
    pub fn vm_addresses(&self) -> Vec<NicAddress> {
        assign(self.vm_subnet, self.vms.iter().map(|vm| (vm.address, vm.mac)))
    }

    fn default_subnet() -> Subnet {
        Subnet { network: Ipv4Addr::new(10, 77, 0, 0), prefix: 16 }
    }

    fn default_vm_subnet() -> Subnet {
        Subnet { network: Ipv4Addr::new(10, 88, 0, 0), prefix: 16 }
    }

    fn default_mtu() -> u32 {
        1500
    }

    fn default_vm_mtu() -> u32 {
        1400
    }
}

fn assign(
    subnet: Subnet,
    wanted: impl Iterator<Item = (Option<Ipv4Addr>, Option<MacAddr>)> + Clone,
) -> Vec<NicAddress> {
    let taken: std::collections::HashSet<_> = wanted.clone().filter_map(|(address, _)| address).collect();
    let first = u32::from(subnet.network);
    let mut free = (1_u32..).map(|n| Ipv4Addr::from(first.wrapping_add(n))).filter(|a| !taken.contains(a));
    wanted
        .map(|(address, mac)| {
            let address = address.or_else(|| free.next()).unwrap_or(subnet.network);
            let mac = mac.unwrap_or(MacAddr::local(address.into()));
            NicAddress { address, prefix: subnet.prefix, mac }
        })
        .collect()
}

fn one() -> f64 {
    1.0
}
