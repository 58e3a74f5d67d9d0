//! Takes one layer after the other from the edges of a matrix.

use std::collections::{BTreeMap, HashSet};

use crate::matrix::TrafficMatrix;
use crate::name::TopologyName;

use super::edges::{self, Cut, Edge};
use super::template::{self, Template};
use super::{Classification, ClassifyOptions, Layer, Leftover};
use super::{evidence, imperfect};

/// The fraction of all bytes that a weaker layer without a name needs.
const IRREGULAR_SHARE: f64 = 0.05;

/// What the shape of a weaker layer must say, in bits: a few stray edges have
/// the shape of something small by chance.
const WEAK_SURPRISE: f64 = 8.0;

/// What flows back is at most this fraction: acknowledgements, no data.
const REVERSE: f64 = 0.25;

/// A layer that was recognised.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) inside: Vec<Edge>,
    /// Its weakest weight over the strongest outside, if there is any.
    pub(crate) gap: Option<f64>,
    pub(crate) names: Vec<TopologyName>,
    pub(crate) positions: BTreeMap<u32, Vec<u32>>,
    /// Edges that the shape has and the matrix has not.
    pub(crate) missing: Vec<(u32, u32)>,
    /// How unlikely it is, in bits, that a random graph has this shape.
    pub(crate) surprise: f64,
    /// How much speaks for it, in bits.
    pub(crate) score: f64,
}

pub(super) fn classify(matrix: &TrafficMatrix, options: &ClassifyOptions) -> Classification {
    let mut rest = edges::by_weight(matrix);
    let total: f64 = rest.iter().map(|edge| edge.weight).sum();
    let share = |edges: &[Edge]| edges.iter().map(|edge| edge.weight).sum::<f64>() / total;
    let mut taken = Vec::new();
    let mut layers = Vec::new();
    while !rest.is_empty() && layers.len() < options.max_layers {
        let found = next_layer(&rest, &taken, options);
        let share = share(&found.inside);
        let is_worth_telling = match found.names[..] {
            [TopologyName::Irregular] => share >= IRREGULAR_SHARE,
            _ => share >= options.min_share && found.surprise >= WEAK_SURPRISE,
        };
        if !layers.is_empty() && !is_worth_telling {
            break;
        }
        rest = without(rest, &found.inside);
        taken.extend_from_slice(&found.inside);
        layers.push(describe(matrix, found, share));
    }
    if layers.is_empty() {
        layers.push(Layer::none());
    }
    let leftover = Leftover {
        share: if rest.is_empty() { 0.0 } else { share(&rest) },
        edges: rest.iter().map(Edge::ends).collect(),
    };
    Classification { vertices: matrix.len(), layers, leftover }
}

fn without(mut edges: Vec<Edge>, taken: &[Edge]) -> Vec<Edge> {
    if edges.starts_with(taken) {
        return edges.split_off(taken.len());
    }
    let taken: HashSet<(u32, u32)> = taken.iter().map(Edge::ends).collect();
    edges.retain(|edge| !taken.contains(&edge.ends()));
    edges
}

/// The strongest layer of what is left, given the edges of stronger ones.
fn next_layer(rest: &[Edge], taken: &[Edge], options: &ClassifyOptions) -> Found {
    let pruned = options.pruned && taken.is_empty();
    let exact = if taken.is_empty() {
        best_cut(rest, pruned)
    } else {
        everybody(rest, taken).or_else(|| best_cut(rest, false))
    };
    let is_star = |found: &Found| found.names.first() == Some(&TopologyName::Star);
    match exact {
        Some(found) if !is_star(&found) => return found,
        Some(star) => {
            // The application rather than its monitor, if it sends more.
            let bytes = |found: &Found| found.inside.iter().map(|edge| edge.weight).sum::<f64>();
            let application =
                imperfect::without_hub(rest, pruned).filter(|found| bytes(found) > bytes(&star));
            return application.unwrap_or(star);
        }
        None => {}
    }
    let inexact = imperfect::without_hub(rest, pruned).or_else(|| imperfect::almost(rest, pruned));
    inexact.unwrap_or_else(|| {
        let cut = evidence::irregular_cut(rest, &edges::cuts(rest), options.detection_threshold);
        Found {
            inside: rest[..cut.inside].to_vec(),
            gap: cut.gap,
            names: vec![TopologyName::Irregular],
            positions: BTreeMap::new(),
            missing: Vec::new(),
            surprise: 0.0,
            score: 0.0,
        }
    })
}

/// The strongest edges that together have a name.
pub(crate) fn best_cut(all: &[Edge], pruned: bool) -> Option<Found> {
    let everyone = edges::members(all).len();
    let found = edges::cuts(all).into_iter().filter_map(|cut| {
        let found = recognise(&all[..cut.inside], cut.gap)?;
        let cover = found.positions.len() as f64 / everyone as f64;
        let score = evidence::score(all, cut, cover, found.surprise, pruned)?;
        Some(Found { score, ..found })
    });
    found.max_by(|x, y| x.score.total_cmp(&y.score))
}

/// A weak all-to-all layer; the stronger edges have their part in it.
fn everybody(rest: &[Edge], taken: &[Edge]) -> Option<Found> {
    edges::cuts(rest).into_iter().rev().find_map(|cut: Cut| {
        let inside = &rest[..cut.inside];
        let members = edges::members(inside);
        let is_member = |v: u32| members.binary_search(&v).is_ok();
        let shared = taken.iter().filter(|edge| is_member(edge.a) && is_member(edge.b)).count();
        let pairs = members.len() * (members.len() - 1) / 2;
        // Else the strong layer would be most of it.
        if inside.len() + shared != pairs || shared > inside.len() {
            return None;
        }
        Some(Found {
            inside: inside.to_vec(),
            gap: cut.gap,
            names: vec![TopologyName::AllToAll],
            positions: members.iter().copied().zip((0..).map(|v| vec![v])).collect(),
            missing: Vec::new(),
            surprise: evidence::surprise(members.len(), pairs, 0.0),
            score: 0.0,
        })
    })
}

/// All these edges, if together they have a name.
pub(crate) fn recognise(inside: &[Edge], gap: Option<f64>) -> Option<Found> {
    let members = edges::members(inside);
    let mut templates = template::templates(members.len());
    templates.retain(|template| template.edges == inside.len());
    if templates.is_empty() {
        return None;
    }
    let graph = edges::graph(inside, &members);
    let recognise = |template: Template| Some((template.recognise(&graph)?, template.names));
    let mut recognised = templates.into_iter().filter_map(recognise);
    let (recognition, mut names) = recognised.next()?;
    names.extend(recognised.flat_map(|(_, names)| names));
    Some(Found {
        inside: inside.to_vec(),
        gap,
        names,
        missing: Vec::new(),
        surprise: evidence::surprise(members.len(), inside.len(), recognition.symmetry_bits),
        score: 0.0,
        positions: members.into_iter().zip(recognition.positions).collect(),
    })
}

fn describe(matrix: &TrafficMatrix, found: Found, share: f64) -> Layer {
    let clarity = found.gap.map_or(1.0, |gap| 1.0 - 1.0 / (1.0 + gap * gap));
    let there = found.inside.len() as f64;
    let fit = there / (there + found.missing.len() as f64);
    let members = edges::members(&found.inside);
    let graph = edges::graph(&found.inside, &members);
    let degrees = graph.degrees();
    let one_sided = is_one_sided(matrix, &found.inside);
    let amount = |from: u32, to: u32| matrix.get(from as usize, to as usize);
    let oriented = |edge: &Edge| {
        let backwards = one_sided && amount(edge.b, edge.a) > amount(edge.a, edge.b);
        if backwards { (edge.b, edge.a) } else { edge.ends() }
    };
    let mut edges: Vec<(u32, u32)> = found.inside.iter().map(oriented).collect();
    edges.sort_unstable();
    Layer {
        names: found.names,
        confidence: clarity * fit,
        share,
        edges,
        missing: found.missing,
        position: found.positions,
        one_sided,
        members: members.len(),
        degree: (degrees.first().copied().unwrap_or(0), degrees.last().copied().unwrap_or(0)),
        components: graph.components(),
    }
}

fn is_one_sided(matrix: &TrafficMatrix, edges: &[Edge]) -> bool {
    let flows = edges.iter().map(|edge| {
        let (a, b) = (edge.a as usize, edge.b as usize);
        let (there, back) = (matrix.get(a, b), matrix.get(b, a));
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
            missing: Vec::new(),
            position: BTreeMap::new(),
            one_sided: false,
            members: 0,
            degree: (0, 0),
            components: 0,
        }
    }
}
