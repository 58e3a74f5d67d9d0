//! Cuts the edges of a matrix into layers by weight.

use std::collections::BTreeMap;

use crate::matrix::TrafficMatrix;
use crate::name::TopologyName;

use super::graph::Graph;
use super::template::{self, Recognition, Template};
use super::{Classification, ClassifyOptions, Layer, Leftover};

/// Two weights next to each other in order belong to different layers only if
/// they are this far apart.
const LEAST_GAP: f64 = 1.3;

/// At most so many cuts are tried, those at the widest gaps.
const MOST_CUTS: usize = 64;

/// How much the weights within one layer are expected to differ.
const USUAL_SPREAD: f64 = 4.5;

/// The fraction of all bytes that a weaker layer without a name needs.
const IRREGULAR_SHARE: f64 = 0.05;

#[derive(Clone, Copy, Debug)]
struct Edge {
    a: u32,
    b: u32,
    weight: f64,
}

/// The strongest `edges` edges taken as a layer.
#[derive(Clone, Copy, Debug)]
struct Cut {
    edges: usize,
    /// The weight of its weakest edge over that of the strongest one outside;
    /// `None` if there is none outside.
    gap: Option<f64>,
}

struct Named {
    cut: Cut,
    names: Vec<TopologyName>,
    members: Vec<u32>,
    recognition: Recognition,
    /// How unlikely it is, in bits, that a random graph has this shape.
    surprise: f64,
    /// How much speaks for it, in bits.
    score: f64,
}

pub(super) fn classify(matrix: &TrafficMatrix, options: &ClassifyOptions) -> Classification {
    let mut edges = edges_by_weight(matrix);
    let total: f64 = edges.iter().map(|edge| edge.weight).sum();
    let mut layers = Vec::new();
    while !edges.is_empty() && layers.len() < options.max_layers {
        let layer = next_layer(&edges);
        let cut = layer.as_ref().map_or_else(|| irregular_cut(&edges, options), |named| named.cut);
        let (inside, outside) = edges.split_at(cut.edges);
        let share = inside.iter().map(|edge| edge.weight).sum::<f64>() / total;
        if !layers.is_empty() && !is_worth_telling(layer.as_ref(), share, options) {
            break;
        }
        layers.push(describe(matrix, inside, cut, layer, share));
        edges = outside.to_vec();
    }
    if layers.is_empty() {
        layers.push(Layer::none());
    }
    let share = edges.iter().map(|edge| edge.weight).sum::<f64>() / total.max(f64::MIN_POSITIVE);
    let leftover = Leftover { share, edges: edges.iter().map(|edge| (edge.a, edge.b)).collect() };
    Classification { vertices: matrix.len(), layers, leftover }
}

/// Does a weaker layer say something about the application? A few stray edges
/// have the shape of something small by chance.
fn is_worth_telling(named: Option<&Named>, share: f64, options: &ClassifyOptions) -> bool {
    match named {
        Some(named) => share >= options.min_share && named.surprise >= 8.0,
        None => share >= IRREGULAR_SHARE,
    }
}

fn edges_by_weight(matrix: &TrafficMatrix) -> Vec<Edge> {
    let n = matrix.len();
    let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
    let mut edges: Vec<Edge> = pairs
        .map(|(a, b)| Edge { a: a as u32, b: b as u32, weight: matrix.both_ways(a, b) })
        .filter(|edge| edge.weight > 0.0)
        .collect();
    edges.sort_by(|x, y| y.weight.total_cmp(&x.weight).then((x.a, x.b).cmp(&(y.a, y.b))));
    edges
}

/// The strongest layer that has a name.
fn next_layer(edges: &[Edge]) -> Option<Named> {
    let everyone = members(edges).len();
    let named = cuts(edges).into_iter().filter_map(|cut| recognise(edges, cut, everyone));
    named.max_by(|x, y| x.score.total_cmp(&y.score))
}

fn cuts(edges: &[Edge]) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = edges
        .windows(2)
        .zip(1..)
        .map(|(pair, edges)| Cut { edges, gap: Some(pair[0].weight / pair[1].weight) })
        .filter(|cut| cut.gap >= Some(LEAST_GAP))
        .collect();
    cuts.sort_by(|x, y| y.gap.partial_cmp(&x.gap).unwrap_or(std::cmp::Ordering::Equal));
    cuts.truncate(MOST_CUTS);
    cuts.push(Cut { edges: edges.len(), gap: None });
    cuts
}

fn recognise(edges: &[Edge], cut: Cut, everyone: usize) -> Option<Named> {
    let inside = &edges[..cut.edges];
    let members = members(inside);
    let fitting: Vec<Template> =
        template::templates(members.len()).into_iter().filter(|t| t.edges == cut.edges).collect();
    if fitting.is_empty() {
        return None;
    }
    let graph = graph(inside, &members);
    let mut recognised = fitting.into_iter().filter_map(|t| Some((t.recognise(&graph)?, t.names)));
    let (recognition, mut names) = recognised.next()?;
    names.extend(recognised.flat_map(|(_, names)| names));
    let surprise = surprise(members.len(), cut.edges, &recognition);
    let score = score(edges, cut, members.len() as f64 / everyone as f64, surprise)?;
    Some(Named { cut, names, members, recognition, surprise, score })
}

/// How much speaks for a layer, in bits; `None` if not enough.
fn score(edges: &[Edge], cut: Cut, cover: f64, surprise: f64) -> Option<f64> {
    let strongest = edges[0].weight;
    let weakest = edges[cut.edges - 1].weight;
    let next = edges.get(cut.edges).map_or(0.0, |edge| edge.weight);
    // Nothing outside says nothing about where the layer ends.
    let gap = cut.gap.unwrap_or(2.0);
    let is_within = next * USUAL_SPREAD >= strongest;
    let is_striking = surprise >= 14.0 && gap >= 1.5 && cover >= 0.5;
    let is_separate = !is_within && (cover >= 0.9 || gap >= 3.0 && cover >= 0.5 || gap >= 8.0);
    let is_complete = cover >= 1.0 && gap >= 2.0;
    if !(is_striking || is_separate || is_complete) {
        return None;
    }
    let spread = (strongest / weakest / USUAL_SPREAD).max(1.0);
    let score = surprise.min(60.0) + 6.0 * gap.min(16.0).log2() - 3.0 * spread.log2() - 20.0 * (1.0 - cover)
        + if is_within { 0.0 } else { 12.0 };
    Some(score)
}

/// How unlikely it is, in bits, that a random graph with as many vertices and
/// edges has this shape.
fn surprise(members: usize, edges: usize, recognition: &Recognition) -> f64 {
    let pairs = members * (members - 1) / 2;
    if edges == pairs {
        // There is just one graph with so many edges; that there are so many says it all.
        return edges as f64;
    }
    let log2_factorial = template::log2_factorial;
    let graphs = log2_factorial(pairs) - log2_factorial(edges) - log2_factorial(pairs - edges);
    let labellings = log2_factorial(members) - recognition.symmetry_bits;
    (graphs - labellings).max(0.0)
}

/// Where a layer without a name ends: at the widest gap around the detection
/// threshold.
fn irregular_cut(edges: &[Edge], options: &ClassifyOptions) -> Cut {
    let strongest = edges[0].weight;
    let threshold = options.detection_threshold * strongest;
    let is_near = |cut: &Cut| {
        let next = edges.get(cut.edges).map_or(0.0, |edge| edge.weight);
        edges[cut.edges - 1].weight >= threshold && next < strongest / USUAL_SPREAD
    };
    let widest = cuts(edges).into_iter().filter(|cut| cut.gap >= Some(1.5)).find(is_near);
    widest.unwrap_or_else(|| {
        let inside = edges.iter().take_while(|edge| edge.weight >= threshold).count();
        let gap = edges.get(inside).map(|next| edges[inside - 1].weight / next.weight);
        Cut { edges: inside, gap }
    })
}

/// The vertices that have edges, in order.
fn members(edges: &[Edge]) -> Vec<u32> {
    let mut members: Vec<u32> = edges.iter().flat_map(|edge| [edge.a, edge.b]).collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// The graph of the edges; its vertices are the indices in `members`.
fn graph(edges: &[Edge], members: &[u32]) -> Graph {
    let mut index = vec![0; members.last().map_or(0, |last| *last as usize + 1)];
    for (i, member) in members.iter().enumerate() {
        index[*member as usize] = i as u32;
    }
    let edges: Vec<(u32, u32)> =
        edges.iter().map(|edge| (index[edge.a as usize], index[edge.b as usize])).collect();
    Graph::new(members.len(), &edges)
}

fn describe(matrix: &TrafficMatrix, inside: &[Edge], cut: Cut, named: Option<Named>, share: f64) -> Layer {
    let clarity = cut.gap.map_or(1.0, |gap| 1.0 - 1.0 / (1.0 + gap * gap));
    let all = members(inside);
    let graph = graph(inside, &all);
    let degrees = graph.degrees();
    let (names, position) = match named {
        Some(Named { names, members, recognition, .. }) => {
            (names, members.into_iter().zip(recognition.positions).collect())
        }
        None => (vec![TopologyName::Irregular], BTreeMap::new()),
    };
    let one_sided = is_one_sided(matrix, inside);
    let oriented = |edge: &Edge| {
        let backwards =
            matrix.get(edge.b as usize, edge.a as usize) > matrix.get(edge.a as usize, edge.b as usize);
        if one_sided && backwards { (edge.b, edge.a) } else { (edge.a, edge.b) }
    };
    let mut edges: Vec<(u32, u32)> = inside.iter().map(oriented).collect();
    edges.sort_unstable();
    Layer {
        names,
        confidence: clarity,
        share,
        edges,
        position,
        one_sided,
        members: all.len(),
        degree: (degrees.first().copied().unwrap_or(0), degrees.last().copied().unwrap_or(0)),
        components: graph.components(),
    }
}

/// What flows back is at most this fraction: acknowledgements, no data.
const REVERSE: f64 = 0.25;

fn is_one_sided(matrix: &TrafficMatrix, edges: &[Edge]) -> bool {
    let flows = edges.iter().map(|edge| {
        let (there, back) =
            (matrix.get(edge.a as usize, edge.b as usize), matrix.get(edge.b as usize, edge.a as usize));
        (there.min(back), there.max(back))
    });
    let (lesser, greater) = flows.fold((0.0, 0.0), |sum, flow| (sum.0 + flow.0, sum.1 + flow.1));
    lesser <= REVERSE * greater
}

impl Layer {
    fn none() -> Self {
        Self {
            names: vec![TopologyName::None],
            confidence: 1.0,
            share: 0.0,
            edges: Vec::new(),
            position: BTreeMap::new(),
            one_sided: false,
            members: 0,
            degree: (0, 0),
            components: 0,
        }
    }
}
