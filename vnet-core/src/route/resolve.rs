//! The meaning of a rule set at one daemon.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::mac::MacAddr;
use crate::name::{HostName, InterfaceName};
use crate::rule::{Action, Rule, Strength};

/// Where frames enter and leave a daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// A local interface.
    Interface(InterfaceName),
    /// The link to this other daemon.
    Link(HostName),
}

/// Which rules apply to a frame, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution<'a> {
    /// The greatest strength of a match; `None` if no rule matches.
    pub strength: Option<Strength>,
    /// The rules of that strength, in the order given.
    pub rules: Vec<&'a Rule>,
    /// Their outputs, each once, without the ingress, in order.
    pub outputs: Vec<Port>,
}

/// What `rules` do with a frame that came in at `ingress`.
pub fn resolve<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    ingress: &Port,
    source: MacAddr,
    destination: MacAddr,
) -> Resolution<'a> {
    let matches: Vec<_> =
        rules.into_iter().filter_map(|rule| Some((rule.strength(source, destination)?, rule))).collect();
    let strength = matches.iter().map(|(strength, _)| *strength).max();
    let rules: Vec<_> =
        matches.into_iter().filter(|(s, _)| Some(*s) == strength).map(|(_, rule)| rule).collect();
    let mut outputs: BTreeSet<Port> = rules.iter().map(|rule| Port::of(&rule.action)).collect();
    outputs.remove(ingress);
    Resolution { strength, rules, outputs: outputs.into_iter().collect() }
}

impl Port {
    /// The port that an action sends to.
    pub fn of(action: &Action) -> Self {
        match action {
            Action::Edge(edge) => Self::Link(edge.to.clone()),
            Action::Interface(name) => Self::Interface(name.clone()),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Link(peer) => write!(f, "{peer}"),
        }
    }
}
