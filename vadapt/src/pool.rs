//! Paths worth trying again: per pair of hosts, the good ones that were met.
//!
//! A column pool, as in column generation: searches under changing loads find paths, and a
//! walk combines them at the price of a look-up. In tiny networks the pool starts with the
//! best simple paths.

use std::collections::HashMap;

use crate::network::{NONE, Network};

/// Paths that are kept per pair of hosts.
const MOST: usize = 40;

/// Up to so many hosts simple paths are enumerated, those with few hops first, until there are enough.
const TINY: usize = 8;
const ENOUGH: usize = 300;

/// Edges in all pools together at most; then nothing is added.
const TOTAL: usize = 4 << 20;

/// A path with a digest, so that others are told apart at a glance.
#[derive(Debug)]
pub(crate) struct Known {
    digest: u64,
    edges: Box<[u32]>,
}

impl Known {
    fn new(edges: &[u32]) -> Self {
        Self { digest: digest(edges), edges: edges.into() }
    }

    pub(crate) fn edges(&self) -> &[u32] {
        &self.edges
    }
}

/// By the multiplication of FNV.
fn digest(edges: &[u32]) -> u64 {
    edges.iter().fold(0xcbf2_9ce4_8422_2325, |digest, edge| {
        (digest ^ u64::from(*edge)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    })
}

/// Paths by their two ends.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    paths: HashMap<(u32, u32), Vec<Known>>,
    edges: usize,
    /// What a hop costs when paths are ranked, in Mbit/s.
    toll: f64,
}

impl Pool {
    /// An empty pool for demands of about `bandwidth`.
    pub(crate) fn new(bandwidth: f64) -> Self {
        Self { paths: HashMap::new(), edges: 0, toll: bandwidth }
    }

    /// Whether the pool starts with all paths that may be good.
    pub(crate) fn is_complete(&self, net: &Network) -> bool {
        net.hosts <= TINY
    }

    /// The paths between two different hosts, the most promising first.
    pub(crate) fn paths(&mut self, net: &Network, a: u32, b: u32) -> &[Known] {
        if net.hosts <= TINY && !self.paths.contains_key(&(a, b)) {
            let found = enumerate(net, a, b, self.toll);
            self.edges += found.iter().map(|path| path.edges.len()).sum::<usize>();
            self.paths.insert((a, b), found);
        }
        self.paths.get(&(a, b)).map_or(&[], Vec::as_slice)
    }

    /// Adds a path between two hosts unless it is there; the oldest learnt one leaves a full pool.
    pub(crate) fn add(&mut self, a: u32, b: u32, path: &[u32]) {
        if self.edges > TOTAL {
            return;
        }
        let paths = self.paths.entry((a, b)).or_default();
        let known = Known::new(path);
        if paths.iter().any(|other| other.digest == known.digest && *other.edges == *path) {
            return;
        }
        if paths.len() >= MOST {
            let last = paths.pop().map_or(0, |path| path.edges.len());
            self.edges -= last;
        }
        self.edges += path.len();
        paths.insert(paths.len() / 2, known);
    }
}

/// Good simple paths from `a` to `b` by width less `toll` per hop.
fn enumerate(net: &Network, a: u32, b: u32, toll: f64) -> Vec<Known> {
    let nothing = vec![0.0; net.capacity.len()];
    let mut walk =
        Walk { net, nothing, end: b, passed: vec![false; net.hosts], edges: vec![], found: vec![] };
    // Deeper only while that isn't too much.
    for depth in 2..net.hosts.max(3) {
        let before = walk.found.len();
        walk.found.clear();
        walk.visit(a, f64::INFINITY, depth);
        if walk.found.len() >= ENOUGH || (depth > 4 && walk.found.len() == before && before > 0) {
            break;
        }
    }
    let mut found = walk.found;
    let rank = |(width, path): &(f64, Vec<u32>)| width - toll * path.len() as f64;
    found.sort_by(|x, y| rank(y).total_cmp(&rank(x)).then(x.1.len().cmp(&y.1.len())));
    found.truncate(MOST);
    found.iter().map(|(_, path)| Known::new(path)).collect()
}

struct Walk<'n> {
    net: &'n Network,
    nothing: Vec<f64>,
    end: u32,
    passed: Vec<bool>,
    edges: Vec<u32>,
    found: Vec<(f64, Vec<u32>)>,
}

impl Walk<'_> {
    fn visit(&mut self, at: u32, width: f64, hops: usize) {
        if at == self.end {
            self.found.push((width, self.edges.clone()));
            return;
        }
        if hops == 0 || self.found.len() >= ENOUGH {
            return;
        }
        self.passed[at as usize] = true;
        let net = self.net;
        let direct = net.edge(at, self.end);
        let ways = if hops == 1 { std::slice::from_ref(&direct) } else { net.edges_from(at) };
        for edge in ways.iter().copied().filter(|edge| *edge != NONE) {
            let next = net.to[edge as usize];
            if !self.passed[next as usize] {
                self.edges.push(edge);
                self.visit(next, width.min(net.residual(edge, &self.nothing)), hops - 1);
                self.edges.pop();
            }
        }
        self.passed[at as usize] = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generate, NetworkShape};

    #[test]
    fn tiny_networks_start_with_all_simple_paths_and_learn_no_path_twice() {
        let what = Generate { hosts: 4, vms: 2, network: NetworkShape::Complete, ..Generate::default() };
        let net = Network::new(&what.problem().unwrap());
        let mut pool = Pool::new(1.0);
        // One direct path, two over one host, two over both others.
        assert_eq!(pool.paths(&net, 0, 3).len(), 5);
        let first = pool.paths(&net, 0, 3)[0].edges().to_vec();
        pool.add(0, 3, &first);
        assert_eq!(pool.paths(&net, 0, 3).len(), 5);
    }

    #[test]
    fn large_networks_start_empty_and_stay_bounded() {
        let net = Network::new(&Generate { hosts: 64, ..Generate::default() }.problem().unwrap());
        let mut pool = Pool::new(1.0);
        assert!(pool.paths(&net, 0, 9).is_empty());
        (0..100).for_each(|edge| pool.add(0, 9, &[edge]));
        assert_eq!(pool.paths(&net, 0, 9).len(), MOST);
    }
}
