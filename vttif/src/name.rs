//! The names that a topology can have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a topology. As text: `none`, `pairs`, `bus`, `ring`, `star`,
/// `tree`, `all-to-all`, `mesh 8x8`, `torus 4x4x4`, `hypercube 6`,
/// `stencil 9 8x8`, `stencil 27 4x4x4`, `irregular`; sides in descending order.
///
/// ```
/// use vttif::TopologyName;
///
/// let name: TopologyName = "torus 4x4x4".parse()?;
/// assert_eq!(name, TopologyName::Torus(vec![4, 4, 4]));
/// assert_eq!(name.to_string(), "torus 4x4x4");
/// # Ok::<(), vttif::ParseNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TopologyName {
    /// Nobody sends.
    None,
    /// Every vertex talks to exactly one other.
    Pairs,
    /// A path.
    Bus,
    /// A cycle of 3 vertices or more.
    Ring,
    /// One vertex talks to all others, which don't talk to each other.
    Star,
    /// A complete binary tree, its last level filled from one side: vertex i
    /// talks to 2i+1 and 2i+2.
    Tree,
    /// Every vertex talks to every other.
    AllToAll,
    /// A grid with these sides.
    Mesh(Vec<u32>),
    /// A grid with these sides, each closed to a ring (a side of 2 is closed already).
    Torus(Vec<u32>),
    /// A cube of this many dimensions.
    Hypercube(u32),
    /// A two-dimensional grid whose vertices talk to all 8 around them, the
    /// diagonal ones too; open or closed at the sides.
    Stencil9([u32; 2]),
    /// A three-dimensional grid whose vertices talk to all 26 around them.
    Stencil27([u32; 3]),
    /// Nothing that has a name.
    Irregular,
}

impl fmt::Display for TopologyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Pairs => f.write_str("pairs"),
            Self::Bus => f.write_str("bus"),
            Self::Ring => f.write_str("ring"),
            Self::Star => f.write_str("star"),
            Self::Tree => f.write_str("tree"),
            Self::AllToAll => f.write_str("all-to-all"),
            Self::Mesh(sides) => write!(f, "mesh {}", Sides(sides)),
            Self::Torus(sides) => write!(f, "torus {}", Sides(sides)),
            Self::Hypercube(dimensions) => write!(f, "hypercube {dimensions}"),
            Self::Stencil9(sides) => write!(f, "stencil 9 {}", Sides(sides)),
            Self::Stencil27(sides) => write!(f, "stencil 27 {}", Sides(sides)),
            Self::Irregular => f.write_str("irregular"),
        }
    }
}

struct Sides<'a>(&'a [u32]);

impl fmt::Display for Sides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, side) in self.0.iter().enumerate() {
            write!(f, "{}{side}", if i == 0 { "" } else { "x" })?;
        }
        Ok(())
    }
}

/// A text that names no topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not the name of a topology; names are none, pairs, bus, ring, star, tree, all-to-all, \
     irregular, or such as `mesh 8x8`, `torus 4x4x4`, `hypercube 6`, `stencil 9 8x8`, `stencil 27 4x4x4`"
)]
pub struct ParseNameError {
    text: String,
}

impl FromStr for TopologyName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseNameError { text: text.chars().take(64).collect() };
        let plain = [
            Self::None,
            Self::Pairs,
            Self::Bus,
            Self::Ring,
            Self::Star,
            Self::Tree,
            Self::AllToAll,
            Self::Irregular,
        ];
        if let Some(name) = plain.into_iter().find(|name| name.to_string() == text) {
            return Ok(name);
        }
        let (kind, sides) = text.rsplit_once(' ').ok_or_else(error)?;
        let sides: Vec<u32> =
            sides.split('x').map(|side| side.parse().ok()).collect::<Option<_>>().ok_or_else(error)?;
        let name = match kind {
            "mesh" => Self::Mesh(sides),
            "torus" => Self::Torus(sides),
            "hypercube" if sides.len() == 1 => Self::Hypercube(sides[0]),
            "stencil 9" => Self::Stencil9(sides.try_into().map_err(|_| error())?),
            "stencil 27" => Self::Stencil27(sides.try_into().map_err(|_| error())?),
            _ => return Err(error()),
        };
        // One spelling each: no signs, leading zeros or sides out of order.
        let is_ordered = match &name {
            Self::Mesh(sides) | Self::Torus(sides) => sides.is_sorted_by(|a, b| a >= b),
            Self::Stencil9(sides) => sides.is_sorted_by(|a, b| a >= b),
            Self::Stencil27(sides) => sides.is_sorted_by(|a, b| a >= b),
            _ => true,
        };
        if is_ordered && name.to_string() == text { Ok(name) } else { Err(error()) }
    }
}

impl Serialize for TopologyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopologyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_then_parse_is_the_identity() {
        for text in [
            "none",
            "pairs",
            "bus",
            "ring",
            "star",
            "tree",
            "all-to-all",
            "mesh 8x8",
            "mesh 4x3x2",
            "torus 4x4x4",
            "hypercube 6",
            "stencil 9 8x8",
            "stencil 27 4x4x4",
            "irregular",
        ] {
            let name: TopologyName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(serde_json::from_str::<TopologyName>(&format!("\"{text}\"")).unwrap(), name);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "mesh", "mesh 2x8", "mesh +8x8", "mesh 08x8", "stencil 9 8", "hypercube 4x4", "Ring"]
        {
            assert!(text.parse::<TopologyName>().is_err(), "{text}");
        }
    }
}
