//! What two topologies don't have in common.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lang::{Config, HostRule, Operation, Program};
use crate::link::{Link, LinkId};
use crate::name::HostName;
use crate::rule::Rule;
use crate::topology::{Host, Topology};

/// What must be added to a topology and removed from it to make another.
///
/// It prints as statements of the language, each with `+` or `-` before it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Difference {
    /// Hosts of the new topology alone. A host that has changed is here and
    /// in [`Difference::hosts_removed`].
    pub hosts_added: Vec<Host>,
    /// Hosts of the old topology alone.
    pub hosts_removed: Vec<Host>,
    /// Links between hosts that had none.
    pub links_added: Vec<Link>,
    /// Links between hosts that have none any more.
    pub links_removed: Vec<Link>,
    /// Links between the same hosts, of another kind or opened by the other end.
    pub links_replaced: Vec<LinkReplacement>,
    /// Rules of the new topology alone, by the host that holds them.
    pub rules_added: BTreeMap<HostName, Vec<Rule>>,
    /// Rules of the old topology alone, by the host that holds them.
    pub rules_removed: BTreeMap<HostName, Vec<Rule>>,
}

/// A link that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReplacement {
    /// The link that goes.
    pub old: Link,
    /// The link between the same hosts that comes.
    pub new: Link,
}

impl Difference {
    /// What makes `new` of `old`. The order of the hosts makes no difference.
    pub fn between(old: &Topology, new: &Topology) -> Self {
        let mut links_added = Vec::new();
        let mut links_replaced = Vec::new();
        for (id, link) in &new.links {
            match old.links.get(id) {
                None => links_added.push(link.clone()),
                Some(present) if is_same(present, link) => {}
                Some(present) => {
                    links_replaced.push(LinkReplacement { old: present.clone(), new: link.clone() });
                }
            }
        }
        Self {
            hosts_added: hosts_missing(&new.hosts, &old.hosts),
            hosts_removed: hosts_missing(&old.hosts, &new.hosts),
            links_added,
            links_removed: links_missing(&old.links, &new.links),
            links_replaced,
            rules_added: rules_missing(new, old),
            rules_removed: rules_missing(old, new),
        }
    }

    /// Are the two topologies alike?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Do rules change?
    pub fn changes_rules(&self) -> bool {
        !self.rules_added.is_empty() || !self.rules_removed.is_empty()
    }

    /// The program that makes the new topology of the old one
    /// ([`Program::apply_to`]), in the order links up, rules in, rules out,
    /// links down. It declares the hosts that are new and relies on the others;
    /// since the language can't remove a host, those that are gone stay.
    pub fn program(&self) -> Program {
        let (gone, come): (Vec<_>, Vec<_>) =
            self.links_replaced.iter().map(|replaced| (replaced.old.clone(), replaced.new.clone())).unzip();
        let added = self.links_added.iter().cloned().chain(come);
        let configs = [
            Config::new(Operation::Delete, gone, []),
            Config::new(Operation::Add, added, host_rules(&self.rules_added)),
            Config::new(Operation::Delete, [], host_rules(&self.rules_removed)),
            Config::new(Operation::Delete, self.links_removed.iter().cloned(), []),
        ];
        Program {
            hosts: self.hosts_added.iter().cloned().map(Into::into).collect(),
            configs: configs.into_iter().filter(|config| !config.is_empty()).collect(),
        }
    }
}

/// Is it one link, whichever end is called `a`?
fn is_same(one: &Link, other: &Link) -> bool {
    (one.kind, &one.opener, one.id()) == (other.kind, &other.opener, other.id())
}

fn hosts_missing(of: &[Host], from: &[Host]) -> Vec<Host> {
    let known: BTreeMap<_, _> = from.iter().map(|host| (&host.machine, host)).collect();
    of.iter().filter(|host| known.get(&host.machine) != Some(host)).cloned().collect()
}

fn links_missing(of: &BTreeMap<LinkId, Link>, from: &BTreeMap<LinkId, Link>) -> Vec<Link> {
    of.iter().filter(|(id, _)| !from.contains_key(id)).map(|(_, link)| link.clone()).collect()
}

fn rules_missing(of: &Topology, from: &Topology) -> BTreeMap<HostName, Vec<Rule>> {
    let mut missing = BTreeMap::new();
    for (host, rules) in &of.rules {
        let known = from.rules.get(host);
        let rules: Vec<_> =
            rules.iter().filter(|rule| !known.is_some_and(|known| known.contains(rule))).cloned().collect();
        if !rules.is_empty() {
            missing.insert(host.clone(), rules);
        }
    }
    missing
}

fn host_rules(rules: &BTreeMap<HostName, Vec<Rule>>) -> impl Iterator<Item = HostRule> {
    rules.iter().flat_map(|(machine, rules)| {
        rules.iter().map(|rule| HostRule { machine: machine.clone(), rule: rule.clone() })
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for host in &self.hosts_removed {
            writeln!(f, "- {host}")?;
        }
        for host in &self.hosts_added {
            writeln!(f, "+ {host}")?;
        }
        for link in &self.links_removed {
            writeln!(f, "- {link}")?;
        }
        for LinkReplacement { old, new } in &self.links_replaced {
            writeln!(f, "- {old}\n+ {new}")?;
        }
        for link in &self.links_added {
            writeln!(f, "+ {link}")?;
        }
        for rule in host_rules(&self.rules_removed) {
            writeln!(f, "- {rule}")?;
        }
        for rule in host_rules(&self.rules_added) {
            writeln!(f, "+ {rule}")?;
        }
        Ok(())
    }
}
