//! The edges of a matrix in the order of their weight, and where to cut them.

use crate::matrix::TrafficMatrix;

use super::graph::Graph;

/// Two weights next to each other in order belong to different layers only if
/// they are this far apart.
const LEAST_GAP: f64 = 1.3;

/// At most so many cuts are tried, those at the widest gaps.
const MOST_CUTS: usize = 64;

/// An undirected edge; `a < b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) a: u32,
    pub(crate) b: u32,
    /// What the two send each other.
    pub(crate) weight: f64,
}

/// The strongest `inside` edges taken as a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) inside: usize,
    /// The weight of its weakest edge over that of the strongest one outside;
    /// `None` if there is none outside.
    pub(crate) gap: Option<f64>,
}

impl Edge {
    pub(crate) const fn ends(&self) -> (u32, u32) {
        (self.a, self.b)
    }
}

/// The strongest first.
pub(crate) fn by_weight(matrix: &TrafficMatrix) -> Vec<Edge> {
    let n = matrix.len();
    let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
    let mut edges: Vec<Edge> = pairs
        .map(|(a, b)| Edge { a: a as u32, b: b as u32, weight: matrix.both_ways(a, b) })
        .filter(|edge| edge.weight > 0.0)
        .collect();
    edges.sort_unstable_by(|x, y| y.weight.total_cmp(&x.weight).then(x.ends().cmp(&y.ends())));
    edges
}

/// The places where a layer may end, those at the widest gaps first and the
/// end of the list last.
pub(crate) fn cuts(edges: &[Edge]) -> Vec<Cut> {
    let gaps = edges.windows(2).map(|pair| pair[0].weight / pair[1].weight);
    let mut gaps: Vec<(f64, usize)> = gaps.zip(1..).filter(|(gap, _)| *gap >= LEAST_GAP).collect();
    gaps.sort_by(|x, y| y.0.total_cmp(&x.0));
    gaps.truncate(MOST_CUTS);
    let ends = gaps.into_iter().map(|(gap, inside)| Cut { inside, gap: Some(gap) });
    ends.chain([Cut { inside: edges.len(), gap: None }]).collect()
}

/// The vertices that have edges, in order.
pub(crate) fn members(edges: &[Edge]) -> Vec<u32> {
    let last = edges.iter().map(|edge| edge.b).max();
    let mut is_member = vec![false; last.map_or(0, |last| last as usize + 1)];
    for edge in edges {
        is_member[edge.a as usize] = true;
        is_member[edge.b as usize] = true;
    }
    (0..).zip(is_member).filter(|(_, is_member)| *is_member).map(|(v, _)| v).collect()
}

/// The graph of the edges; its vertices are the indices in `members`.
pub(crate) fn graph(edges: &[Edge], members: &[u32]) -> Graph {
    let index = indices(members);
    let index = |v: u32| index[v as usize];
    let edges: Vec<(u32, u32)> = edges.iter().map(|edge| (index(edge.a), index(edge.b))).collect();
    Graph::new(members.len(), &edges)
}

/// The place of each vertex in `members`; arbitrary for others.
pub(crate) fn indices(members: &[u32]) -> Vec<u32> {
    let mut index = vec![0; members.last().map_or(0, |last| *last as usize + 1)];
    for (i, member) in members.iter().enumerate() {
        index[*member as usize] = i as u32;
    }
    index
}
