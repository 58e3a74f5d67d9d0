//! The tree of routings below a complete mapping.
//!
//! What all demands lose against the best that each could have alone must stay below a budget: what
//! the mapping is worth at most, less the best solution known. That budget prunes the enumeration
//! of paths itself, and leaves few.

use crate::network::NONE;
use crate::solver::exact::place::Hunt;
use crate::solver::exact::table::Table;

/// Demands on their paths, and those that wait for one.
pub(super) struct Routing<'t> {
    pub(super) table: &'t Table<'t>,
    pub(super) load: Vec<f64>,
    /// Demands over each resource.
    pub(super) users: Vec<Vec<u32>>,
    /// Hosts of each demand, and the most that it can be worth between them.
    pub(super) ends: Vec<(usize, usize)>,
    most: Vec<f64>,
    /// What is left to each routed demand; less while a path is under trial.
    residual: Vec<f64>,
    latency: Vec<f64>,
    path: Vec<Vec<u32>>,
    pub(super) open: Vec<usize>,
    /// Width of the widest path between hosts under the present load.
    pub(super) width: Vec<f64>,
    /// How much of each demand's loss is charged where it leaves its source; the rest where it arrives.
    pub(super) share: Vec<f64>,
    /// Whether paths were too many to look at all of them.
    too_many: bool,
}

/// Steps of an enumeration of paths after which the problem is too large to look at everything.
const MOST_STEPS: u64 = 300_000;

/// A path and what it costs: what the demand lacks on it, and what others lose.
type Choice = (f64, Vec<u32>);

impl<'t> Routing<'t> {
    pub(super) fn new(table: &'t Table<'t>) -> Self {
        let (demands, resources) = (table.fixed.from.len(), table.fixed.net.capacity.len());
        Self {
            table,
            load: vec![0.0; resources],
            users: vec![Vec::new(); resources],
            ends: vec![(0, 0); demands],
            most: vec![0.0; demands],
            residual: vec![0.0; demands],
            latency: vec![0.0; demands],
            path: vec![Vec::new(); demands],
            open: Vec::new(),
            width: Vec::new(),
            share: vec![0.5; demands],
            too_many: false,
        }
    }

    /// Looks at all routings of `mapping`, except those that are ruled out.
    pub(super) fn search(&mut self, mapping: &[u32], hunt: &mut Hunt<'_, '_>) {
        self.begin(mapping);
        let limit: f64 = self.most.iter().sum();
        if !hunt.is_beaten(limit) {
            self.visit(mapping, limit, hunt);
        }
    }

    /// What demands between placed VMs lose at least because they share edges; no more than `enough` is asked for.
    pub(super) fn shared_loss(&mut self, mapping: &[u32], enough: f64) -> f64 {
        self.begin(mapping);
        self.widths();
        self.least_loss(enough, 6)
    }

    /// Opens all demands whose VMs are placed on different hosts.
    fn begin(&mut self, mapping: &[u32]) {
        self.load.fill(0.0);
        self.users.iter_mut().for_each(Vec::clear);
        self.open.clear();
        self.share.fill(0.5);
        let fixed = self.table.fixed;
        for demand in 0..fixed.from.len() {
            let (a, b) = (mapping[fixed.from[demand] as usize], mapping[fixed.to[demand] as usize]);
            self.path[demand].clear();
            if a == NONE || b == NONE {
                continue;
            }
            self.ends[demand] = (a as usize, b as usize);
            self.most[demand] = self.table.value(demand, a as usize, b as usize);
            if a != b {
                self.open.push(demand);
            }
        }
    }

    /// `limit`: what is possible at most, given the routed demands.
    fn visit(&mut self, mapping: &[u32], limit: f64, hunt: &mut Hunt<'_, '_>) {
        if !hunt.goes_on() {
            return;
        }
        if self.open.is_empty() {
            if !hunt.is_beaten(limit) {
                hunt.best_value = limit;
                hunt.best = Some((mapping.to_vec(), self.path.clone()));
            }
            return;
        }
        let budget = limit - hunt.best_value - hunt.margin();
        self.widths();
        let own: Vec<f64> = self.open.iter().map(|demand| self.own_loss(*demand)).collect();
        let least: f64 = own.iter().sum();
        let steps = if self.open.len() == self.ends.len() { 30 } else { 4 };
        if least >= budget || self.least_loss(budget, steps) >= budget {
            return;
        }
        // The demand that loses most even on its best path comes first: what fails, fails early.
        let mut hardest = (f64::NEG_INFINITY, 0);
        for (at, own) in own.iter().enumerate() {
            let most = budget - (least - own);
            let best = self.best_path(self.open[at], most);
            hunt.stopped |= self.too_many;
            let Some((loss, _)) = best else { return };
            if loss > hardest.0 {
                hardest = (loss, at);
            }
        }
        let at = hardest.1;
        let demand = self.open.swap_remove(at);
        let others = least - own[at];
        let mut choices = self.paths(demand, budget - others);
        hunt.stopped |= self.too_many;
        choices.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.len().cmp(&y.1.len())));
        for (loss, path) in choices {
            if hunt.stopped || hunt.is_beaten(limit - loss - others) {
                break;
            }
            let before = self.enter(demand, path);
            self.visit(mapping, limit - loss, hunt);
            self.leave(demand, before);
        }
        self.open.push(demand);
        let last = self.open.len() - 1;
        self.open.swap(at, last);
    }

    /// Puts `demand` on `path`; returns the residuals of others that it changed.
    fn enter(&mut self, demand: usize, path: Vec<u32>) -> Vec<(u32, f64)> {
        let (net, bandwidth) = (&self.table.fixed.net, self.table.fixed.bandwidth[demand]);
        let mut before = Vec::new();
        let (mut residual, mut latency) = (f64::INFINITY, 0.0);
        for edge in &path {
            latency += net.latency[*edge as usize];
            for resource in net.resources(*edge) {
                self.load[resource as usize] += bandwidth;
                let left = net.capacity[resource as usize] - self.load[resource as usize];
                residual = residual.min(left);
                for user in &self.users[resource as usize] {
                    if left < self.residual[*user as usize] {
                        before.push((*user, self.residual[*user as usize]));
                        self.residual[*user as usize] = left;
                    }
                }
                self.users[resource as usize].push(demand as u32);
            }
        }
        (self.residual[demand], self.latency[demand], self.path[demand]) = (residual, latency, path);
        before
    }

    fn leave(&mut self, demand: usize, before: Vec<(u32, f64)>) {
        let (net, bandwidth) = (&self.table.fixed.net, self.table.fixed.bandwidth[demand]);
        for edge in std::mem::take(&mut self.path[demand]) {
            for resource in net.resources(edge) {
                self.load[resource as usize] -= bandwidth;
                self.users[resource as usize].pop();
            }
        }
        for (user, residual) in before.into_iter().rev() {
            self.residual[user as usize] = residual;
        }
    }

    /// What `demand` lacks at least under the present load.
    fn own_loss(&self, demand: usize) -> f64 {
        let (a, b) = self.ends[demand];
        let residual = self.width[a * self.table.hosts + b] - self.table.fixed.bandwidth[demand];
        self.lack(demand, residual, self.table.latency[a * self.table.hosts + b], 1)
    }

    /// What `demand` lacks with such a service against the best that it could have alone.
    pub(super) fn lack(&self, demand: usize, residual: f64, latency: f64, hops: usize) -> f64 {
        if !self.table.is_enough(residual, demand) {
            return f64::INFINITY;
        }
        (self.most[demand] - self.table.gain(demand, residual, latency, hops)).max(0.0)
    }

    /// What a routed demand loses if its residual falls to `residual`.
    pub(super) fn fall(&self, demand: usize, residual: f64) -> f64 {
        let now = self.residual[demand];
        if residual >= now {
            return 0.0;
        }
        if !self.table.is_enough(residual, demand) {
            return f64::INFINITY;
        }
        let (latency, hops) = (self.latency[demand], self.path[demand].len());
        self.table.gain(demand, now, latency, hops) - self.table.gain(demand, residual, latency, hops)
    }

    /// Widest paths under the present load (Floyd and Warshall).
    fn widths(&mut self) {
        let (hosts, net) = (self.table.hosts, &self.table.fixed.net);
        self.width.clear();
        self.width.resize(hosts * hosts, f64::NEG_INFINITY);
        (0..hosts).for_each(|host| self.width[host * hosts + host] = f64::INFINITY);
        for edge in 0..net.from.len() {
            self.width[net.from[edge] as usize * hosts + net.to[edge] as usize] =
                net.residual(edge as u32, &self.load);
        }
        for via in 0..hosts {
            for a in 0..hosts {
                let first = self.width[a * hosts + via];
                for b in 0..hosts {
                    let through = first.min(self.width[via * hosts + b]);
                    if through > self.width[a * hosts + b] {
                        self.width[a * hosts + b] = through;
                    }
                }
            }
        }
    }

    /// The path that costs least, if that is less than `most`.
    fn best_path(&mut self, demand: usize, most: f64) -> Option<Choice> {
        let mut walk = Walk::new(self, demand, most, true);
        walk.visit(self, 0.0, f64::INFINITY, 0.0);
        self.too_many |= walk.steps > MOST_STEPS;
        walk.found.pop()
    }

    /// All simple paths that cost less than `most`.
    fn paths(&mut self, demand: usize, most: f64) -> Vec<Choice> {
        let mut walk = Walk::new(self, demand, most, false);
        walk.visit(self, 0.0, f64::INFINITY, 0.0);
        self.too_many |= walk.steps > MOST_STEPS;
        walk.found
    }
}

/// Enumerates simple paths, depth first.
struct Walk {
    demand: usize,
    most: f64,
    best_only: bool,
    at: usize,
    steps: u64,
    visited: u64,
    edges: Vec<u32>,
    found: Vec<Choice>,
}

impl Walk {
    fn new(routing: &Routing<'_>, demand: usize, most: f64, best_only: bool) -> Self {
        let at = routing.ends[demand].0;
        Self { demand, most, best_only, at, steps: 0, visited: 1 << at, edges: Vec::new(), found: Vec::new() }
    }

    /// `others`: what they lose on the edges so far; `residual` and `latency` are those of the demand.
    fn visit(&mut self, routing: &mut Routing<'_>, others: f64, residual: f64, latency: f64) {
        let (table, net) = (routing.table, &routing.table.fixed.net);
        let (demand, end) = (self.demand, routing.ends[self.demand].1);
        if self.at == end {
            let loss = others + routing.lack(demand, residual, latency, self.edges.len());
            if loss < self.most {
                if self.best_only {
                    self.most = loss;
                    self.found.clear();
                }
                self.found.push((loss, self.edges.clone()));
            }
            return;
        }
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return;
        }
        let (bandwidth, here) = (table.fixed.bandwidth[demand], self.at);
        for edge in net.edges_from(here as u32) {
            let next = net.to[*edge as usize] as usize;
            if self.visited >> next & 1 == 1 {
                continue;
            }
            let left = net.residual(*edge, &routing.load) - bandwidth;
            let beyond = routing.width[next * table.hosts + end] - bandwidth;
            let (residual, latency) = (residual.min(left), latency + net.latency[*edge as usize]);
            let whole = latency + table.latency[next * table.hosts + end];
            if whole > table.fixed.latency_bound[demand] * (1.0 + 1e-10) {
                continue;
            }
            let hops = self.edges.len() + 1 + usize::from(next != end);
            let own = routing.lack(demand, residual.min(beyond), whole, hops);
            if others + own >= self.most {
                continue;
            }
            let mut before = Vec::new();
            let mut more = 0.0;
            for resource in net.resources(*edge) {
                let left = net.capacity[resource as usize] - routing.load[resource as usize] - bandwidth;
                for index in 0..routing.users[resource as usize].len() {
                    let user = routing.users[resource as usize][index] as usize;
                    let fall = routing.fall(user, left);
                    if fall > 0.0 {
                        more += fall;
                        before.push((user, routing.residual[user]));
                        routing.residual[user] = left;
                    }
                }
            }
            if others + own + more < self.most {
                self.visited |= 1 << next;
                self.at = next;
                self.edges.push(*edge);
                self.visit(routing, others + more, residual, latency);
                self.edges.pop();
                self.at = here;
                self.visited &= !(1 << next);
            }
            for (user, residual) in before.into_iter().rev() {
                routing.residual[user] = residual;
            }
        }
    }
}
