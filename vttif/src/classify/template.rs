//! The graphs that have names.

use std::collections::BTreeMap;

use crate::name::TopologyName;

use super::graph::Graph;
use super::isomorphism;

/// A graph with all its names.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// The most telling first.
    pub(crate) names: Vec<TopologyName>,
    kind: Kind,
    vertices: u32,
    pub(crate) edges: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Pairs,
    Star,
    AllToAll,
    Tree,
    Grid(Grid),
}

/// A mesh, torus or stencil.
#[derive(Clone, Debug)]
struct Grid {
    sides: Vec<u32>,
    closed: bool,
    diagonal: bool,
}

/// A graph that was recognised.
#[derive(Debug)]
pub(crate) struct Recognition {
    /// The position of each vertex in the first of the names.
    pub(crate) positions: Vec<Vec<u32>>,
    /// The binary logarithm of the number of symmetries of the shape.
    pub(crate) symmetry_bits: f64,
}

/// A graph that was recognised but for the edges of one vertex.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) recognition: Recognition,
    /// The neighbours that the vertex has in the shape.
    pub(crate) neighbours: Vec<u32>,
}

/// A prime factor of a Cartesian product of graphs. A connected graph has only
/// one set of them (G. Sabidussi, "Graph multiplication", 1960), so that two
/// grids are the same graph exactly if they have the same factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Factor {
    Path(u32),
    Cycle(u32),
}

/// All named graphs with this many vertices, none of them isolated.
pub(crate) fn templates(vertices: usize) -> Vec<Template> {
    let Ok(n) = u32::try_from(vertices) else { return Vec::new() };
    if n < 2 {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut add = |name, kind, edges| all.push(Template { names: vec![name], kind, vertices: n, edges });
    if n.is_multiple_of(2) {
        add(TopologyName::Pairs, Kind::Pairs, vertices / 2);
    }
    let mut grids = grids(n);
    // The linear ones first: as names, they tell more than a mesh 2x2 does.
    grids.sort_by_key(|grid| grid.names[0].rank());
    all.extend(grids);
    let mut add = |name, kind, edges| all.push(Template { names: vec![name], kind, vertices: n, edges });
    add(TopologyName::Star, Kind::Star, vertices - 1);
    add(TopologyName::Tree, Kind::Tree, vertices - 1);
    add(TopologyName::AllToAll, Kind::AllToAll, vertices * (vertices - 1) / 2);
    all.extend(stencils(n));
    all
}

impl Template {
    /// The positions of the vertices of a graph without isolated ones, if it is this.
    pub(crate) fn recognise(&self, graph: &Graph) -> Option<Recognition> {
        if graph.len() != self.vertices as usize || graph.edge_count() != self.edges {
            return None;
        }
        match &self.kind {
            Kind::Pairs => recognise_pairs(graph),
            Kind::Star => recognise_star(graph),
            Kind::AllToAll => Some(Recognition {
                positions: (0..self.vertices).map(|v| vec![v]).collect(),
                symmetry_bits: log2_factorial(graph.len()),
            }),
            Kind::Tree | Kind::Grid(_) => {
                let template = Graph::new(graph.len(), &self.edge_list());
                let found = isomorphism::find(graph, &template)?;
                let positions = found.places.iter().map(|place| self.position(*place)).collect();
                Some(Recognition { positions, symmetry_bits: found.symmetry_bits })
            }
        }
    }

    /// The degrees of its vertices, ascending.
    pub(crate) fn degrees(&self) -> Vec<usize> {
        Graph::new(self.vertices as usize, &self.edge_list()).degrees()
    }

    /// The positions of the vertices of a graph that is this, once some of the
    /// vertices that are `usable` are joined to `hub`, which is isolated.
    pub(crate) fn recognise_around(
        &self,
        graph: &Graph,
        hub: usize,
        usable: &[bool],
    ) -> Option<Surroundings> {
        let missing = self.edges.checked_sub(graph.edge_count())?;
        if graph.len() != self.vertices as usize
            || missing == 0
            || missing > usable.iter().filter(|u| **u).count()
        {
            return None;
        }
        let template = Graph::new(graph.len(), &self.edge_list());
        // Its neighbours lack one edge each, and it lacks all.
        let lacking: usize = template.degrees().iter().zip(graph.degrees()).map(|(t, g)| t.abs_diff(g)).sum();
        if lacking != 2 * missing {
            return None;
        }
        // Joined to all others, the hub can't be taken for another vertex.
        let ours = graph.with_hub(hub);
        let candidates = isomorphism::representatives(&template).into_iter();
        candidates.filter(|v| template.degree(*v) == missing).find_map(|v| {
            let found = isomorphism::find(&ours, &template.with_hub(v))?;
            let is_neighbour = |u: &usize| template.has_edge(v, found.places[*u] as usize);
            let neighbours: Vec<usize> = (0..graph.len()).filter(is_neighbour).collect();
            if !neighbours.iter().all(|u| usable[*u]) {
                return None;
            }
            let positions = found.places.iter().map(|place| self.position(*place)).collect();
            let recognition = Recognition { positions, symmetry_bits: found.symmetry_bits };
            Some(Surroundings { recognition, neighbours: neighbours.into_iter().map(|u| u as u32).collect() })
        })
    }

    fn edge_list(&self) -> Vec<(u32, u32)> {
        match &self.kind {
            Kind::Pairs => (0..self.vertices / 2).map(|i| (2 * i, 2 * i + 1)).collect(),
            Kind::Star => (1..self.vertices).map(|v| (0, v)).collect(),
            Kind::AllToAll => {
                (0..self.vertices).flat_map(|a| (a + 1..self.vertices).map(move |b| (a, b))).collect()
            }
            Kind::Tree => (1..self.vertices).map(|v| ((v - 1) / 2, v)).collect(),
            Kind::Grid(grid) => grid.edge_list(),
        }
    }

    fn position(&self, place: u32) -> Vec<u32> {
        match &self.kind {
            Kind::Grid(grid) => grid.coordinates(place),
            _ => vec![place],
        }
    }
}

impl TopologyName {
    /// The order among names of the same grid: the most telling first.
    fn rank(&self) -> u32 {
        match self {
            Self::Bus | Self::Ring => 0,
            // Closed sides of 2 are no more than an edge.
            Self::Torus(sides) if !sides.contains(&2) => 1,
            Self::Hypercube(_) => 2,
            Self::Mesh(_) => 3,
            _ => 4,
        }
    }
}

fn recognise_pairs(graph: &Graph) -> Option<Recognition> {
    let mut positions = vec![Vec::new(); graph.len()];
    let mut pairs = 0;
    for v in 0..graph.len() {
        let [partner] = *graph.neighbours(v) else { return None };
        let partner = partner as usize;
        if v < partner {
            positions[v] = vec![pairs, 0];
            positions[partner] = vec![pairs, 1];
            pairs += 1;
        }
    }
    let symmetry_bits = log2_factorial(pairs as usize) + f64::from(pairs);
    Some(Recognition { positions, symmetry_bits })
}

fn recognise_star(graph: &Graph) -> Option<Recognition> {
    let last = graph.len() - 1;
    let hub = (0..graph.len()).find(|v| graph.degree(*v) == last)?;
    let position = |v: usize| vec![if v == hub { 0 } else { v as u32 + u32::from(v < hub) }];
    let positions = (0..graph.len()).map(position).collect();
    Some(Recognition { positions, symmetry_bits: log2_factorial(last) })
}

/// Buses, rings, meshes, tori and hypercubes of `n` vertices, the same graph once.
fn grids(n: u32) -> Vec<Template> {
    let mut by_factors: BTreeMap<Vec<Factor>, Vec<(TopologyName, Grid)>> = BTreeMap::new();
    for sides in factorisations(n) {
        for closed in [false, true] {
            let grid = Grid { sides: sides.clone(), closed, diagonal: false };
            let names = by_factors.entry(grid.factors()).or_default();
            if !closed && sides.iter().all(|side| *side == 2) {
                names.push((TopologyName::Hypercube(sides.len() as u32), grid.clone()));
            }
            names.extend(grid.name().map(|name| (name, grid)));
        }
    }
    by_factors
        .into_values()
        .filter_map(|mut names| {
            names.sort_by_key(|(name, _)| name.rank());
            let grid = names.first()?.1.clone();
            let names = names.into_iter().map(|(name, _)| name).collect();
            Some(Template { names, vertices: n, edges: grid.edge_count(), kind: Kind::Grid(grid) })
        })
        .collect()
}

fn stencils(n: u32) -> impl Iterator<Item = Template> {
    let sides = factorisations(n).into_iter().filter(|sides| matches!(sides.len(), 2 | 3));
    sides.flat_map(move |sides| {
        let open = Grid { sides, closed: false, diagonal: true };
        // Shorter sides would make neighbours of one's neighbours on the other side.
        let closed = open.sides.iter().all(|side| *side >= 4).then(|| Grid { closed: true, ..open.clone() });
        [Some(open), closed].into_iter().flatten().filter_map(move |grid| {
            let (names, edges) = (vec![grid.name()?], grid.edge_count());
            Some(Template { names, kind: Kind::Grid(grid), vertices: n, edges })
        })
    })
}

/// All ways to write `n` as a product of factors of at least 2, each in
/// descending order.
fn factorisations(n: u32) -> Vec<Vec<u32>> {
    fn extend(rest: u32, largest: u32, so_far: &mut Vec<u32>, all: &mut Vec<Vec<u32>>) {
        if rest == 1 {
            all.push(so_far.clone());
            return;
        }
        for factor in (2..=largest.min(rest)).rev().filter(|factor| rest.is_multiple_of(*factor)) {
            so_far.push(factor);
            extend(rest / factor, factor, so_far, all);
            so_far.pop();
        }
    }
    let mut all = Vec::new();
    extend(n, n, &mut Vec::new(), &mut all);
    all
}

impl Grid {
    fn name(&self) -> Option<TopologyName> {
        let sides = self.sides.clone();
        Some(match (self.diagonal, self.closed, &sides[..]) {
            (false, false, [_]) => TopologyName::Bus,
            (false, true, [2]) => return None,
            (false, true, [_]) => TopologyName::Ring,
            (false, false, _) => TopologyName::Mesh(sides),
            (false, true, _) => TopologyName::Torus(sides),
            (true, _, [a, b]) => TopologyName::Stencil9([*a, *b]),
            (true, _, [a, b, c]) => TopologyName::Stencil27([*a, *b, *c]),
            (true, ..) => return None,
        })
    }

    fn factors(&self) -> Vec<Factor> {
        let mut factors: Vec<Factor> = self
            .sides
            .iter()
            .flat_map(|side| match (self.closed, *side) {
                (true, 4) => vec![Factor::Path(2); 2],
                (false, side) | (true, side @ 2) => vec![Factor::Path(side)],
                (true, side) => vec![Factor::Cycle(side)],
            })
            .collect();
        factors.sort_unstable();
        factors
    }

    fn edge_count(&self) -> usize {
        let n: usize = self.sides.iter().map(|side| *side as usize).product();
        // Along one side: the ordered pairs of places that are joined, or equal.
        let near = |side: u32| match (self.closed, side) {
            (false, side) | (true, side @ 2) => 3 * side as usize - 2,
            (true, side) => 3 * side as usize,
        };
        if self.diagonal {
            return (self.sides.iter().map(|side| near(*side)).product::<usize>() - n) / 2;
        }
        self.sides.iter().map(|side| n / *side as usize * (near(*side) - *side as usize) / 2).sum()
    }

    fn edge_list(&self) -> Vec<(u32, u32)> {
        let n: u32 = self.sides.iter().product();
        let mut edges = Vec::with_capacity(self.edge_count());
        for v in 0..n {
            let at = self.coordinates(v);
            // Each direction once: the first step that isn't 0 goes forward.
            let steps = if self.diagonal { 3_u32.pow(self.sides.len() as u32) } else { 0 };
            for code in 0..steps {
                let step: Vec<i64> =
                    (0..self.sides.len()).map(|d| i64::from(code / 3_u32.pow(d as u32) % 3) - 1).collect();
                if step.iter().find(|s| **s != 0) == Some(&1) {
                    edges.extend(self.neighbour(&at, &step).map(|u| (v, u)));
                }
            }
            if !self.diagonal {
                for d in 0..self.sides.len() {
                    let step: Vec<i64> = (0..self.sides.len()).map(|e| i64::from(d == e)).collect();
                    let doubled = self.closed && self.sides[d] == 2 && at[d] == 1;
                    edges.extend(self.neighbour(&at, &step).filter(|_| !doubled).map(|u| (v, u)));
                }
            }
        }
        edges
    }

    fn neighbour(&self, at: &[u32], step: &[i64]) -> Option<u32> {
        self.sides.iter().zip(at).zip(step).try_fold(0_u32, |index, ((side, at), step)| {
            let moved = i64::from(*at) + step;
            let wrapped = moved.rem_euclid(i64::from(*side));
            (self.closed || moved == wrapped).then_some(index * side + wrapped as u32)
        })
    }

    /// Row-major: the last coordinate varies fastest.
    fn coordinates(&self, mut place: u32) -> Vec<u32> {
        let mut at: Vec<u32> = self
            .sides
            .iter()
            .rev()
            .map(|side| {
                let c = place % side;
                place /= side;
                c
            })
            .collect();
        at.reverse();
        at
    }
}

/// By Stirling's series; wrong by less than 10^-6.
pub(crate) fn log2_factorial(n: usize) -> f64 {
    if n < 16 {
        return (2..=n).map(|i| (i as f64).log2()).sum();
    }
    let n = n as f64;
    let ln = n * n.ln() - n + (std::f64::consts::TAU * n).ln() / 2.0 + 1.0 / (12.0 * n)
        - 1.0 / (360.0 * n * n * n);
    ln / std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factorials() {
        let exact = |n: usize| (2..=n).map(|i| (i as f64).log2()).sum::<f64>();
        for n in [0, 1, 2, 15, 16, 17, 100, 5000] {
            assert!((log2_factorial(n) - exact(n)).abs() < 1e-6, "{n}");
        }
    }
}
