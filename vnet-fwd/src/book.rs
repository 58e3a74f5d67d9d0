//! The rule sets of a daemon as its operator changes them.

use std::sync::Arc;

use vnet_core::control::RuleStatus;
use vnet_core::{Action, EdgeRef, HostName, NetworkId, Rule, RuleVersion};

use crate::publish::{Publisher, Reader};
use crate::table::{NetworkRules, RuleSet, RuleTable};

/// Why a rule or a rule set was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The rule sends over a link that doesn't start here.
    #[error("`EDGE {} {}` doesn't lead from {host} to another host, as the rules of {host} must", edge.from, edge.to)]
    ForeignEdge {
        /// The daemon.
        host: HostName,
        /// The link that the rule names.
        edge: EdgeRef,
    },
    /// The version is in use with other rules.
    #[error(
        "version {version} is the current rule set of network {network} and has other rules; prepare another version"
    )]
    CurrentDiffers {
        /// The network.
        network: NetworkId,
        /// The version.
        version: RuleVersion,
    },
    /// The version to commit is not on hand.
    #[error("network {network} has no rule set of version {version}; prepare it before committing it")]
    NotPrepared {
        /// The network.
        network: NetworkId,
        /// The version.
        version: RuleVersion,
    },
    /// The version to retire is the one in use.
    #[error(
        "version {version} is the current rule set of network {network}; commit another before retiring it"
    )]
    RetireCurrent {
        /// The network.
        network: NetworkId,
        /// The version.
        version: RuleVersion,
    },
}

/// The rule sets of one daemon, by network and version. Every change is
/// published to the [`Reader`]s of workers before the call returns.
///
/// A network starts with an empty current rule set of version 0.
pub struct RuleBook {
    host: HostName,
    table: RuleTable,
    publisher: Publisher<RuleTable>,
}

impl RuleBook {
    /// A book without rules for the daemon on `host`.
    pub fn new(host: HostName) -> Self {
        Self { host, table: RuleTable::default(), publisher: Publisher::new(RuleTable::default()) }
    }

    /// A view of the rules for one worker.
    pub fn reader(&self) -> Reader<RuleTable> {
        self.publisher.reader()
    }

    /// The rules as they are now.
    pub fn table(&self) -> &RuleTable {
        &self.table
    }

    /// Adds a rule to the current rule set; `false` if it was there already.
    pub fn add(&mut self, network: NetworkId, rule: Rule) -> Result<bool, RuleError> {
        self.check(&rule)?;
        let set = Arc::make_mut(current(self.network(network)));
        if !set.insert(rule.clone()) {
            return Ok(false);
        }
        self.table.rule_changes(network, &rule);
        self.publish();
        Ok(true)
    }

    /// Deletes a rule from the current rule set; `false` if it wasn't there.
    pub fn delete(&mut self, network: NetworkId, rule: &Rule) -> bool {
        let known = |rules: &Arc<NetworkRules>| rules.set(rules.current).is_some_and(|s| s.contains(rule));
        if !self.table.networks.get(network).is_some_and(known) {
            return false;
        }
        Arc::make_mut(current(self.network(network))).remove(rule);
        self.table.rule_changes(network, rule);
        self.publish();
        true
    }

    /// Keeps a whole rule set under `version` without using it for frames that
    /// enter here. Replaces what was prepared under that version.
    pub fn prepare(
        &mut self,
        network: NetworkId,
        version: RuleVersion,
        rules: Vec<Rule>,
    ) -> Result<(), RuleError> {
        for rule in &rules {
            self.check(rule)?;
        }
        let set: RuleSet = rules.into_iter().collect();
        let place = self.network(network);
        if place.current == version {
            let same = place.set(version).is_some_and(|s| s.same_rules(&set));
            return if same { Ok(()) } else { Err(RuleError::CurrentDiffers { network, version }) };
        }
        place.sets.retain(|(v, _)| *v != version);
        place.sets.push((version, Arc::new(set)));
        self.publish_network(network);
        Ok(())
    }

    /// Makes a prepared version the current one. Committing the current one
    /// again changes nothing.
    pub fn commit(&mut self, network: NetworkId, version: RuleVersion) -> Result<(), RuleError> {
        let Some(rules) = self.table.networks.get(network).filter(|n| n.set(version).is_some()) else {
            return Err(RuleError::NotPrepared { network, version });
        };
        if rules.current != version {
            self.network(network).current = version;
            self.publish_network(network);
        }
        Ok(())
    }

    /// Forgets a version that is no longer, or not yet, the current one;
    /// `false` if it wasn't on hand.
    pub fn retire(&mut self, network: NetworkId, version: RuleVersion) -> Result<bool, RuleError> {
        let Some(rules) = self.table.networks.get(network) else { return Ok(false) };
        if rules.current == version {
            return Err(RuleError::RetireCurrent { network, version });
        }
        if rules.set(version).is_none() {
            return Ok(false);
        }
        self.network(network).sets.retain(|(v, _)| *v != version);
        self.publish_network(network);
        Ok(true)
    }

    /// All rules in all versions, ordered by network, version and rule, with
    /// the counts that workers have reported.
    pub fn status(&self) -> Vec<RuleStatus> {
        let mut all: Vec<RuleStatus> = self
            .table
            .rule_sets()
            .flat_map(|(network, version, set)| {
                set.rules().map(move |cell| RuleStatus {
                    network,
                    version,
                    rule: cell.rule().clone(),
                    frames: cell.frames(),
                    bytes: cell.bytes(),
                })
            })
            .collect();
        all.sort_unstable_by(|a, b| (a.network, a.version, &a.rule).cmp(&(b.network, b.version, &b.rule)));
        all
    }

    fn check(&self, rule: &Rule) -> Result<(), RuleError> {
        match &rule.action {
            Action::Edge(edge) if edge.from != self.host || edge.to == self.host => {
                Err(RuleError::ForeignEdge { host: self.host.clone(), edge: edge.clone() })
            }
            Action::Edge(_) | Action::Interface(_) => Ok(()),
        }
    }

    fn network(&mut self, network: NetworkId) -> &mut NetworkRules {
        Arc::make_mut(self.table.networks.entry(network, || {
            let version = RuleVersion::default();
            Arc::new(NetworkRules { current: version, sets: vec![(version, Arc::default())] })
        }))
    }

    fn publish_network(&mut self, network: NetworkId) {
        self.table.network_changes(network);
        self.publish();
    }

    /// Publishes the table, in which one change was noted.
    fn publish(&self) {
        self.publisher.publish(self.table.clone());
    }
}

fn current(rules: &mut NetworkRules) -> &mut Arc<RuleSet> {
    let version = rules.current;
    let at = rules.sets.iter().position(|(v, _)| *v == version);
    // `commit` and `retire` keep the current version on hand.
    &mut rules.sets[at.expect("the current version is on hand")].1
}
