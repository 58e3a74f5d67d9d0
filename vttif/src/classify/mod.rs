//! From a traffic matrix to the names of its topology.
//!
//! What vertices send each other both ways is the weight of an edge. Sorted by
//! weight, the edges fall into layers with gaps between them: the application's
//! main pattern, weaker collectives, chatter. Each plausible cut is compared
//! with the graphs that have names and as many vertices and edges, by exact
//! isomorphism; of the cuts that have a name, the one with the best evidence is
//! taken. Then the rest is searched for the next layer.

mod edges;
mod evidence;
mod graph;
mod imperfect;
mod isomorphism;
mod layers;
mod template;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::matrix::TrafficMatrix;
use crate::name::TopologyName;

/// What to look for.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifyOptions {
    /// The fraction of the largest entry that others need to be part of a
    /// layer without a name. Default 0.1.
    pub detection_threshold: f64,
    /// The most layers to look for. Default 4.
    pub max_layers: usize,
    /// The fraction of all bytes that a weaker layer needs to be told of. Default 0.002.
    pub min_share: f64,
    /// Does the matrix hold just what belongs to the topology, as after the
    /// pruning of [`Aggregator`](crate::Aggregator)? Then all its edges are
    /// likely to be one layer, however much their weights differ. Default: no.
    pub pruned: bool,
}

impl Default for ClassifyOptions {
    fn default() -> Self {
        Self { detection_threshold: 0.1, max_layers: 4, min_share: 0.002, pruned: false }
    }
}

/// The topology of a traffic matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// The number of vertices of the matrix.
    pub vertices: usize,
    /// What the traffic is made of, the strongest layer first; at least one.
    pub layers: Vec<Layer>,
    /// Traffic that is in no layer.
    pub leftover: Leftover,
}

/// Traffic of one kind and scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// All names of its graph, the most telling first; just
    /// [`TopologyName::None`] or [`TopologyName::Irregular`] if it has none.
    pub names: Vec<TopologyName>,
    /// How well the first name fits, 0 to 1.
    pub confidence: f64,
    /// Its fraction of all bytes, 0 to 1.
    pub share: f64,
    /// Its edges, each once. Where the layer is one-sided, from the sender to
    /// the receiver; otherwise from the lesser to the greater index.
    pub edges: Vec<(u32, u32)>,
    /// Edges of the shape that carry nothing, though the shape is recognised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(u32, u32)>,
    /// The place of each vertex in the shape of the first name: coordinates in
    /// a grid, the index along a bus or ring, 0 for the hub of a star, the
    /// index in a tree (i has the children 2i+1 and 2i+2), the index of the
    /// pair and the side.
    pub position: BTreeMap<u32, Vec<u32>>,
    /// Does most of the data of each edge flow one way?
    pub one_sided: bool,
    /// The number of vertices that take part.
    pub members: usize,
    /// The least and the greatest number of partners of a member.
    pub degree: (usize, usize),
    /// The number of connected components.
    pub components: usize,
}

/// Traffic without a layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leftover {
    /// Its fraction of all bytes, 0 to 1.
    pub share: f64,
    /// Its edges, the lesser index first, strongest first.
    pub edges: Vec<(u32, u32)>,
}

impl Classification {
    /// The names of the strongest layer.
    pub fn names(&self) -> &[TopologyName] {
        self.layers.first().map_or(&[], |layer| &layer.names)
    }

    /// The first name of the strongest layer.
    pub fn name(&self) -> &TopologyName {
        self.names().first().unwrap_or(&TopologyName::None)
    }
}

/// Names the topology of a traffic matrix.
///
/// ```
/// use vttif::{ClassifyOptions, TrafficMatrix, classify};
///
/// // A ring of six, and a monitor that asks two of them how they are.
/// let mut matrix = TrafficMatrix::new(7)?;
/// for v in 0..6 {
///     matrix.add(v, (v + 1) % 6, 1000.0)?;
/// }
/// matrix.add(6, 0, 20.0)?;
/// matrix.add(6, 3, 20.0)?;
///
/// let found = classify(&matrix, &ClassifyOptions::default());
/// assert_eq!(found.name().to_string(), "ring");
/// assert_eq!(found.layers[0].edges.len(), 6);
/// assert!(found.layers[0].one_sided);
/// assert_eq!(found.leftover.edges, [(0, 6), (3, 6)]);
/// # Ok::<(), vttif::MatrixError>(())
/// ```
pub fn classify(matrix: &TrafficMatrix, options: &ClassifyOptions) -> Classification {
    layers::classify(matrix, options)
}
