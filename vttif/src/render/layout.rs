//! Where vertices are drawn.

use std::f64::consts::{FRAC_PI_2, TAU};

use crate::classify::{Classification, Layer};
use crate::name::TopologyName;

/// Above this many vertices, a graph without a name is drawn as a circle.
const MOST_FORCES: usize = 150;

const ROUNDS: usize = 300;

/// A place for each vertex: by its position in the shape of the strongest
/// layer, or such that neighbours are near. Any unit; vertices are about 1 apart.
pub(crate) fn places(classification: &Classification) -> Vec<(f64, f64)> {
    let vertices = classification.vertices;
    let mut places = vec![None; vertices];
    if let Some(layer) = classification.layers.first() {
        if layer.position.is_empty() {
            for (v, place) in by_forces(layer) {
                set(&mut places, v, place);
            }
        } else {
            for (v, position) in &layer.position {
                set(&mut places, *v, by_shape(layer, position));
            }
        }
    }
    beside(places)
}

fn set(places: &mut [Option<(f64, f64)>], vertex: u32, place: (f64, f64)) {
    if let Some(slot) = places.get_mut(vertex as usize) {
        *slot = Some(place);
    }
}

fn by_shape(layer: &Layer, position: &[u32]) -> (f64, f64) {
    let count = layer.position.len();
    let index = position.first().copied().unwrap_or(0);
    match &layer.names[0] {
        TopologyName::Ring | TopologyName::AllToAll => around(index as usize, count),
        TopologyName::Star if index == 0 => (0.0, 0.0),
        TopologyName::Star => around(index as usize - 1, count - 1),
        TopologyName::Bus => {
            // Rows that run to and fro.
            let row_length = if count <= 12 { count } else { (count as f64).sqrt().ceil() as usize };
            let (row, column) = (index as usize / row_length, index as usize % row_length);
            let column = if row % 2 == 0 { column } else { row_length - 1 - column };
            (column as f64, row as f64)
        }
        TopologyName::Tree => {
            let level = (index + 1).ilog2();
            let levels = (count as u32).ilog2();
            let in_level = f64::from(index + 1 - (1 << level)) + 0.5;
            let width = f64::from(1_u32 << levels);
            (in_level * width / f64::from(1_u32 << level), f64::from(level) * (1.0 + f64::from(levels) / 2.0))
        }
        _ => in_grid(position, &extents(layer)),
    }
}

fn around(index: usize, count: usize) -> (f64, f64) {
    let radius = (count as f64 / TAU).max(1.0);
    let angle = TAU * index as f64 / count.max(1) as f64 - FRAC_PI_2;
    (radius * angle.cos(), radius * angle.sin())
}

fn extents(layer: &Layer) -> Vec<u32> {
    let dimensions = layer.position.values().map(Vec::len).max().unwrap_or(0);
    (0..dimensions)
        .map(|d| layer.position.values().filter_map(|p| p.get(d)).max().map_or(1, |max| max + 1))
        .collect()
}

/// The last two coordinates make a plane. A third one goes into the depth; of
/// more, planes stand side by side.
fn in_grid(position: &[u32], extents: &[u32]) -> (f64, f64) {
    if let ([depth, row, column], [deepest, ..]) = (position, extents) {
        let behind = f64::from(*depth) / f64::from((*deepest).max(2));
        return (f64::from(*column) + 0.9 * behind, f64::from(*row) - 0.6 * behind);
    }
    let mut place = [0.0, 0.0];
    let mut stride = [1.0, 1.0];
    for (i, (c, extent)) in position.iter().rev().zip(extents.iter().rev()).enumerate() {
        let axis = i % 2;
        place[axis] += f64::from(*c) * stride[axis];
        stride[axis] *= f64::from(*extent) + 0.6;
    }
    (place[0], place[1])
}

/// Vertices repel each other, and edges pull (T. Fruchterman and E. Reingold,
/// "Graph drawing by force-directed placement", 1991).
fn by_forces(layer: &Layer) -> Vec<(u32, (f64, f64))> {
    let mut members: Vec<u32> = layer.edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
    members.sort_unstable();
    members.dedup();
    let n = members.len();
    let mut at: Vec<(f64, f64)> = (0..n).map(|i| around(i, n)).collect();
    let index = |v: u32| members.binary_search(&v).unwrap_or(0);
    let edges: Vec<(usize, usize)> = layer.edges.iter().map(|(a, b)| (index(*a), index(*b))).collect();
    let rounds = if n <= MOST_FORCES { ROUNDS } else { 0 };
    for round in 0..rounds {
        let warmth = 0.3 * (n as f64).sqrt() * (1.0 - round as f64 / rounds as f64);
        let mut moves = vec![(0.0, 0.0); n];
        let mut push = |a: usize, b: usize, force: f64, (dx, dy): (f64, f64)| {
            moves[a].0 += dx * force;
            moves[a].1 += dy * force;
            moves[b].0 -= dx * force;
            moves[b].1 -= dy * force;
        };
        let apart = |a: usize, b: usize| (at[a].0 - at[b].0, at[a].1 - at[b].1);
        for a in 0..n {
            for b in a + 1..n {
                let (dx, dy) = apart(a, b);
                push(a, b, 1.0 / (dx * dx + dy * dy).max(1e-4), (dx, dy));
            }
        }
        for (a, b) in &edges {
            let (dx, dy) = apart(*a, *b);
            push(*a, *b, -dx.hypot(dy), (dx, dy));
        }
        for (place, (dx, dy)) in at.iter_mut().zip(moves) {
            let length = dx.hypot(dy).max(1e-9);
            let step = length.min(warmth) / length;
            *place = (place.0 + dx * step, place.1 + dy * step);
        }
    }
    members.into_iter().zip(at).collect()
}

/// Vertices without a place stand in a row below the others.
fn beside(places: Vec<Option<(f64, f64)>>) -> Vec<(f64, f64)> {
    let placed = places.iter().flatten();
    let (left, below) = placed
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(left, below), (x, y)| (left.min(*x), below.max(*y)));
    let (left, below) = if left.is_finite() { (left, below + 1.5) } else { (0.0, 0.0) };
    let mut next = 0;
    let row = 16;
    places
        .into_iter()
        .map(|place| {
            place.unwrap_or_else(|| {
                let beside = (left + f64::from(next % row), below + f64::from(next / row));
                next += 1;
                beside
            })
        })
        .collect()
}
