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
/// each level of the residual that balance is a shortest path. The level of the widest path comes
/// first; what is better than that, and than the present path, is wider than either is worth,
/// which leaves a small part of the graph. In practice that takes two to three searches.
#[derive(Debug)]
pub(crate) struct Finder {
    /// What a hop costs, in parts of the bandwidth of the demand: with more, searches are faster and
    /// leave more to others.
    toll: f64,
    /// Levels of residual bandwidth tried per demand, at most.
    levels: usize,
    epoch: u32,
    mark: Vec<u32>,
    cost: Vec<f64>,
    via: Vec<u32>,
    price: Vec<f64>,
    priced: Vec<u32>,
    price_epoch: u32,
    /// Estimated cost, hops that are left, host.
    heap: BinaryHeap<Reverse<(Key, u16, u32)>>,
    /// What is known of the ways to some hosts.
    targets: HashMap<u32, Target>,
}

impl Finder {
    /// The toll that merely breaks ties in favour of short paths, and the levels that go with it.
    const TIE: f64 = 0.01;
    const LEVELS: usize = 6;
    /// Targets are forgotten when they take more than this many bytes.
    const TARGET_BYTES: usize = 48 << 20;

    pub(crate) fn new(net: &Network) -> Self {
        Self {
            toll: Self::TIE,
            levels: Self::LEVELS,
            epoch: 0,
            mark: vec![0; net.hosts],
            cost: vec![0.0; net.hosts],
            via: vec![NONE; net.hosts],
            price: vec![0.0; net.from.len()],
            priced: vec![0; net.from.len()],
            price_epoch: 0,
            heap: BinaryHeap::new(),
            targets: HashMap::new(),
        }
    }

    /// Asks for this toll and number of levels from now on; with `None` for what is most thorough.
    pub(crate) fn hurry(&mut self, how: Option<(f64, usize)>) {
        (self.toll, self.levels) = how.unwrap_or((Self::TIE, Self::LEVELS));
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
        let end = state.ends(demand).1;
        let target = self.targets.remove(&end).unwrap_or_else(|| Target::new(net, end));
        // Only what is better than the present path is of interest, which prunes most of the graph.
        let mut best = self.worth_of(state, demand).map(|worth| (worth, state.path[demand as usize].clone()));
        let least = best.as_ref().map_or(0.0, |(worth, _)| worth.max(0.0));
        if let Some(most) = self.widest(state, demand, least, &target) {
            // Paths that are hardly narrower than the widest are as good.
            let mut level = (most - bandwidth).max(least.min(most));
            let mut is_widest = true;
            for _ in 0..self.levels {
                let dearest = best.as_ref().map_or(f64::INFINITY, |(worth, _)| most - worth);
                let found = self.cheapest(state, demand, level, bound, dearest, &target);
                let mut cheapest = 0.0;
                if let Some((price, path)) = found {
                    let width = path.iter().map(|e| net.residual(*e, &state.load));
                    let worth = width.fold(f64::INFINITY, f64::min) - bandwidth - price;
                    if best.as_ref().is_none_or(|(most, _)| worth > *most) {
                        best = Some((worth, path));
                    }
                    if !is_widest {
                        cheapest = price;
                    }
                } else if !is_widest {
                    break;
                }
                // What is better has more width than the best is worth, at a price no less than the cheapest.
                let better = best.as_ref().map_or(0.0, |(worth, _)| worth.max(0.0)) + cheapest;
                if better >= most - 0.01 * bandwidth || (!is_widest && better <= level) {
                    break;
                }
                level = better;
                is_widest = false;
            }
        }
        if (self.targets.len() + 1) * 6 * net.hosts > Self::TARGET_BYTES {
            self.targets.clear();
        }
        self.targets.insert(end, target);
        best.map(|(_, path)| path)
    }

    /// What the widest path leaves; `None` if no path leaves more than `level`.
    fn widest(&mut self, state: &State<'_>, demand: u32, level: f64, target: &Target) -> Option<f64> {
        let net = &state.fixed.net;
        let bandwidth = state.fixed.bandwidth[demand as usize];
        let (start, end) = state.ends(demand);
        let reach = |host: u32, width: f64| width.min(f64::from(target.width[host as usize]));
        self.epoch += 1;
        self.heap.clear();
        let hopeful = reach(start, f64::INFINITY);
        if hopeful - bandwidth <= level {
            return None;
        }
        // The width so far, negated; no route on is wider than that without load (A*).
        (self.mark[start as usize], self.cost[start as usize]) = (self.epoch, f64::NEG_INFINITY);
        self.heap.push(Reverse((Key(-hopeful), target.hops[start as usize], start)));
        while let Some(Reverse((Key(estimate), _, at))) = self.heap.pop() {
            if at == end {
                return Some(-estimate - bandwidth);
            }
            let so_far = -self.cost[at as usize];
            if -estimate > reach(at, so_far) {
                continue;
            }
            for edge in net.edges_from(at) {
                // The widest come first, by their capacity.
                if net.capacity[*edge as usize] - bandwidth <= level {
                    break;
                }
                let next = net.to[*edge as usize];
                let width = so_far.min(net.residual(*edge, &state.load));
                let seen = self.mark[next as usize] == self.epoch;
                if reach(next, width) - bandwidth <= level || (seen && -self.cost[next as usize] >= width) {
                    continue;
                }
                (self.mark[next as usize], self.cost[next as usize]) = (self.epoch, -width);
                self.heap.push(Reverse((Key(-reach(next, width)), target.hops[next as usize], next)));
            }
        }
        None
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
        target: &Target,
    ) -> Option<(f64, Vec<u32>)> {
        let found = self.dijkstra(state, demand, level, 0.0, dearest, target)?;
        if found.2 <= latency_bound {
            return Some((found.0, found.1));
        }
        // Too slow: raise the weight of latency (a Lagrangean multiplier) until it fits.
        let fastest = self.dijkstra(state, demand, level, 1e9, f64::INFINITY, target)?;
        if fastest.2 > latency_bound {
            return None;
        }
        let mut best = fastest;
        let (mut low, mut high) = (0.0, (best.0 - found.0 + 1.0) / (found.2 - best.2).max(1e-6));
        for _ in 0..5 {
            let middle = 0.5 * (low + high);
            let found = self.dijkstra(state, demand, level, middle, f64::INFINITY, target);
            let Some(found) = found else { break };
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
        target: &Target,
    ) -> Option<(f64, Vec<u32>, f64)> {
        let net = &state.fixed.net;
        let bandwidth = state.fixed.bandwidth[demand as usize];
        let toll = self.toll * bandwidth + 1e-9;
        let (start, end) = state.ends(demand);
        self.epoch += 1;
        self.heap.clear();
        // Every hop costs the toll at least: the search goes towards the end (A*).
        let hops = &*target.hops;
        self.reach(start, 0.0, NONE, toll, hops);
        while let Some(Reverse((Key(estimate), left, at))) = self.heap.pop() {
            if at == end {
                break;
            }
            let so_far = self.cost[at as usize];
            if estimate > so_far + toll * f64::from(left) {
                continue;
            }
            for edge in net.edges_from(at) {
                if net.capacity[*edge as usize] - bandwidth < level {
                    break;
                }
                let next = net.to[*edge as usize];
                let wide_enough = f64::from(target.width[next as usize]) - bandwidth >= level;
                let seen = self.mark[next as usize] == self.epoch;
                if !wide_enough
                    || (seen && self.cost[next as usize] <= so_far)
                    || net.residual(*edge, &state.load) - bandwidth < level
                {
                    continue;
                }
                let price = self.price_of(state, *edge, bandwidth);
                let cost = so_far + price + toll + weight * net.latency[*edge as usize];
                if cost > dearest {
                    continue;
                }
                self.reach(next, cost, *edge, toll, hops);
            }
        }
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

/// What is left at most from every host to one of them.
#[derive(Debug)]
struct Target {
    /// Hops; `u16::MAX` where there is no path.
    hops: Box<[u16]>,
    /// Width of the widest path without any load, rounded up.
    width: Box<[f32]>,
}

impl Target {
    fn new(net: &Network, end: u32) -> Self {
        let mut width = vec![-1.0f32; net.hosts].into_boxed_slice();
        width[end as usize] = f32::INFINITY;
        let mut heap = BinaryHeap::from([(Key(f64::INFINITY), end)]);
        while let Some((Key(reached), at)) = heap.pop() {
            if (reached as f32) < width[at as usize] {
                continue;
            }
            for edge in net.edges_to(at) {
                let next = net.from[*edge as usize] as usize;
                // The next larger number in single precision is no less than the capacity.
                let through = reached.min(f64::from((net.most(*edge) as f32).next_up()));
                if through as f32 > width[next] {
                    width[next] = through as f32;
                    heap.push((Key(through), next as u32));
                }
            }
        }
        Self { hops: hops_to(net, end), width }
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
