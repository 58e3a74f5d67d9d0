//! What rules do with a frame, worked out the slow and plain way.
//!
//! [`resolve`] is the meaning of a rule set at one daemon, [`route`] that of a
//! topology. They are what tools show to users, and the reference that the
//! tests hold faster implementations to.
//!
//! - Of the rules that match a frame, those of the greatest [`Strength`]
//!   apply, and each distinct output gets one copy.
//! - A frame never leaves by the port that it came in by, though the rule that
//!   says so still keeps weaker ones from applying.
//! - A frame may cross as many links as its hop limit says.
//!
//! ```
//! use vnet_core::{HostName, InterfaceName, MacAddr, lang, route};
//!
//! let topology = lang::read("two.vnet", "
//!     BEGIN HOST ann AT alpha 7777 eth0 HOST ann AT beta 7777 eth0
//!     ADD LINK UDP beta alpha beta
//!     FORWARD EDGE alpha ANY NONE 02:00:00:00:00:02 alpha beta
//!     FORWARD INTERFACE beta ANY NONE 02:00:00:00:00:02 vm2
//!     END")?;
//! let (alpha, vm1) = (HostName::new("alpha")?, InterfaceName::new("vm1")?);
//! let route = route::route(&topology, &alpha, &vm1, MacAddr::local(1), MacAddr::local(2));
//! assert_eq!(route.hops.len(), 2);
//! assert_eq!(route.deliveries().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod print;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::encap::DEFAULT_HOP_LIMIT;
use crate::link::LinkId;
use crate::mac::MacAddr;
use crate::name::{HostName, InterfaceName};
use crate::rule::{Action, Destination, Rule, Strength};
use crate::topology::Topology;

pub use resolve::{Port, Resolution, resolve};

/// The way of a frame through a topology, with all its copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The frame's source.
    pub source: MacAddr,
    /// The frame's destination.
    pub destination: MacAddr,
    /// The visits to daemons, those over fewer links first; `hops[0]` is where
    /// the frame enters. Without loops they form a tree.
    pub hops: Vec<Hop>,
}

/// A frame at a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// The daemon's host.
    pub host: HostName,
    /// Where the frame came in.
    pub ingress: Port,
    /// How many links it has crossed.
    pub links_crossed: u8,
    /// How many copies of it came in there over as many links: more than one
    /// if rules make copies meet again. Stops at the greatest `u64`.
    pub copies: u64,
    /// How strongly the rules match; `None` if none does.
    pub strength: Option<Strength>,
    /// The rules of that strength.
    pub rules: Vec<Rule>,
    /// What becomes of the frame: one outcome for each output, or one drop.
    pub outcomes: Vec<Outcome>,
}

/// What becomes of a frame at a daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes to a local port.
    Delivered(InterfaceName),
    /// It goes over the link to another daemon.
    Sent {
        /// The other daemon.
        peer: HostName,
        /// Its visit there, an index into [`Route::hops`].
        hop: usize,
    },
    /// It goes nowhere.
    Dropped(DropReason),
}

/// Why a frame goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// No rule matches.
    NoRule,
    /// All rules that apply send it back where it came from.
    OnlyBack,
    /// There is no link to this daemon.
    NoLink(HostName),
    /// It would cross more links than its hop limit allows.
    HopLimit(HostName),
}

/// The way of a frame that the VM `source` sends to `destination` at the
/// interface `ingress` of `host`.
pub fn route(
    topology: &Topology,
    host: &HostName,
    ingress: &InterfaceName,
    source: MacAddr,
    destination: MacAddr,
) -> Route {
    route_within(topology, host, ingress, source, destination, DEFAULT_HOP_LIMIT)
}

/// As [`route`], with a hop limit of one's own: the most links that the frame
/// may cross.
pub fn route_within(
    topology: &Topology,
    host: &HostName,
    ingress: &InterfaceName,
    source: MacAddr,
    destination: MacAddr,
    hop_limit: u8,
) -> Route {
    let mut route = Route { source, destination, hops: Vec::new() };
    let mut arrivals = vec![(host.clone(), Port::Interface(ingress.clone()), 1)];
    for links_crossed in 0..=hop_limit {
        let first = route.hops.len();
        for (host, ingress, copies) in std::mem::take(&mut arrivals) {
            let resolution = resolve(topology.rules_of(&host), &ingress, source, destination);
            let (strength, rules) = (resolution.strength, resolution.rules.into_iter().cloned().collect());
            let mut hop = Hop { host, ingress, links_crossed, copies, strength, rules, outcomes: Vec::new() };
            if resolution.outputs.is_empty() {
                let why = if hop.strength.is_some() { DropReason::OnlyBack } else { DropReason::NoRule };
                hop.outcomes.push(Outcome::Dropped(why));
            }
            for output in resolution.outputs {
                hop.outcomes.push(match output {
                    Port::Interface(name) => Outcome::Delivered(name),
                    Port::Link(peer) if !topology.links.contains_key(&LinkId::new(&hop.host, &peer)) => {
                        Outcome::Dropped(DropReason::NoLink(peer))
                    }
                    Port::Link(peer) if links_crossed == hop_limit => {
                        Outcome::Dropped(DropReason::HopLimit(peer))
                    }
                    // Where the visit stands in the list is known once all of this round are.
                    Port::Link(peer) => Outcome::Sent { peer, hop: 0 },
                });
            }
            route.hops.push(hop);
        }
        let next = route.hops.len();
        let mut visits: HashMap<(HostName, HostName), usize> = HashMap::new();
        for hop in &mut route.hops[first..] {
            for outcome in &mut hop.outcomes {
                let Outcome::Sent { peer, hop: index } = outcome else { continue };
                let visit = *visits.entry((hop.host.clone(), peer.clone())).or_insert_with(|| {
                    arrivals.push((peer.clone(), Port::Link(hop.host.clone()), 0_u64));
                    arrivals.len() - 1
                });
                arrivals[visit].2 = arrivals[visit].2.saturating_add(hop.copies);
                *index = next + visit;
            }
        }
        if arrivals.is_empty() {
            break;
        }
    }
    route
}

impl Route {
    /// How many copies each local port gets.
    pub fn deliveries(&self) -> BTreeMap<(HostName, InterfaceName), u64> {
        let mut deliveries = BTreeMap::new();
        for hop in &self.hops {
            for outcome in &hop.outcomes {
                let Outcome::Delivered(interface) = outcome else { continue };
                let copies: &mut u64 = deliveries.entry((hop.host.clone(), interface.clone())).or_default();
                *copies = copies.saturating_add(hop.copies);
            }
        }
        deliveries
    }

    /// Where copies are dropped, and why.
    pub fn drops(&self) -> impl Iterator<Item = (&HostName, &DropReason)> {
        self.hops.iter().flat_map(|hop| {
            hop.outcomes.iter().filter_map(move |outcome| match outcome {
                Outcome::Dropped(why) => Some((&hop.host, why)),
                _ => None,
            })
        })
    }

    /// Does the hop limit stop any copy?
    pub fn reaches_hop_limit(&self) -> bool {
        self.drops().any(|(_, why)| matches!(why, DropReason::HopLimit(_)))
    }
}

/// Where the VM with this address is, as far as the rules tell: the local
/// ports that get every frame addressed to it and no other.
pub fn attachments(topology: &Topology, mac: MacAddr) -> Vec<(HostName, InterfaceName)> {
    let mut attachments: Vec<_> = topology
        .rules
        .iter()
        .flat_map(|(host, rules)| rules.iter().map(move |rule| (host, rule)))
        .filter(|(_, rule)| rule.destination == Destination::Exact(mac))
        .filter_map(|(host, rule)| match &rule.action {
            Action::Interface(interface) => Some((host.clone(), interface.clone())),
            Action::Edge(_) => None,
        })
        .collect();
    attachments.dedup();
    attachments
}
