//! Priced searches: the best path for one demand under the present load.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::network::{NONE, Network};
use crate::routes::Key;
use crate::state::State;

/// Finds the best path for one demand under the present load.
///
/// Widest path alone is selfish: it takes from others what it doesn't pay for. Here every
/// edge has a price, what the demand would take there from its present users, and the
/// path with the best balance of its own residual against the sum of its prices wins. For
/// each level of the residual that balance is a shortest path; levels are tried from the
/// cheapest path upwards, which in practice takes two to five searches.
#[derive(Debug)]
pub(crate) struct Finder {
    epoch: u32,
    mark: Vec<u32>,
    cost: Vec<f64>,
    via: Vec<u32>,
    price: Vec<f64>,
    priced: Vec<u32>,
    price_epoch: u32,
    /// Estimated cost, hops that are left, host.
    heap: BinaryHeap<Reverse<(Key, u16, u32)>>,
    /// Hops from every host to some hosts: what a path costs at least.
    hops_to: HashMap<u32, Box<[u16]>>,
}

impl Finder {
    /// Levels of residual bandwidth tried per demand, at most.
    const LEVELS: usize = 6;
    /// Distances by hops are forgotten when they take more than this many bytes.
    const HOPS_BYTES: usize = 32 << 20;

    pub(crate) fn new(net: &Network) -> Self {
        Self {
            epoch: 0,
            mark: vec![0; net.hosts],
            cost: vec![0.0; net.hosts],
            via: vec![NONE; net.hosts],
            price: vec![0.0; net.from.len()],
            priced: vec![0; net.from.len()],
            price_epoch: 0,
            heap: BinaryHeap::new(),
            hops_to: HashMap::new(),
        }
    }

    /// The best path of `demand`, whose VMs are on different hosts, while the rest stays; `None` if
    /// there is none with enough bandwidth and within the latency bound.
    pub(crate) fn best_path(&mut self, state: &mut State<'_>, demand: u32) -> Option<Vec<u32>> {
        state.lift(demand);
        self.price_epoch += 1;
        let found = self.search(state, demand);
        state.give_back();
        found
    }

    fn search(&mut self, state: &State<'_>, demand: u32) -> Option<Vec<u32>> {
        let (fixed, net) = (state.fixed, &state.fixed.net);
        let bandwidth = fixed.bandwidth[demand as usize];
        let bound = fixed.latency_bound[demand as usize];
        let mut level = 0.0;
        let mut best: Option<(f64, Vec<u32>)> = None;
        // No path is wider than the widest edge at each of its ends.
        let (start, end) = state.ends(demand);
        let widest = |edges: &[u32]| edges.iter().map(|e| net.residual(*e, &state.load)).fold(0.0, f64::max);
        let most = widest(net.edges_from(start)).min(widest(net.edges_to(end))) - bandwidth;
        // Only what is better than the present path is of interest, which prunes most of the graph.
        if let Some(worth) = self.worth_of(state, demand) {
            best = Some((worth, state.path[demand as usize].clone()));
        }
        for _ in 0..Self::LEVELS {
            let dearest = best.as_ref().map_or(f64::INFINITY, |(worth, _)| most - worth);
            let Some((price, path)) = self.cheapest(state, demand, level, bound, dearest) else { break };
            let width = path.iter().map(|e| net.residual(*e, &state.load)).fold(f64::INFINITY, f64::min);
            let worth = width - bandwidth - price;
            if best.as_ref().is_none_or(|(most, _)| worth > *most) {
                best = Some((worth, path));
            }
            // More width costs no less than this.
            if best.as_ref().is_some_and(|(worth, _)| most - price <= *worth) {
                break;
            }
            if price <= 0.0 && level > 0.0 {
                // Nothing is cheaper than free: only the width can still grow, which the
                // next level asks for.
                level = width - bandwidth;
            }
            level = (width - bandwidth).max(level) * (1.0 + 1e-9) + 1e-9;
        }
        best.map(|(_, path)| path)
    }

    /// The balance of the path that the demand has, if that would do.
    fn worth_of(&mut self, state: &State<'_>, demand: u32) -> Option<f64> {
        let (fixed, net) = (state.fixed, &state.fixed.net);
        let path = &state.path[demand as usize];
        let bandwidth = fixed.bandwidth[demand as usize];
        let (start, end) = state.ends(demand);
        let leads = |edges: &[u32]| match (edges.first(), edges.last()) {
            (Some(first), Some(last)) => net.from[*first as usize] == start && net.to[*last as usize] == end,
            _ => false,
        };
        if !leads(path) {
            return None;
        }
        let (mut width, mut latency, mut price) = (f64::INFINITY, 0.0, 0.0);
        for edge in path {
            width = width.min(net.residual(*edge, &state.load));
            latency += net.latency[*edge as usize];
            price += self.price_of(state, *edge, bandwidth);
        }
        let fits = width >= bandwidth && latency <= fixed.latency_bound[demand as usize];
        fits.then_some(width - bandwidth - price)
    }

    /// The cheapest path that leaves more than `level` and keeps the latency bound; none that costs
    /// `dearest` or more is of interest.
    fn cheapest(
        &mut self,
        state: &State<'_>,
        demand: u32,
        level: f64,
        latency_bound: f64,
        dearest: f64,
    ) -> Option<(f64, Vec<u32>)> {
        let found = self.dijkstra(state, demand, level, 0.0, dearest)?;
        if found.2 <= latency_bound {
            return Some((found.0, found.1));
        }
        // Too slow: raise the weight of latency (a Lagrangean multiplier) until it fits.
        let fastest = self.dijkstra(state, demand, level, 1e9, f64::INFINITY)?;
        if fastest.2 > latency_bound {
            return None;
        }
        let mut best = fastest;
        let (mut low, mut high) = (0.0, (best.0 - found.0 + 1.0) / (found.2 - best.2).max(1e-6));
        for _ in 0..5 {
            let middle = 0.5 * (low + high);
            let Some(found) = self.dijkstra(state, demand, level, middle, f64::INFINITY) else { break };
            if found.2 <= latency_bound {
                if found.0 < best.0 {
                    best = found;
                }
                high = middle;
            } else {
                low = middle;
            }
        }
        Some((best.0, best.1))
    }

    /// Price, edges and latency of the path with the least price plus `weight` times latency, if that
    /// sum is no more than `dearest`.
    fn dijkstra(
        &mut self,
        state: &State<'_>,
        demand: u32,
        level: f64,
        weight: f64,
        dearest: f64,
    ) -> Option<(f64, Vec<u32>, f64)> {
        let net = &state.fixed.net;
        let bandwidth = state.fixed.bandwidth[demand as usize];
        // A toll per hop breaks ties in favour of short paths.
        let toll = 0.01 * bandwidth + 1e-9;
        let (start, end) = state.ends(demand);
        self.epoch += 1;
        self.heap.clear();
        // Every hop costs the toll at least: the search goes towards the end (A*).
        let hops = match self.hops_to.remove(&end) {
            Some(hops) => hops,
            None => hops_to(net, end),
        };
        self.reach(start, 0.0, NONE, toll, &hops);
        while let Some(Reverse((Key(estimate), left, at))) = self.heap.pop() {
            if at == end {
                break;
            }
            let so_far = self.cost[at as usize];
            if estimate > so_far + toll * f64::from(left) {
                continue;
            }
            for edge in net.edges_from(at) {
                if net.residual(*edge, &state.load) - bandwidth < level {
                    continue;
                }
                let price = self.price_of(state, *edge, bandwidth);
                let cost = so_far + price + toll + weight * net.latency[*edge as usize];
                if cost > dearest {
                    continue;
                }
                self.reach(net.to[*edge as usize], cost, *edge, toll, &hops);
            }
        }
        if (self.hops_to.len() + 1) * 2 * net.hosts > Self::HOPS_BYTES {
            self.hops_to.clear();
        }
        self.hops_to.insert(end, hops);
        if self.mark[end as usize] != self.epoch {
            return None;
        }
        let (mut path, mut at) = (Vec::new(), end);
        let (mut price, mut latency) = (0.0, 0.0);
        while at != start {
            let edge = self.via[at as usize];
            price += self.price_of(state, edge, bandwidth);
            latency += net.latency[edge as usize];
            path.push(edge);
            at = net.from[edge as usize];
        }
        path.reverse();
        Some((price, path, latency))
    }

    fn reach(&mut self, host: u32, cost: f64, via: u32, toll: f64, hops: &[u16]) {
        let at = host as usize;
        if hops[at] == u16::MAX {
            return;
        }
        if self.mark[at] != self.epoch || cost < self.cost[at] {
            self.mark[at] = self.epoch;
            self.cost[at] = cost;
            self.via[at] = via;
            self.heap.push(Reverse((Key(cost + toll * f64::from(hops[at])), hops[at], host)));
        }
    }

    fn price_of(&mut self, state: &State<'_>, edge: u32, bandwidth: f64) -> f64 {
        let at = edge as usize;
        if self.priced[at] != self.price_epoch {
            self.priced[at] = self.price_epoch;
            self.price[at] = state.price(edge, bandwidth);
        }
        self.price[at]
    }
}

/// Hops from every host to `end`; `u16::MAX` where there is no path.
pub(crate) fn hops_to(net: &Network, end: u32) -> Box<[u16]> {
    let mut hops = vec![u16::MAX; net.hosts].into_boxed_slice();
    hops[end as usize] = 0;
    let mut waiting = VecDeque::from([end]);
    while let Some(at) = waiting.pop_front() {
        for edge in net.edges_to(at) {
            let next = net.from[*edge as usize];
            if hops[next as usize] == u16::MAX {
                hops[next as usize] = hops[at as usize].saturating_add(1).min(u16::MAX - 1);
                waiting.push_back(next);
            }
        }
    }
    hops
}
