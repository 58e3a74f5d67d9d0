//! Network identifiers and rule set versions, the two labels of a frame on a link.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An isolated layer-2 segment. Frames of different networks never mix, though
/// they share hosts and links (VIOLIN's virtual networks).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkId(pub u32);

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net{}", self.0)
    }
}

/// The version of a network's rule set.
///
/// A frame is stamped with the current version where it enters the overlay and
/// every daemon on its way forwards it by that version. So a reconfiguration
/// never mixes old and new rules in the path of one frame (the per-packet
/// consistency of Reitblatt et al., "Abstractions for Network Update",
/// SIGCOMM 2012). Versions wrap around; only equality has a meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleVersion(pub u8);

impl RuleVersion {
    /// The version after this one.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for RuleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RuleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}
