//! Moves about the routes of one demand.

use rand::RngExt;

use crate::network::{NONE, Network};
use crate::routes::Query;
use crate::solver::search::Searcher;

/// Edges of a host that are looked at for a way back, at most.
const LOOKED_AT: usize = 24;

/// Hops of a detour before it takes a kept route to the end, at most.
const HOPS: usize = 3;

/// A path in the making, and where the hosts stand on the one that it leaves.
#[derive(Debug, Default)]
pub(super) struct Turn {
    path: Vec<u32>,
    epoch: u32,
    mark: Vec<u32>,
    /// For marked hosts, the position of the edge that enters them.
    position: Vec<u32>,
}

impl Turn {
    pub(super) fn new(net: &Network) -> Self {
        Self { path: Vec::new(), epoch: 0, mark: vec![0; net.hosts], position: vec![0; net.hosts] }
    }

    /// Marks the hosts that `edges` enter, counted from `first`.
    fn mark(&mut self, net: &Network, edges: &[u32], first: usize) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.epoch = 1;
            self.mark.fill(0);
        }
        for (position, edge) in (first as u32..).zip(edges) {
            let host = net.to[*edge as usize] as usize;
            (self.mark[host], self.position[host]) = (self.epoch, position);
        }
    }

    /// Where `host` stands, if it is marked.
    fn position(&self, host: u32) -> Option<usize> {
        let at = host as usize;
        (self.mark[at] == self.epoch).then(|| self.position[at] as usize)
    }

    /// Cuts the loops out of the path.
    fn straighten(&mut self, net: &Network) {
        let Some(first) = self.path.first() else { return };
        let start = net.from[*first as usize];
        self.mark(net, &[], 0);
        let mut kept = 0;
        for at in 0..self.path.len() {
            let edge = self.path[at];
            let host = net.to[edge as usize];
            // A mark may be that of a host which was cut out since.
            let before = self
                .position(host)
                .filter(|position| *position < kept && net.to[self.path[*position] as usize] == host);
            if host == start {
                kept = 0;
            } else if let Some(position) = before {
                kept = position + 1;
            } else {
                self.path[kept] = edge;
                let index = host as usize;
                (self.mark[index], self.position[index]) = (self.epoch, kept as u32);
                kept += 1;
            }
        }
        self.path.truncate(kept);
    }
}

impl Searcher<'_> {
    /// The present path with a turn around one of its edges: what no single cheapest path would
    /// be, but several demands together may need.
    pub(super) fn propose_detour(&mut self, least: f64) -> Option<f64> {
        let (demand, around) = self.contended()?;
        let mut turn = std::mem::take(&mut self.turn);
        let delta = self.try_detour(demand, around, &mut turn, least);
        self.turn = turn;
        delta
    }

    /// A demand and the position of an edge on its path: any, or one where many are held back.
    fn contended(&mut self) -> Option<(u32, usize)> {
        let demands = self.fixed.from.len();
        if demands == 0 {
            return None;
        }
        let demand = self.rng.random_range(0..demands) as u32;
        let bottleneck = self.state.bottleneck(demand);
        if bottleneck != NONE && self.rng.random::<f64>() < 0.5 {
            let users = self.state.users(bottleneck);
            let user = users[self.rng.random_range(0..users.len())];
            let over = |edge: &u32| self.fixed.net.resources(*edge).any(|resource| resource == bottleneck);
            let around = self.state.path[user as usize].iter().position(over)?;
            return Some((user, around));
        }
        let hops = self.state.path[demand as usize].len();
        (hops > 0).then(|| (demand, self.rng.random_range(0..hops)))
    }

    fn try_detour(&mut self, demand: u32, around: usize, turn: &mut Turn, least: f64) -> Option<f64> {
        self.detour(demand, around, turn)?;
        turn.straighten(&self.fixed.net);
        if turn.path.is_empty() || turn.path == self.state.path[demand as usize] {
            return None;
        }
        let (a, b) = self.state.ends(demand);
        if self.state.path_outlook(demand, &turn.path) < least {
            // It may do later.
            if self.rng.random::<f64>() < 0.1 {
                self.pool.add(a, b, &turn.path);
            }
            return None;
        }
        self.pool.add(a, b, &turn.path);
        Some(self.state.try_paths(&mut vec![(demand, turn.path.clone())]))
    }

    /// Leaves the path of `demand` by a random edge at or a little before the edge `around`, and comes
    /// back to it beyond, or takes a good route from there.
    fn detour(&mut self, demand: u32, around: usize, turn: &mut Turn) -> Option<()> {
        let (net, now) = (&self.fixed.net, &self.state.path[demand as usize]);
        let leave = self.rng.random_range(around.saturating_sub(2)..=around);
        turn.mark(net, &now[around..], around);
        turn.path.clear();
        turn.path.extend_from_slice(&now[..leave]);
        let mut at = net.from[now[leave] as usize];
        for hop in 0..HOPS {
            let ways = net.edges_from(at);
            let first = self.rng.random_range(0..ways.len());
            if hop > 0 {
                // Back to any host further on, if an edge leads there.
                let mut back = ways[first..].iter().chain(&ways[..first]).take(LOOKED_AT);
                let found = back
                    .find_map(|edge| turn.position(net.to[*edge as usize]).map(|position| (*edge, position)));
                if let Some((edge, position)) = found {
                    turn.path.push(edge);
                    turn.path.extend_from_slice(&now[position + 1..]);
                    return Some(());
                }
                if self.rng.random::<f64>() < 0.3 {
                    break;
                }
            }
            let way = ways[first];
            if way == now[around] || (hop == 0 && way == now[leave]) {
                return None;
            }
            turn.path.push(way);
            at = net.to[way as usize];
            if let Some(position) = turn.position(at) {
                turn.path.extend_from_slice(&now[position + 1..]);
                return Some(());
            }
        }
        let end = net.to[now[now.len() - 1] as usize];
        let latency_bound = self.fixed.latency_bound[demand as usize];
        let bandwidth = self.fixed.bandwidth[demand as usize];
        let query = Query { a: at, b: end, bandwidth, latency_bound, anchor: end };
        self.routes.choose(net, query, &self.state.load, &mut self.leg);
        turn.path.extend_from_slice(&self.leg);
        (!self.leg.is_empty()).then_some(())
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
        let path = paths.get((dice * dice * paths.len() as f64) as usize)?.edges();
        if *path == *self.state.path[demand as usize] || self.state.path_outlook(demand, path) < least {
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
        self.reroute(demand)
    }

    /// Tries the best path for `demand`.
    pub(super) fn reroute(&mut self, demand: u32) -> Option<f64> {
        let (a, b) = self.state.ends(demand);
        if a == b || a == NONE || b == NONE {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Edge, Host, Problem};

    #[test]
    fn loops_are_cut_out() {
        let mut problem = Problem::new();
        let hosts: Vec<_> =
            (0..5).map(|index| problem.add_host(Host::new(format!("h{index}"), 1.0, 1.0)).unwrap()).collect();
        for (a, b) in [(0, 1), (1, 2), (2, 3), (1, 3), (3, 4)] {
            problem.add_link(hosts[a], hosts[b], Edge { bandwidth: 1.0, latency: 0.0 }).unwrap();
        }
        let net = Network::new(&problem);
        let mut turn = Turn::new(&net);
        let straight = |turn: &mut Turn, hosts: &[u32]| -> Vec<u32> {
            turn.path = hosts.windows(2).map(|pair| net.edge(pair[0], pair[1])).collect();
            turn.straighten(&net);
            let ends = turn.path.iter().map(|edge| net.to[*edge as usize]);
            std::iter::once(hosts[0]).chain(ends).collect()
        };
        assert_eq!(straight(&mut turn, &[0, 1, 2, 3, 4]), [0, 1, 2, 3, 4]);
        assert_eq!(straight(&mut turn, &[0, 1, 2, 3, 1, 3, 4]), [0, 1, 3, 4]);
        assert_eq!(straight(&mut turn, &[0, 1, 0, 1, 2, 1, 3]), [0, 1, 3]);
        assert_eq!(straight(&mut turn, &[0, 1, 2, 1, 3, 2, 3, 4]), [0, 1, 3, 4]);
        assert_eq!(straight(&mut turn, &[1, 2, 3, 1]), [1]);
    }
}
