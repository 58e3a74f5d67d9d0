//! Paths for single pairs of VMs, on top of an overlay that joins them all.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::link::{LinkId, LinkKind};
use crate::mac::MacAddr;
use crate::name::HostName;
use crate::rule::{Action, Destination, EdgeRef, Rule, Source};
use crate::topology::Topology;

use super::error::GenerateError;
use super::link_between;

/// The way that frames from one VM to another take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FastPath {
    /// The sender.
    pub source: MacAddr,
    /// The receiver.
    pub destination: MacAddr,
    /// The hosts on the way, from the sender's to the receiver's.
    pub hosts: Vec<HostName>,
}

/// Adds the links (of `kind`, where there are none yet) and rules of `paths`.
///
/// The rules name both addresses, so that they win over those that name the
/// destination alone; what was there before remains as the way home once they
/// are removed. The last host must have a rule that delivers to the receiver,
/// as generated overlays do. One direction only: frames back need a path of
/// their own. After an error the topology is as before.
pub fn add_fast_paths(
    topology: &mut Topology,
    paths: &[FastPath],
    kind: LinkKind,
) -> Result<(), GenerateError> {
    let mut pairs = HashSet::new();
    for path in paths {
        check(topology, path)?;
        if !pairs.insert((path.source, path.destination)) {
            return Err(path.exists_at(&path.hosts[0]));
        }
    }
    let hosts = topology.hosts.iter().enumerate();
    let listed: HashMap<_, _> = hosts.map(|(i, host)| (&host.machine, i)).collect();
    for path in paths {
        for hop in path.hosts.windows(2) {
            let (from, to) = (&hop[0], &hop[1]);
            let link = topology.links.entry(LinkId::new(from, to));
            link.or_insert_with(|| link_between(kind, &listed, from, to));
            let action = Action::Edge(EdgeRef { from: from.clone(), to: to.clone() });
            topology.rules.entry(from.clone()).or_default().insert(path.rule(action));
        }
    }
    Ok(())
}

fn check(topology: &Topology, path: &FastPath) -> Result<(), GenerateError> {
    let not_a_path =
        |why| GenerateError::NotAPath { source_mac: path.source, destination: path.destination, why };
    let Some(last) = path.hosts.last() else { return Err(not_a_path("has no hosts")) };
    let mut seen = HashSet::new();
    for host in &path.hosts {
        if topology.host(host).is_none() {
            return Err(GenerateError::UnknownHost { host: host.clone(), role: "a host of a path" });
        }
        if !seen.insert(host) {
            return Err(not_a_path("comes by a host twice"));
        }
        if topology.rules_of(host).any(|rule| path.is_for_same_pair(rule)) {
            return Err(path.exists_at(host));
        }
    }
    let delivers = |rule: &Rule| {
        (rule.source, rule.destination) == (Source::Any, Destination::Exact(path.destination))
            && matches!(rule.action, Action::Interface(_))
    };
    if !topology.rules_of(last).any(delivers) {
        return Err(GenerateError::NotDelivered {
            source_mac: path.source,
            destination: path.destination,
            host: last.clone(),
        });
    }
    Ok(())
}

impl FastPath {
    fn rule(&self, action: Action) -> Rule {
        let (source, destination) = (Source::Exact(self.source), Destination::Exact(self.destination));
        Rule { source, destination, action }
    }

    fn is_for_same_pair(&self, rule: &Rule) -> bool {
        (rule.source, rule.destination) == (Source::Exact(self.source), Destination::Exact(self.destination))
    }

    fn exists_at(&self, host: &HostName) -> GenerateError {
        let (source_mac, destination) = (self.source, self.destination);
        GenerateError::PathExists { source_mac, destination, host: host.clone() }
    }
}
