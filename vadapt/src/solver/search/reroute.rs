//! Moves about the routes of one demand.

use rand::RngExt;

use crate::network::{NONE, Network};
use crate::routes::Query;
use crate::solver::search::Searcher;

impl Searcher<'_> {
    /// The present path with a random turn: what no single cheapest path would be, but several demands
    /// together may need.
    pub(super) fn propose_detour(&mut self, least: f64) -> Option<f64> {
        let demands = self.fixed.from.len();
        if demands == 0 {
            return None;
        }
        let demand = self.rng.random_range(0..demands) as u32;
        let path = self.detour(demand)?;
        if path == self.state.path[demand as usize] {
            return None;
        }
        let (a, b) = self.state.ends(demand);
        if self.state.path_outlook(demand, &path) < least {
            // It may do later.
            if self.rng.random::<f64>() < 0.1 {
                self.pool.add(a, b, &path);
            }
            return None;
        }
        self.pool.add(a, b, &path);
        Some(self.state.try_paths(&mut vec![(demand, path)]))
    }

    /// Leaves the path of `demand` at a random host by a random edge, and comes back to it beyond or
    /// takes a good route from there.
    fn detour(&mut self, demand: u32) -> Option<Vec<u32>> {
        let (net, now) = (&self.fixed.net, &self.state.path[demand as usize]);
        if now.is_empty() {
            return None;
        }
        let at = self.rng.random_range(0..now.len());
        let ways = net.edges_from(net.from[now[at] as usize]);
        let way = ways[self.rng.random_range(0..ways.len())];
        let (via, end) = (net.to[way as usize], net.to[now[now.len() - 1] as usize]);
        let mut path = now[..at].to_vec();
        path.push(way);
        // Back at once to any host further on, if an edge leads there.
        let first = self.rng.random_range(at..now.len());
        let back = (first..now.len()).map(|later| (later, net.edge(via, net.to[now[later] as usize])));
        let mut back = back.filter(|(_, edge)| *edge != NONE);
        match back.next() {
            _ if via == end => {}
            Some((later, edge)) if self.rng.random::<f64>() < 0.7 => {
                path.push(edge);
                path.extend_from_slice(&now[later + 1..]);
            }
            _ => {
                let latency_bound = self.fixed.latency_bound[demand as usize];
                let bandwidth = self.fixed.bandwidth[demand as usize];
                let query = Query { a: via, b: end, bandwidth, latency_bound, anchor: end };
                let mut leg = Vec::new();
                self.routes.choose(net, query, &self.state.load, &mut leg);
                if leg.is_empty() {
                    return None;
                }
                path.append(&mut leg);
            }
        }
        without_loops(net, path)
    }

    /// A path from the pool, rather one of the first.
    pub(super) fn propose_known(&mut self, least: f64) -> Option<f64> {
        let demands = self.fixed.from.len();
        if demands == 0 {
            return None;
        }
        let demand = self.rng.random_range(0..demands) as u32;
        let (a, b) = self.state.ends(demand);
        if a == b || a == NONE || b == NONE {
            return None;
        }
        let paths = self.pool.paths(&self.fixed.net, a, b);
        let dice: f64 = self.rng.random();
        let path = paths.get((dice * dice * paths.len() as f64) as usize)?;
        if **path == *self.state.path[demand as usize] || self.state.path_outlook(demand, path) < least {
            return None;
        }
        Some(self.state.try_paths(&mut vec![(demand, path.to_vec())]))
    }

    pub(super) fn propose_reroute(&mut self) -> Option<f64> {
        let demands = self.fixed.from.len();
        if demands == 0 {
            return None;
        }
        // The worse served of two.
        let (x, y) = (self.rng.random_range(0..demands) as u32, self.rng.random_range(0..demands) as u32);
        let demand = if self.state.residual(x) <= self.state.residual(y) { x } else { y };
        let (a, b) = self.state.ends(demand);
        if a == b {
            return None;
        }
        let path = self.finder.best_path(&mut self.state, demand)?;
        self.pool.add(a, b, &path);
        if path == self.state.path[demand as usize] {
            return None;
        }
        Some(self.state.try_paths(&mut vec![(demand, path)]))
    }
}

/// The path without its loops; `None` if nothing is left.
fn without_loops(net: &Network, path: Vec<u32>) -> Option<Vec<u32>> {
    let mut simple: Vec<u32> = Vec::with_capacity(path.len());
    for edge in path {
        let to = net.to[edge as usize];
        match simple.iter().position(|before| net.from[*before as usize] == to) {
            Some(at) => simple.truncate(at),
            None => simple.push(edge),
        }
    }
    (!simple.is_empty()).then_some(simple)
}
