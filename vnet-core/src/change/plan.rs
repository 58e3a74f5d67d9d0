//! In which order to change an overlay under traffic.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::link::{Link, LinkId};
use crate::name::HostName;
use crate::network::RuleVersion;
use crate::rule::Rule;
use crate::topology::Topology;

use super::difference::{Difference, LinkReplacement};

/// Stages that make one topology of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of the rules before.
    pub from: RuleVersion,
    /// The version of the rules after, if they change.
    pub to: RuleVersion,
    /// What to do, in order. A stage begins when the one before is complete.
    pub stages: Vec<Stage>,
}

/// Requests that may be under way together, in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "stage")]
pub enum Stage {
    /// Add these links at both their ends. Complete when all carry frames.
    LinksUp {
        /// The links.
        links: Vec<Link>,
    },
    /// Delete each old link at both ends and add the new one in its place.
    /// Complete when all carry frames. Frames on these links are lost meanwhile:
    /// there is no room for two links between two daemons.
    LinksReplaced {
        /// The links.
        links: Vec<LinkReplacement>,
    },
    /// Hand every daemon all its rules under the new version.
    PrepareRules {
        /// The new version.
        version: RuleVersion,
        /// The rules of each daemon, also of those that have none.
        rules: BTreeMap<HostName, BTreeSet<Rule>>,
    },
    /// Have every daemon stamp frames with this version.
    CommitRules {
        /// The version.
        version: RuleVersion,
        /// The daemons.
        hosts: BTreeSet<HostName>,
    },
    /// Wait until no frame with an older stamp can be under way.
    Drain,
    /// Have every daemon forget the rules of this version.
    RetireRules {
        /// The version.
        version: RuleVersion,
        /// The daemons.
        hosts: BTreeSet<HostName>,
    },
    /// Delete these links at both their ends.
    LinksDown {
        /// The links.
        links: Vec<LinkId>,
    },
}

impl Plan {
    /// The plan that makes `new` of `old`, whose rules have the version `from`
    /// at every daemon; `to` is a version that no daemon has rules of.
    pub fn new(old: &Topology, new: &Topology, from: RuleVersion, to: RuleVersion) -> Self {
        let difference = Difference::between(old, new);
        let mut stages = Vec::new();
        if !difference.links_added.is_empty() {
            stages.push(Stage::LinksUp { links: difference.links_added.clone() });
        }
        if !difference.links_replaced.is_empty() {
            stages.push(Stage::LinksReplaced { links: difference.links_replaced.clone() });
        }
        if difference.changes_rules() {
            let hosts = all_hosts(old, new);
            let rules_of = |host: &HostName| (host.clone(), new.rules_of(host).cloned().collect());
            let rules = hosts.iter().map(rules_of).collect();
            stages.extend([
                Stage::PrepareRules { version: to, rules },
                Stage::CommitRules { version: to, hosts: hosts.clone() },
                Stage::Drain,
                Stage::RetireRules { version: from, hosts },
            ]);
        }
        if !difference.links_removed.is_empty() {
            stages.push(Stage::LinksDown { links: difference.links_removed.iter().map(Link::id).collect() });
        }
        Self { from, to, stages }
    }

    /// Links on which frames are lost while the plan is carried out.
    pub fn interrupted_links(&self) -> Vec<LinkId> {
        let replaced = self.stages.iter().filter_map(|stage| match stage {
            Stage::LinksReplaced { links } => Some(links),
            _ => None,
        });
        replaced.flatten().map(|replaced| replaced.new.id()).collect()
    }

    /// The plan that undoes the first `begun` stages, of which the last may be
    /// half done, and loses no frame either: so some of its requests find
    /// nothing to do. `None` once old rules or links may be gone: what is left
    /// to do then is little, and it is safe to try again.
    pub fn rollback(&self, begun: usize) -> Option<Self> {
        let begun = &self.stages[..begun.min(self.stages.len())];
        let mut stages = Vec::new();
        for stage in begun.iter().rev() {
            match stage {
                Stage::LinksUp { links } => {
                    stages.push(Stage::LinksDown { links: links.iter().map(Link::id).collect() });
                }
                Stage::LinksReplaced { links } => {
                    let back = |link: &LinkReplacement| {
                        let LinkReplacement { old, new } = link.clone();
                        LinkReplacement { old: new, new: old }
                    };
                    stages.push(Stage::LinksReplaced { links: links.iter().map(back).collect() });
                }
                Stage::PrepareRules { version, rules } => {
                    let hosts = rules.keys().cloned().collect();
                    stages.push(Stage::RetireRules { version: *version, hosts });
                }
                Stage::CommitRules { hosts, .. } => {
                    stages.push(Stage::CommitRules { version: self.from, hosts: hosts.clone() });
                    stages.push(Stage::Drain);
                }
                Stage::Drain => {}
                Stage::RetireRules { .. } | Stage::LinksDown { .. } => return None,
            }
        }
        Some(Self { from: self.to, to: self.from, stages })
    }
}

/// All hosts that are declared or hold rules.
fn all_hosts(old: &Topology, new: &Topology) -> BTreeSet<HostName> {
    let of = |topology: &Topology| {
        let declared = topology.hosts.iter().map(|host| host.machine.clone());
        declared.chain(topology.rules.keys().cloned()).collect::<BTreeSet<_>>()
    };
    &of(old) | &of(new)
}
