//! From what there is and what is wanted to what is to be done. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use vnet_core::change::{Difference, Plan, Stage};
use vnet_core::network::RuleVersion;
use vnet_core::{HostName, LinkId, Topology};

use super::{ApplyOptions, Cause, Proposal};
use crate::client::Overlay;
use crate::client::overlay::is_same;

/// What is to be done to an overlay.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) proposal: Proposal,
    /// The rule versions of each daemon that are forgotten once the new one is
    /// in force.
    pub(super) stale: BTreeMap<HostName, BTreeSet<RuleVersion>>,
}

impl Goal {
    pub(super) fn new(overlay: &Overlay, desired: &Topology, options: &ApplyOptions) -> Result<Self, Cause> {
        if let Some((host, why)) = overlay.silent.iter().next() {
            return Err(Cause::Silent { host: host.clone(), why: why.clone() });
        }
        let missing = missing(overlay, desired);
        if !missing.is_empty() {
            return Err(Cause::Missing { hosts: missing });
        }
        let network = options.network;
        let current = overlay.topology(network, desired);
        let mut wanted = desired.clone();
        // A daemon stays where it is, mentioned or not.
        let unmentioned = current.hosts.iter().filter(|host| desired.host(&host.machine).is_none());
        wanted.hosts.extend(unmentioned.cloned());
        let kept = match &overlay.proxy {
            Some(proxy) if options.keep_star => keep_star(&current, &mut wanted, proxy),
            _ => Vec::new(),
        };

        let versions: BTreeMap<_, _> =
            overlay.daemons.keys().map(|host| (host.clone(), overlay.versions(host, network))).collect();
        let in_use: BTreeSet<_> = overlay.daemons.keys().map(|host| overlay.version(host, network)).collect();
        let from = overlay.version(&overlay.here, network);
        let to = free_version(from, &versions);
        let mut plan = Plan::new(&current, &wanted, from, to);
        if in_use.len() > 1 {
            agree_on_a_version(&mut plan, &wanted);
        }
        let stale = match plan.stages.iter().any(|stage| matches!(stage, Stage::CommitRules { .. })) {
            true => versions,
            false => BTreeMap::new(),
        };
        let proposal = Proposal {
            difference: Difference::between(&current, &wanted),
            plan,
            kept,
            strays: strays(overlay, &wanted, overlay.proxy.as_ref().filter(|_| options.keep_star)),
        };
        Ok(Self { proposal, stale })
    }
}

fn missing(overlay: &Overlay, desired: &Topology) -> Vec<HostName> {
    let declared = desired.hosts.iter().map(|host| &host.machine);
    let linked = desired.links.keys().flat_map(|link| <[&HostName; 2]>::from(link.ends()));
    let wanted: BTreeSet<_> = declared.chain(linked).chain(desired.rules.keys()).collect();
    wanted.into_iter().filter(|host| !overlay.daemons.contains_key(host)).cloned().collect()
}

/// Adds the links with the Proxy that there are to what is wanted.
fn keep_star(current: &Topology, wanted: &mut Topology, proxy: &HostName) -> Vec<LinkId> {
    let mut kept = Vec::new();
    for (id, link) in &current.links {
        if id.peer_of(proxy).is_some() && !wanted.links.contains_key(id) {
            wanted.add_link(link.clone());
            kept.push(id.clone());
        }
    }
    kept
}

/// A version after `from` that no daemon has rules of.
fn free_version(from: RuleVersion, versions: &BTreeMap<HostName, BTreeSet<RuleVersion>>) -> RuleVersion {
    let taken: BTreeSet<_> = versions.values().flatten().collect();
    let mut version = from.next();
    while taken.contains(&version) && version != from {
        version = version.next();
    }
    version
}

/// Frames pass only where all daemons know their version: daemons that differ,
/// perhaps since one is new, change over to one version together.
fn agree_on_a_version(plan: &mut Plan, wanted: &Topology) {
    if plan.stages.iter().any(|stage| matches!(stage, Stage::CommitRules { .. })) {
        return;
    }
    let hosts: BTreeSet<_> = wanted.hosts.iter().map(|host| host.machine.clone()).collect();
    let rules = hosts.iter().map(|host| (host.clone(), wanted.rules_of(host).cloned().collect())).collect();
    let before_links_go = plan
        .stages
        .iter()
        .position(|stage| matches!(stage, Stage::LinksDown { .. }))
        .unwrap_or(plan.stages.len());
    let stages = [
        Stage::PrepareRules { version: plan.to, rules },
        Stage::CommitRules { version: plan.to, hosts: hosts.clone() },
        Stage::Drain,
        Stage::RetireRules { version: plan.from, hosts },
    ];
    plan.stages.splice(before_links_go..before_links_go, stages);
}

/// Ends of links whose other end is missing or different, except where
/// adding what is wanted makes them whole. A link with the Proxy `star` may
/// just wait for its daemon to come back.
fn strays(overlay: &Overlay, wanted: &Topology, star: Option<&HostName>) -> Vec<(HostName, LinkId)> {
    let mut strays = Vec::new();
    for (id, link) in overlay.links() {
        let is_of_star = star.is_some_and(|proxy| id.peer_of(proxy).is_some());
        if link.agreed().is_some() || (is_of_star && !wanted.links.contains_key(&id)) {
            continue;
        }
        for (host, end) in link.ends {
            if !wanted.links.get(&id).is_some_and(|wanted| is_same(wanted, &end)) {
                strays.push((host, id.clone()));
            }
        }
    }
    strays
}
