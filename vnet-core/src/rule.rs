//! Forwarding rules and the strength of their matches.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::link::Link;
use crate::mac::MacAddr;
use crate::name::{HostName, InterfaceName};

/// What the source address of a frame must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Every source.
    Any,
    /// This source alone.
    Exact(MacAddr),
    /// Every source but this one.
    Not(MacAddr),
}

/// What the destination address of a frame must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// Every destination (`ANY`).
    Any,
    /// This destination alone.
    Exact(MacAddr),
    /// Every destination but this one.
    Not(MacAddr),
    /// The default rule (`NONE`): every destination, at the lowest strength.
    Default,
}

/// What is done with a frame that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// `EDGE a b`: send it over the link between these two daemons.
    Edge(EdgeRef),
    /// `INTERFACE name`: deliver it to this local port.
    Interface(InterfaceName),
}

/// The two ends of a link as a rule writes them: `from` is the daemon that
/// holds the rule, `to` is its neighbour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeRef {
    /// The daemon that sends.
    pub from: HostName,
    /// The daemon that receives.
    pub to: HostName,
}

impl EdgeRef {
    /// Does this edge run over `link`, in either direction?
    pub fn is_over(&self, link: &Link) -> bool {
        (self.from == link.a && self.to == link.b) || (self.from == link.b && self.to == link.a)
    }
}

/// A forwarding rule of one daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Match on the frame's source.
    pub source: Source,
    /// Match on the frame's destination.
    pub destination: Destination,
    /// Where matching frames go.
    pub action: Action,
}

/// How well a rule matches a frame; the greatest wins, ties all apply.
///
/// An exact match beats `not`, `not` beats `any`, `any` beats the default; the
/// destination weighs more than the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Strength(u8);

impl Strength {
    /// The greatest strength: both addresses exact.
    pub const MAX: Self = Self(3 * 4 + 2);
}

impl Source {
    /// The strength of this match alone (2 exact, 1 not, 0 any); `None`: no match.
    pub fn strength(self, source: MacAddr) -> Option<u8> {
        match self {
            Self::Exact(mac) => (mac == source).then_some(2),
            Self::Not(mac) => (mac != source).then_some(1),
            Self::Any => Some(0),
        }
    }
}

impl Destination {
    /// The strength of this match alone (3 exact, 2 not, 1 any, 0 default); `None`: no match.
    pub fn strength(self, destination: MacAddr) -> Option<u8> {
        match self {
            Self::Exact(mac) => (mac == destination).then_some(3),
            Self::Not(mac) => (mac != destination).then_some(2),
            Self::Any => Some(1),
            Self::Default => Some(0),
        }
    }
}

impl Rule {
    /// The strength of this rule's match of a frame, `None` where it doesn't match.
    pub fn strength(&self, source: MacAddr, destination: MacAddr) -> Option<Strength> {
        let s = self.source.strength(source)?;
        let d = self.destination.strength(destination)?;
        Some(Strength(d * 4 + s))
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = ["default", "any", "not", "exact"][usize::from(self.0 / 4)];
        let source = ["any", "not", "exact"][usize::from(self.0 % 4)];
        write!(f, "destination {destination}, source {source}")
    }
}

impl Serialize for Strength {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("ANY NONE"),
            Self::Exact(mac) => write!(f, "{mac}"),
            Self::Not(mac) => write!(f, "NOT {mac}"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("ANY NONE"),
            Self::Exact(mac) => write!(f, "{mac}"),
            Self::Not(mac) => write!(f, "NOT {mac}"),
            Self::Default => f.write_str("NONE"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge(edge) => write!(f, "{} {}", edge.from, edge.to),
            Self::Interface(name) => write!(f, "{name}"),
        }
    }
}

/// The rule as the language writes its matches and destination, without the
/// `FORWARD` word and the machine.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.source, self.destination, self.action)
    }
}
