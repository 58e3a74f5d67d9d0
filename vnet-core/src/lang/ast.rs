//! What a program consists of.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::link::Link;
use crate::name::HostName;
use crate::rule::Rule;
use crate::topology::{Host, Topology};

/// A program of the description language.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Program {
    /// The hosts that it declares.
    pub hosts: Vec<Positioned<Host>>,
    /// What it adds and deletes, in order.
    pub configs: Vec<Config>,
}

/// One `ADD` or `DELETE` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which of the two.
    pub operation: Operation,
    /// Links that are added or deleted.
    pub links: Vec<Positioned<Link>>,
    /// Rules that are added or deleted.
    pub rules: Vec<Positioned<HostRule>>,
}

/// What a block does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `ADD`.
    Add,
    /// `DELETE`.
    Delete,
}

/// A rule and the daemon that holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostRule {
    /// The daemon's host.
    pub machine: HostName,
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// In bytes from the start of the text.
    pub offset: usize,
    /// From 1.
    pub line: usize,
    /// In characters from 1.
    pub column: usize,
}

/// A part of a program and where it begins in the text that it was read from.
/// The position takes no part in comparisons.
#[derive(Clone, Debug)]
pub struct Positioned<T> {
    /// The part.
    pub item: T,
    /// Where it begins; `None` if it was not read from a text.
    pub position: Option<Position>,
}

impl<T> From<T> for Positioned<T> {
    fn from(item: T) -> Self {
        Self { item, position: None }
    }
}

impl<T> Deref for Positioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: PartialEq> PartialEq for Positioned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.item == other.item
    }
}

impl<T: Eq> Eq for Positioned<T> {}

impl Config {
    /// A block of these links and rules.
    pub fn new(
        operation: Operation,
        links: impl IntoIterator<Item = Link>,
        rules: impl IntoIterator<Item = HostRule>,
    ) -> Self {
        Self {
            operation,
            links: links.into_iter().map(Positioned::from).collect(),
            rules: rules.into_iter().map(Positioned::from).collect(),
        }
    }

    /// Does it add and delete nothing?
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.rules.is_empty()
    }
}

/// The program that describes a topology: its hosts, and one block that adds
/// everything else.
impl From<&Topology> for Program {
    fn from(topology: &Topology) -> Self {
        let rules = topology
            .rules
            .iter()
            .flat_map(|(machine, rules)| rules.iter().map(move |rule| (machine.clone(), rule.clone())))
            .map(|(machine, rule)| HostRule { machine, rule });
        let config = Config::new(Operation::Add, topology.links.values().cloned(), rules);
        Self {
            hosts: topology.hosts.iter().cloned().map(Positioned::from).collect(),
            configs: if config.is_empty() { Vec::new() } else { vec![config] },
        }
    }
}
