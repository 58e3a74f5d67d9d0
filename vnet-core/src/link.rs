//! Links between daemons.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::HostName;

/// What carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// A TCP connection.
    Tcp,
    /// UDP datagrams.
    Udp,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A bidirectional link between two daemons: `LINK kind opener a b`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    /// What carries it.
    pub kind: LinkKind,
    /// The daemon that opens it; `a` or `b`.
    pub opener: HostName,
    /// One end.
    pub a: HostName,
    /// The other end.
    pub b: HostName,
}

/// Which link: its two ends, in their order. There is at most one link
/// between two daemons, since a rule's `EDGE a b` names nothing but the ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId {
    low: HostName,
    high: HostName,
}

impl LinkId {
    /// The identity of the link between `a` and `b`, in either order.
    pub fn new(a: &HostName, b: &HostName) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        Self { low: low.clone(), high: high.clone() }
    }

    /// Both ends, the lesser first.
    pub fn ends(&self) -> (&HostName, &HostName) {
        (&self.low, &self.high)
    }

    /// The end that is not `host`; `None` if `host` is neither.
    pub fn peer_of(&self, host: &HostName) -> Option<&HostName> {
        if *host == self.low {
            Some(&self.high)
        } else if *host == self.high {
            Some(&self.low)
        } else {
            None
        }
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl Link {
    /// Which link this is.
    pub fn id(&self) -> LinkId {
        LinkId::new(&self.a, &self.b)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LINK {} {} {} {}", self.kind, self.opener, self.a, self.b)
    }
}
