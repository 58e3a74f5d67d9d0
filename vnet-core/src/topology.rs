//! A description of a whole overlay: its hosts, links and rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::link::{Link, LinkId};
use crate::name::{HostName, InterfaceName, UserName};
use crate::rule::{Action, Rule};

/// A machine that runs a daemon: `HOST username AT machine port interface`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Host {
    /// The account that the daemon runs under.
    pub username: UserName,
    /// The machine.
    pub machine: HostName,
    /// The UDP and TCP port where the daemon listens.
    pub port: u16,
    /// Its first local interface.
    pub interface: InterfaceName,
}

/// Hosts, links and rules of one network; the meaning of a description.
///
/// Ordered maps throughout, so that equal topologies print alike.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Topology {
    /// Hosts in the order in which they were declared.
    pub hosts: Vec<Host>,
    /// Links by their ends.
    #[serde(with = "link_list")]
    pub links: BTreeMap<LinkId, Link>,
    /// Rules of each host that has any.
    pub rules: BTreeMap<HostName, BTreeSet<Rule>>,
}

impl Topology {
    /// Adds a link. A link with the same ends is replaced and returned.
    pub fn add_link(&mut self, link: Link) -> Option<Link> {
        self.links.insert(link.id(), link)
    }

    /// Adds a rule to `host`; `false` if it was there already.
    pub fn add_rule(&mut self, host: &HostName, rule: Rule) -> bool {
        self.rules.entry(host.clone()).or_default().insert(rule)
    }

    /// Removes a rule from `host`; `false` if it wasn't there.
    pub fn remove_rule(&mut self, host: &HostName, rule: &Rule) -> bool {
        let Some(rules) = self.rules.get_mut(host) else { return false };
        let removed = rules.remove(rule);
        if rules.is_empty() {
            self.rules.remove(host);
        }
        removed
    }

    /// The rules of `host`, in their order.
    pub fn rules_of(&self, host: &HostName) -> impl Iterator<Item = &Rule> {
        self.rules.get(host).into_iter().flatten()
    }

    /// The host of this name.
    pub fn host(&self, machine: &HostName) -> Option<&Host> {
        self.hosts.iter().find(|h| h.machine == *machine)
    }

    /// What can't work in this topology, though it can exist.
    pub fn warnings(&self) -> Vec<TopologyWarning> {
        let mut warnings = Vec::new();
        for (host, rules) in &self.rules {
            for rule in rules {
                let Action::Edge(edge) = &rule.action else { continue };
                if !self.links.contains_key(&LinkId::new(&edge.from, &edge.to)) {
                    warnings.push(TopologyWarning::NoLink { host: host.clone(), rule: rule.clone() });
                }
            }
        }
        let joined: BTreeSet<_> = self.links.keys().flat_map(|link| <[_; 2]>::from(link.ends())).collect();
        if self.hosts.len() > 1 {
            let alone = self.hosts.iter().filter(|host| !joined.contains(&host.machine));
            warnings.extend(alone.map(|host| TopologyWarning::Alone { host: host.machine.clone() }));
        }
        warnings
    }

    /// How many rules all hosts have together.
    pub fn rule_count(&self) -> usize {
        self.rules.values().map(BTreeSet::len).sum()
    }
}

/// Something that can't work in a topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyWarning {
    /// A rule that sends frames over a link that isn't there: they are dropped.
    #[error("at `{host}`, the rule `{rule}` needs a link that isn't there: its frames are dropped")]
    NoLink {
        /// The host that holds the rule.
        host: HostName,
        /// The rule.
        rule: Rule,
    },
    /// A host that no link joins to the others.
    #[error("no link joins host `{host}` to the others")]
    Alone {
        /// The host.
        host: HostName,
    },
}

// JSON objects have text keys; the ends of a link are in the link itself.
mod link_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::link::{Link, LinkId};

    pub(super) fn serialize<S: Serializer>(
        links: &BTreeMap<LinkId, Link>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(links.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<LinkId, Link>, D::Error> {
        let links = Vec::<Link>::deserialize(deserializer)?;
        Ok(links.into_iter().map(|l| (l.id(), l)).collect())
    }
}
