//! Routes between hosts: trees that are computed once and kept.
//!
//! They answer "a good path from a to b" in the time that it takes to walk it, for moves
//! that are tried by the thousand.

mod matrix;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::network::{NONE, Network};

use matrix::Matrix;

/// Trees are forgotten when they take more than this many bytes.
const TREE_BYTES: usize = 192 << 20;

/// What a tree of routes is best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The largest bottleneck capacity; among equals the fewest hops.
    Widest,
    /// The least sum of a cost that falls with the capacity: short and still wide.
    Balanced,
    /// The least latency.
    Fastest,
}

/// Above this share of all possible edges, trees are grown by scanning a matrix.
const DENSE_SHARE: f64 = 0.15;

/// What each hop costs in a balanced tree, and what a narrow one costs more at most, in hops over a
/// typical edge.
const HOP: f64 = 0.2;
const NARROW: f64 = 40.0;

/// Networks with more hosts than this have one kind of tree only.
const LARGE: usize = 1000;

/// Routes from or into a root.
#[derive(Debug, Clone)]
struct Tree {
    /// For each host, the edge by which the route goes on there.
    edge: Box<[u32]>,
    /// For each host, the least capacity on its route.
    width: Box<[f32]>,
}

/// A question for a route from `a` to `b`, which differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) bandwidth: f64,
    pub(crate) latency_bound: f64,
    /// Which end will be asked for again: there a tree is worth growing.
    pub(crate) anchor: u32,
}

/// Routes between all pairs of hosts, by capacity, found when first asked for.
#[derive(Debug)]
pub(crate) struct Routes {
    kinds: Vec<Kind>,
    /// `from[kind][root][host]`: the last edge of the route from `root` to `host`.
    from: Vec<Vec<Option<Tree>>>,
    /// `into[kind][root][host]`: the first edge of the route from `host` to `root`.
    into: Vec<Vec<Option<Tree>>>,
    bytes: usize,
    /// Capacity of a hop over each edge, access links included.
    width: Vec<f64>,
    typical_width: f64,
    matrix: Option<Matrix>,
    candidate: Vec<u32>,
}

impl Routes {
    pub(crate) fn new(net: &Network, has_latency_bounds: bool) -> Self {
        let (hosts, edges) = (net.hosts as f64, net.from.len() as f64);
        let dense = net.hosts < LARGE && edges > DENSE_SHARE * hosts * hosts;
        let mut kinds = match net.hosts {
            0..LARGE => vec![Kind::Widest, Kind::Balanced],
            _ => vec![Kind::Balanced],
        };
        if has_latency_bounds {
            kinds.push(Kind::Fastest);
        }
        let nothing = vec![0.0; net.capacity.len()];
        let width: Vec<f64> = (0..net.from.len() as u32).map(|edge| net.residual(edge, &nothing)).collect();
        let mut sorted = width.clone();
        sorted.sort_by(f64::total_cmp);
        let typical_width = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0).max(1e-9);
        let empty = vec![vec![None; net.hosts]; kinds.len()];
        let matrix = dense.then(|| Matrix::new(net, &width));
        let (from, into) = (empty.clone(), empty);
        Self { from, into, kinds, bytes: 0, width, typical_width, matrix, candidate: Vec::new() }
    }

    /// Writes to `path` the edges of a good route when the resources carry `load`. Leaves
    /// `path` empty if there is no route.
    pub(crate) fn choose(&mut self, net: &Network, query: Query, load: &[f64], path: &mut Vec<u32>) {
        let Query { a, b, anchor, .. } = query;
        path.clear();
        let mut best = f64::NEG_INFINITY;
        let mut candidate = std::mem::take(&mut self.candidate);
        let direct = net.edge(a, b);
        if direct != NONE {
            path.push(direct);
            best = rate(net, path, query, load);
        }
        for kind in 0..self.kinds.len() {
            if !self.walk(net, kind, a, b, anchor, &mut candidate) {
                continue;
            }
            let rating = rate(net, &candidate, query, load);
            if rating > best {
                best = rating;
                std::mem::swap(path, &mut candidate);
            }
        }
        self.candidate = candidate;
    }

    /// The largest capacity of a route between two different hosts; negative if there is none.
    pub(crate) fn widest(&mut self, net: &Network, a: u32, b: u32, anchor: u32) -> f64 {
        let direct = net.edge(a, b);
        let mut widest = if direct == NONE { -1.0 } else { self.width[direct as usize] };
        for kind in 0..self.kinds.len() {
            self.grow_if_missing(net, kind, a, b, anchor);
            let width = match (&self.into[kind][b as usize], &self.from[kind][a as usize]) {
                (Some(tree), _) => tree.width[a as usize],
                (None, Some(tree)) => tree.width[b as usize],
                (None, None) => -1.0,
            };
            widest = widest.max(f64::from(width));
        }
        widest
    }

    /// The least latency of a route between two different hosts; 0 where no demand minds, infinite if there
    /// is no route.
    pub(crate) fn fastest(&mut self, net: &Network, a: u32, b: u32, anchor: u32) -> f64 {
        let Some(kind) = self.kinds.iter().position(|kind| *kind == Kind::Fastest) else { return 0.0 };
        let mut path = std::mem::take(&mut self.candidate);
        let found = self.walk(net, kind, a, b, anchor, &mut path);
        let latency = path.iter().map(|edge| net.latency[*edge as usize]).sum();
        self.candidate = path;
        if found { latency } else { f64::INFINITY }
    }

    fn grow_if_missing(&mut self, net: &Network, kind: usize, a: u32, b: u32, anchor: u32) {
        if self.from[kind][a as usize].is_none() && self.into[kind][b as usize].is_none() {
            self.grow(net, kind, anchor, anchor == b);
        }
    }

    /// Writes the route of `kind` from `a` to `b`; false if there is none.
    fn walk(&mut self, net: &Network, kind: usize, a: u32, b: u32, anchor: u32, path: &mut Vec<u32>) -> bool {
        path.clear();
        self.grow_if_missing(net, kind, a, b, anchor);
        if let Some(tree) = &self.into[kind][b as usize] {
            let mut at = a;
            while at != b {
                let edge = tree.edge[at as usize];
                if edge == NONE {
                    return false;
                }
                path.push(edge);
                at = net.to[edge as usize];
            }
        } else if let Some(tree) = &self.from[kind][a as usize] {
            let mut at = b;
            while at != a {
                let edge = tree.edge[at as usize];
                if edge == NONE {
                    return false;
                }
                path.push(edge);
                at = net.from[edge as usize];
            }
            path.reverse();
        }
        true
    }

    /// Computes the tree of `kind` into or from `root`; where the network is symmetric, both.
    fn grow(&mut self, net: &Network, kind: usize, root: u32, into: bool) {
        let bytes = 2 * 8 * net.hosts;
        if self.bytes + bytes > TREE_BYTES {
            self.from.iter_mut().chain(&mut self.into).for_each(|trees| trees.fill(None));
            self.bytes = 0;
        }
        self.bytes += bytes;
        let tree = self.tree(net, self.kinds[kind], root, into);
        let (these, others) =
            if into { (&mut self.into, &mut self.from) } else { (&mut self.from, &mut self.into) };
        if let Some(reverse) = &net.reverse {
            let back = |edge: &u32| if *edge == NONE { NONE } else { reverse[*edge as usize] };
            let edge = tree.edge.iter().map(back).collect();
            others[kind][root as usize] = Some(Tree { edge, width: tree.width.clone() });
        }
        these[kind][root as usize] = Some(tree);
    }

    fn tree(&self, net: &Network, kind: Kind, root: u32, into: bool) -> Tree {
        match (&self.matrix, kind) {
            (Some(matrix), Kind::Widest) => return matrix.widest_tree(net, root, into),
            (Some(matrix), Kind::Balanced) => {
                return matrix.balanced_tree(net, root, into, self.typical_width as f32);
            }
            _ => {}
        }
        if kind == Kind::Balanced {
            return self.balanced_tree(net, root, into);
        }
        let cost = |so_far: f64, edge: u32| match kind {
            // Negated width, so that less is better.
            Kind::Widest => so_far.max(-self.width[edge as usize]),
            Kind::Balanced => so_far + self.hop_cost(edge),
            Kind::Fastest => so_far + net.latency[edge as usize],
        };
        let mut tree = Tree {
            edge: vec![NONE; net.hosts].into_boxed_slice(),
            width: vec![-1.0; net.hosts].into_boxed_slice(),
        };
        tree.width[root as usize] = f32::INFINITY;
        let start = if kind == Kind::Widest { f64::NEG_INFINITY } else { 0.0 };
        let mut best = vec![(f64::INFINITY, u32::MAX); net.hosts];
        let mut heap = BinaryHeap::new();
        best[root as usize] = (start, 0);
        heap.push(Reverse((Key(start), 0u32, root)));
        while let Some(Reverse((Key(so_far), hops, at))) = heap.pop() {
            if (so_far, hops) != best[at as usize] {
                continue;
            }
            let width = tree.width[at as usize];
            let edges = if into { net.edges_to(at) } else { net.edges_from(at) };
            for edge in edges {
                let next = if into { net.from[*edge as usize] } else { net.to[*edge as usize] };
                let reached = (cost(so_far, *edge), hops + 1);
                if reached < best[next as usize] {
                    best[next as usize] = reached;
                    tree.edge[next as usize] = *edge;
                    tree.width[next as usize] = width.min(self.width[*edge as usize] as f32);
                    heap.push(Reverse((Key(reached.0), reached.1, next)));
                }
            }
        }
        tree
    }
}

impl Routes {
    /// What a hop over `edge` costs in a balanced tree.
    fn hop_cost(&self, edge: u32) -> f64 {
        HOP + (self.typical_width / self.width[edge as usize].max(1e-9)).min(NARROW)
    }

    /// Dijkstra with buckets (Dial 1969). No hop is cheaper than a bucket is wide, so that hosts
    /// in one bucket can't improve each other, and their order doesn't matter.
    fn balanced_tree(&self, net: &Network, root: u32, into: bool) -> Tree {
        let slots = (NARROW / HOP) as usize + 3;
        let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); slots];
        let mut cost = vec![f64::INFINITY; net.hosts];
        let mut tree = Tree {
            edge: vec![NONE; net.hosts].into_boxed_slice(),
            width: vec![-1.0; net.hosts].into_boxed_slice(),
        };
        tree.width[root as usize] = f32::INFINITY;
        cost[root as usize] = 0.0;
        buckets[0].push(root);
        let (mut waiting, mut bucket) = (1, 0usize);
        while waiting > 0 {
            let mut here = std::mem::take(&mut buckets[bucket % slots]);
            waiting -= here.len();
            for at in here.drain(..) {
                let so_far = cost[at as usize];
                if (so_far / HOP) as usize != bucket {
                    // Reached more cheaply, and settled, before.
                    continue;
                }
                let width = tree.width[at as usize];
                let edges = if into { net.edges_to(at) } else { net.edges_from(at) };
                for edge in edges {
                    let next = if into { net.from[*edge as usize] } else { net.to[*edge as usize] } as usize;
                    let reached = so_far + self.hop_cost(*edge);
                    if reached < cost[next] {
                        cost[next] = reached;
                        tree.edge[next] = *edge;
                        tree.width[next] = width.min(self.width[*edge as usize] as f32);
                        buckets[(reached / HOP) as usize % slots].push(next as u32);
                        waiting += 1;
                    }
                }
            }
            buckets[bucket % slots] = here;
            bucket += 1;
        }
        tree
    }
}

/// Capacity of the widest path between all pairs of hosts, by rows of the start; infinite on
/// the diagonal, negative where there is no path.
pub(crate) fn all_widest(net: &Network) -> Vec<f32> {
    let routes = Routes::new(net, false);
    let root = |root| routes.tree(net, Kind::Widest, root, false).width.into_vec();
    (0..net.hosts as u32).flat_map(root).collect()
}

/// Latency of the fastest path between all pairs of hosts, by rows of the start; infinite where
/// there is no path.
pub(crate) fn all_fastest(net: &Network) -> Vec<f32> {
    let routes = Routes::new(net, true);
    let latencies = |root: u32| {
        let tree = routes.tree(net, Kind::Fastest, root, false);
        let latency = |host: u32| {
            let (mut at, mut sum) = (host, 0.0);
            while at != root {
                let edge = tree.edge[at as usize];
                if edge == NONE {
                    return f32::INFINITY;
                }
                sum += net.latency[edge as usize];
                at = net.from[edge as usize];
            }
            sum as f32
        };
        (0..net.hosts as u32).map(latency).collect::<Vec<_>>()
    };
    (0..net.hosts as u32).flat_map(latencies).collect()
}

/// How good a path is for a demand: what it leaves there, less a hop's toll on others.
fn rate(net: &Network, path: &[u32], query: Query, load: &[f64]) -> f64 {
    let mut left = f64::INFINITY;
    let mut latency = 0.0;
    for edge in path {
        left = left.min(net.residual(*edge, load));
        latency += net.latency[*edge as usize];
    }
    let rating = left - query.bandwidth * (1 + path.len()) as f64;
    // A path that is too slow loses against any that isn't; among slow ones the fastest wins.
    if latency > query.latency_bound {
        -1e12 * (1.0 + latency / query.latency_bound.max(1e-9))
    } else {
        rating
    }
}

/// A number with a total order, for heaps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Key(pub(crate) f64);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
