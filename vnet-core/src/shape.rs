//! Shapes of graphs that have a name: of overlays, and of the traffic of applications.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most dimensions that a mesh or torus may have in text.
pub const MAX_DIMENSIONS: usize = 16;

/// A graph that its name and number of nodes determine.
///
/// As text: `star`, `ring`, `bus`, `mesh`, `torus`, `hypercube`, `tree`,
/// `all-to-all`; a mesh or torus may give its sides, as in `mesh:4x2` or
/// `torus:4x4x4`. Without them it has two dimensions, as square as the number
/// of nodes allows and neither of size 1 (see [`Shape::resolve`]).
///
/// ```
/// use vnet_core::Shape;
///
/// let shape: Shape = "mesh".parse()?;
/// assert_eq!(shape.resolve(8)?.to_string(), "mesh:4x2");
/// assert_eq!(Shape::Ring.edges(4)?, [(0, 1), (0, 3), (1, 2), (2, 3)]);
/// assert_eq!(Shape::Hypercube.edges(9).unwrap_err().to_string(), "9 nodes do not make a hypercube; 8 or 16 would");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// Node 0 is joined to every other.
    Star,
    /// A cycle; 3 nodes or more.
    Ring,
    /// A path.
    Bus,
    /// A grid with these sides. Nodes are numbered in row-major order: the
    /// last coordinate varies fastest. No sides: two, chosen by the number of nodes.
    Mesh(Vec<usize>),
    /// A mesh whose sides are closed to rings. A side of 2 has one edge, not two.
    Torus(Vec<usize>),
    /// Nodes whose numbers differ in one bit are joined; a power of two of them.
    Hypercube,
    /// A binary tree: node i has the children 2i+1 and 2i+2.
    Tree,
    /// Every node is joined to every other.
    AllToAll,
}

/// A shape can't have this number of nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{nodes} nodes do not make a {shape}; {} would", alternatives(.fitting))]
pub struct ShapeError {
    /// The shape.
    pub shape: Shape,
    /// The number of nodes that doesn't fit.
    pub nodes: usize,
    /// The nearest numbers that fit, below and above.
    pub fitting: Vec<usize>,
}

fn alternatives(fitting: &[usize]) -> String {
    fitting.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")
}

impl Shape {
    /// One of each shape, sides not given.
    pub const fn all() -> [Self; 8] {
        [
            Self::Star,
            Self::Ring,
            Self::Bus,
            Self::Mesh(Vec::new()),
            Self::Torus(Vec::new()),
            Self::Hypercube,
            Self::Tree,
            Self::AllToAll,
        ]
    }

    /// The edges between `nodes` nodes: undirected, each once as (lesser,
    /// greater), in ascending order.
    pub fn edges(&self, nodes: usize) -> Result<Vec<(usize, usize)>, ShapeError> {
        let mut edges = match self.resolve(nodes)? {
            Self::Star => (1..nodes).map(|i| (0, i)).collect(),
            Self::Ring => (0..nodes).map(|i| ordered(i, (i + 1) % nodes)).collect(),
            Self::Bus => (1..nodes).map(|i| (i - 1, i)).collect(),
            Self::Mesh(sides) => grid(&sides, nodes, false),
            Self::Torus(sides) => grid(&sides, nodes, true),
            Self::Hypercube => hypercube(nodes),
            Self::Tree => (1..nodes).map(|i| ((i - 1) / 2, i)).collect(),
            Self::AllToAll => (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))).collect(),
        };
        edges.sort_unstable();
        edges.dedup();
        Ok(edges)
    }

    /// The same shape with its sides filled in, if it can have this number of nodes.
    pub fn resolve(&self, nodes: usize) -> Result<Self, ShapeError> {
        match self.sides(nodes) {
            Some(sides) if sides.is_empty() => Ok(self.clone()),
            Some(sides) => Ok(match self {
                Self::Torus(_) => Self::Torus(sides),
                _ => Self::Mesh(sides),
            }),
            None => Err(ShapeError { shape: self.clone(), nodes, fitting: self.nearest(nodes) }),
        }
    }

    /// The sides of a mesh or torus of this size, nothing for other shapes,
    /// `None` where the size doesn't fit.
    fn sides(&self, nodes: usize) -> Option<Vec<usize>> {
        let fits = match self {
            Self::Mesh(sides) | Self::Torus(sides) if sides.is_empty() => return most_square(nodes),
            Self::Mesh(sides) | Self::Torus(sides) => {
                return (product(sides) == Some(nodes) && nodes > 0).then(|| sides.clone());
            }
            Self::Ring => nodes >= 3,
            Self::Hypercube => nodes.is_power_of_two(),
            Self::Star | Self::Bus | Self::Tree | Self::AllToAll => nodes > 0,
        };
        fits.then(Vec::new)
    }

    fn nearest(&self, nodes: usize) -> Vec<usize> {
        match self {
            Self::Mesh(sides) | Self::Torus(sides) if !sides.is_empty() => {
                product(sides).into_iter().collect()
            }
            Self::Hypercube => {
                let above = nodes.checked_next_power_of_two();
                (nodes > 0).then(|| 1 << nodes.ilog2()).into_iter().chain(above).collect()
            }
            // Of four numbers in a row at least one fits each of the others.
            _ => {
                let below = (nodes.saturating_sub(4)..nodes).rev().find(|n| self.sides(*n).is_some());
                let above = (nodes..nodes.saturating_add(5)).find(|n| self.sides(*n).is_some());
                below.into_iter().chain(above).collect()
            }
        }
    }
}

const fn ordered(a: usize, b: usize) -> (usize, usize) {
    if a < b { (a, b) } else { (b, a) }
}

fn product(sides: &[usize]) -> Option<usize> {
    sides.iter().try_fold(1_usize, |product, side| product.checked_mul(*side))
}

/// Two sides of at least 2, the longer first, that differ as little as possible.
fn most_square(nodes: usize) -> Option<Vec<usize>> {
    let short = (2..=nodes.isqrt()).rev().find(|side| nodes.is_multiple_of(*side))?;
    Some(vec![nodes / short, short])
}

fn grid(sides: &[usize], nodes: usize, closed: bool) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    // How far apart in number two neighbours along a side are.
    let mut stride = nodes;
    for &side in sides {
        stride /= side;
        for node in 0..nodes {
            let coordinate = node / stride % side;
            if coordinate + 1 < side {
                edges.push((node, node + stride));
            } else if closed && side > 2 {
                edges.push((node - coordinate * stride, node));
            }
        }
    }
    edges
}

fn hypercube(nodes: usize) -> Vec<(usize, usize)> {
    let bits = nodes.ilog2();
    (0..nodes)
        .flat_map(|node| (0..bits).map(move |bit| (node, node | 1 << bit)))
        .filter(|(a, b)| a != b)
        .collect()
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, sides): (_, &[usize]) = match self {
            Self::Star => ("star", &[]),
            Self::Ring => ("ring", &[]),
            Self::Bus => ("bus", &[]),
            Self::Mesh(sides) => ("mesh", sides),
            Self::Torus(sides) => ("torus", sides),
            Self::Hypercube => ("hypercube", &[]),
            Self::Tree => ("tree", &[]),
            Self::AllToAll => ("all-to-all", &[]),
        };
        f.write_str(name)?;
        for (i, side) in sides.iter().enumerate() {
            write!(f, "{}{side}", if i == 0 { ':' } else { 'x' })?;
        }
        Ok(())
    }
}

/// A text that names no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a shape; the shapes are star, ring, bus, mesh, torus, hypercube, tree and all-to-all, \
     and a mesh or torus may give its sides (at most {MAX_DIMENSIONS}, none of them 0), such as mesh:4x2"
)]
pub struct ParseShapeError {
    text: String,
}

impl FromStr for Shape {
    type Err = ParseShapeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseShapeError { text: text.chars().take(64).collect() };
        if let Some((name, sides)) = text.split_once(':') {
            let sides = parse_sides(sides).ok_or_else(error)?;
            return match name {
                "mesh" => Ok(Self::Mesh(sides)),
                "torus" => Ok(Self::Torus(sides)),
                _ => Err(error()),
            };
        }
        Self::all().into_iter().find(|shape| shape.to_string() == text).ok_or_else(error)
    }
}

fn parse_sides(text: &str) -> Option<Vec<usize>> {
    let side = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|side| digits && *side > 0)
    };
    let sides: Vec<usize> = text.split('x').take(MAX_DIMENSIONS + 1).map(side).collect::<Option<_>>()?;
    (sides.len() <= MAX_DIMENSIONS).then_some(sides)
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape() -> impl Strategy<Value = Shape> {
        let sides = proptest::collection::vec(1_usize..6, 0..4);
        prop_oneof![
            proptest::sample::select(Shape::all().to_vec()),
            sides.clone().prop_map(Shape::Mesh),
            sides.prop_map(Shape::Torus),
        ]
    }

    /// Are two nodes joined? By the definition of the shape, one pair at a time.
    fn joined(shape: &Shape, nodes: usize, a: usize, b: usize) -> bool {
        let coordinates = |mut node: usize, sides: &[usize]| {
            let mut at: Vec<usize> = sides
                .iter()
                .rev()
                .map(|side| {
                    let c = node % side;
                    node /= side;
                    c
                })
                .collect();
            at.reverse();
            at
        };
        let differences = |sides: &[usize]| {
            let (a, b) = (coordinates(a, sides), coordinates(b, sides));
            (0..sides.len())
                .filter(|i| a[*i] != b[*i])
                .map(|i| (a[i].abs_diff(b[i]), sides[i]))
                .collect::<Vec<_>>()
        };
        match shape {
            Shape::Star => a == 0,
            Shape::Ring => b - a == 1 || b - a == nodes - 1,
            Shape::Bus => b - a == 1,
            Shape::Mesh(sides) => matches!(differences(sides)[..], [(1, _)]),
            Shape::Torus(sides) => matches!(differences(sides)[..], [(d, side)] if d == 1 || d == side - 1),
            Shape::Hypercube => (a ^ b).count_ones() == 1,
            Shape::Tree => b == 2 * a + 1 || b == 2 * a + 2,
            Shape::AllToAll => true,
        }
    }

    proptest! {
        #[test]
        fn edges_are_those_of_the_definition(shape in shape(), nodes in 0_usize..130) {
            let nodes = match &shape {
                Shape::Mesh(sides) | Shape::Torus(sides) if !sides.is_empty() => product(sides).unwrap(),
                _ => nodes,
            };
            match shape.resolve(nodes) {
                Ok(resolved) => {
                    let expected: Vec<_> = (0..nodes)
                        .flat_map(|a| (a + 1..nodes).map(move |b| (a, b)))
                        .filter(|(a, b)| joined(&resolved, nodes, *a, *b))
                        .collect();
                    prop_assert_eq!(shape.edges(nodes), Ok(expected));
                    prop_assert_eq!(resolved.resolve(nodes), Ok(resolved));
                }
                Err(error) => {
                    prop_assert!(!error.fitting.is_empty());
                    for n in &error.fitting {
                        prop_assert!(*n != nodes && shape.edges(*n).is_ok(), "{}", error);
                    }
                }
            }
        }

        #[test]
        fn print_then_parse_is_the_identity(shape in shape()) {
            prop_assert_eq!(shape.to_string().parse(), Ok(shape.clone()));
            let json = serde_json::to_string(&shape).unwrap();
            prop_assert_eq!(serde_json::from_str::<Shape>(&json).unwrap(), shape);
        }

        #[test]
        fn any_text_parses_or_fails_without_panic(text in "(mesh|torus|ring)?:?[0-9x+]{0,80}", nodes in 0_usize..100_000) {
            if let Ok(shape) = text.parse::<Shape>() {
                let _ = shape.resolve(nodes);
            }
        }
    }

    #[test]
    fn default_sides_are_as_square_as_possible() {
        let resolved =
            |shape: &str, nodes| shape.parse::<Shape>().unwrap().resolve(nodes).map(|s| s.to_string());
        assert_eq!(resolved("mesh", 8).unwrap(), "mesh:4x2");
        assert_eq!(resolved("torus", 16).unwrap(), "torus:4x4");
        assert_eq!(resolved("mesh", 7).unwrap_err().to_string(), "7 nodes do not make a mesh; 6 or 8 would");
        assert_eq!(
            resolved("mesh:2x2", 5).unwrap_err().to_string(),
            "5 nodes do not make a mesh:2x2; 4 would"
        );
        assert_eq!(resolved("ring", 2).unwrap_err().to_string(), "2 nodes do not make a ring; 3 would");
        assert_eq!(
            resolved("hypercube", 0).unwrap_err().to_string(),
            "0 nodes do not make a hypercube; 1 would"
        );
    }
}
