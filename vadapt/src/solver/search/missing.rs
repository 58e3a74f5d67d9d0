//! How much is missing to a mapping and a routing: bandwidth on edges, room on hosts, time on paths.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::finder::hops_to;
use crate::fixed::{Fixed, TOLERANCE};
use crate::network::NONE;
use crate::routes::Key;

/// A mapping and a routing, and what is missing.
pub(super) struct Repair<'f> {
    pub(super) fixed: &'f Fixed<'f>,
    pub(super) host: Vec<u32>,
    pub(super) path: Vec<Vec<u32>>,
    pub(super) vms_on: Vec<Vec<u32>>,
    pub(super) used: Vec<[f64; 2]>,
    pub(super) load: Vec<f64>,
    pub(super) users: Vec<Vec<u32>>,
    pub(super) weight: Vec<f64>,
    /// What is missing, weighted.
    pub(super) missing: f64,
    /// Resources that are too full, and where each stands there.
    pub(super) full: Vec<u32>,
    pub(super) full_at: Vec<u32>,
    /// Demands whose path is missing or too slow, and hosts with too much on them.
    pub(super) faults: usize,
    pub(super) overloaded: usize,
    pub(super) rng: Xoshiro256PlusPlus,
    pub(super) moves: u64,
    // Undo of the move under trial.
    pub(super) moved: Vec<(u32, u32)>,
    pub(super) rerouted: Vec<(u32, Vec<u32>)>,
    // Scratch of searches.
    pub(super) epoch: u32,
    pub(super) mark: Vec<u32>,
    pub(super) cost: Vec<f64>,
    pub(super) via: Vec<u32>,
    pub(super) heap: BinaryHeap<Reverse<(Key, u32)>>,
    /// Hops from every host to some hosts: what a path costs at least.
    hops_to: HashMap<u32, Box<[u16]>>,
}

/// Distances by hops are forgotten when they take more than this many bytes.
const HOPS_BYTES: usize = 32 << 20;

/// What a hop costs at least, in parts of the bandwidth.
const HOP: f64 = 0.01;

impl<'f> Repair<'f> {
    pub(super) fn new(fixed: &'f Fixed<'f>, seed: u64) -> Self {
        let (hosts, resources) = (fixed.net.hosts, fixed.net.capacity.len());
        Self {
            fixed,
            host: Vec::new(),
            path: Vec::new(),
            vms_on: vec![Vec::new(); hosts],
            used: vec![[0.0; 2]; hosts],
            load: vec![0.0; resources],
            users: vec![Vec::new(); resources],
            weight: vec![1.0; resources],
            missing: 0.0,
            full: Vec::new(),
            full_at: vec![NONE; resources],
            faults: 0,
            overloaded: 0,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            moves: 0,
            moved: Vec::new(),
            rerouted: Vec::new(),
            epoch: 0,
            mark: vec![0; hosts],
            cost: vec![0.0; hosts],
            via: vec![NONE; hosts],
            heap: BinaryHeap::new(),
            hops_to: HashMap::new(),
        }
    }

    pub(super) fn restart(&mut self, host: &[u32], path: &[Vec<u32>]) {
        self.weight.fill(1.0);
        self.restore(host, path);
    }

    /// Becomes another state; also clears rounding errors of many moves.
    pub(super) fn restore(&mut self, host: &[u32], path: &[Vec<u32>]) {
        (self.host, self.path) = (host.to_vec(), path.to_vec());
        self.vms_on.iter_mut().for_each(Vec::clear);
        self.users.iter_mut().for_each(Vec::clear);
        self.used.fill([0.0; 2]);
        self.load.fill(0.0);
        self.full.clear();
        self.full_at.fill(NONE);
        (self.missing, self.faults, self.overloaded) = (0.0, 0, 0);
        for vm in 0..self.host.len() as u32 {
            self.settle_vm(vm, self.host[vm as usize], 1.0);
        }
        for demand in 0..self.path.len() as u32 {
            self.settle_path(demand, 1.0);
        }
    }

    pub(super) fn is_feasible(&self) -> bool {
        self.full.is_empty() && self.faults == 0 && self.overloaded == 0
    }

    /// What is missing with all weights alike.
    pub(super) fn plain(&self) -> f64 {
        let more = |resource: &u32| (self.weight[*resource as usize] - 1.0) * self.excess(*resource);
        self.missing - self.full.iter().map(more).sum::<f64>()
    }

    pub(super) fn shift(&mut self, shifts: &[(u32, u32)]) {
        let fixed = self.fixed;
        let mut demands: Vec<u32> = Vec::new();
        for (vm, _) in shifts {
            for demand in &fixed.demands_of[*vm as usize] {
                if !demands.contains(demand) {
                    demands.push(*demand);
                }
            }
        }
        demands.iter().for_each(|demand| self.take_path(*demand));
        for (vm, target) in shifts {
            let old = self.host[*vm as usize];
            self.moved.push((*vm, old));
            self.settle_vm(*vm, old, -1.0);
            self.settle_vm(*vm, *target, 1.0);
        }
        // Large demands find a place while there is one.
        demands.sort_by(|x, y| fixed.bandwidth[*y as usize].total_cmp(&fixed.bandwidth[*x as usize]));
        demands.iter().for_each(|demand| self.find_path(*demand, 0.0));
    }

    pub(super) fn undo(&mut self) {
        let rerouted = std::mem::take(&mut self.rerouted);
        for (demand, _) in &rerouted {
            self.settle_path(*demand, -1.0);
        }
        for (vm, old) in std::mem::take(&mut self.moved).into_iter().rev() {
            self.settle_vm(vm, self.host[vm as usize], -1.0);
            self.settle_vm(vm, old, 1.0);
        }
        for (demand, path) in rerouted {
            self.path[demand as usize] = path;
            self.settle_path(demand, 1.0);
        }
    }

    pub(super) fn take_path(&mut self, demand: u32) {
        self.settle_path(demand, -1.0);
        let path = std::mem::take(&mut self.path[demand as usize]);
        self.rerouted.push((demand, path));
    }

    pub(super) fn ends(&self, demand: u32) -> (u32, u32) {
        let (from, to) = (self.fixed.from[demand as usize], self.fixed.to[demand as usize]);
        (self.host[from as usize], self.host[to as usize])
    }

    /// Puts a VM on a host, `sign` 1, or takes it away.
    pub(super) fn settle_vm(&mut self, vm: u32, host: u32, sign: f64) {
        let before = self.host_excess(host);
        for kind in 0..2 {
            self.used[host as usize][kind] += sign * self.fixed.need[vm as usize][kind];
        }
        let after = self.host_excess(host);
        self.missing += after - before;
        self.overloaded += usize::from(after > 0.0);
        self.overloaded -= usize::from(before > 0.0);
        self.host[vm as usize] = host;
        if sign > 0.0 {
            self.vms_on[host as usize].push(vm);
        } else {
            self.vms_on[host as usize].retain(|other| *other != vm);
        }
    }

    /// Loads the path of a demand on its edges, `sign` 1, or takes it off.
    pub(super) fn settle_path(&mut self, demand: u32, sign: f64) {
        let fault = self.fault(demand);
        self.missing += sign * fault;
        match (fault > 0.0, sign > 0.0) {
            (true, true) => self.faults += 1,
            (true, false) => self.faults -= 1,
            (false, _) => {}
        }
        for at in 0..self.path[demand as usize].len() {
            for resource in self.fixed.net.resources(self.path[demand as usize][at]) {
                self.add_load(resource, demand, sign);
            }
        }
    }

    pub(super) fn add_load(&mut self, resource: u32, demand: u32, sign: f64) {
        let index = resource as usize;
        let before = self.excess(resource);
        self.load[index] += sign * self.fixed.bandwidth[demand as usize];
        let after = self.excess(resource);
        self.missing += self.weight[index] * (after - before);
        if after > 0.0 && before <= 0.0 {
            self.full_at[index] = self.full.len() as u32;
            self.full.push(resource);
        } else if before > 0.0 && after <= 0.0 {
            let at = self.full_at[index] as usize;
            self.full.swap_remove(at);
            if let Some(other) = self.full.get(at) {
                self.full_at[*other as usize] = at as u32;
            }
            self.full_at[index] = NONE;
        }
        let users = &mut self.users[index];
        if sign > 0.0 {
            users.push(demand);
        } else if let Some(at) = users.iter().rposition(|user| *user == demand) {
            users.swap_remove(at);
        }
    }

    /// What is missing of a resource, in mean demands.
    pub(super) fn excess(&self, resource: u32) -> f64 {
        let capacity = self.fixed.net.capacity[resource as usize];
        let over = self.load[resource as usize] - capacity;
        if over > TOLERANCE * capacity.max(1.0) { over / self.fixed.mean_bandwidth } else { 0.0 }
    }

    pub(super) fn host_excess(&self, host: u32) -> f64 {
        self.fixed.host_penalty(host, self.used[host as usize]) / self.fixed.unit
    }

    /// What is wrong with the path of a demand, whatever else there is.
    pub(super) fn fault(&self, demand: u32) -> f64 {
        let (a, b) = self.ends(demand);
        let path = &self.path[demand as usize];
        if a == b {
            return if self.fixed.net.internal[a as usize] < 0.0 { 2.0 } else { 0.0 };
        }
        if path.is_empty() {
            return 4.0;
        }
        let latency: f64 = path.iter().map(|edge| self.fixed.net.latency[*edge as usize]).sum();
        let bound = self.fixed.latency_bound[demand as usize];
        if latency <= bound * (1.0 + TOLERANCE) {
            return 0.0;
        }
        1.0 + (latency / bound.max(1e-9) - 1.0).min(10.0)
    }

    /// Gives `demand` the path on which least is missing then; `noise` changes costs at random.
    pub(super) fn find_path(&mut self, demand: u32, noise: f64) {
        let (a, b) = self.ends(demand);
        if a != b {
            let bound = self.fixed.latency_bound[demand as usize];
            let mut weight = 0.0;
            // The weight of latency grows until the path is fast enough.
            for _ in 0..6 {
                if !self.dijkstra(demand, a, b, noise, weight) {
                    break;
                }
                let path = &self.path[demand as usize];
                let latency: f64 = path.iter().map(|edge| self.fixed.net.latency[*edge as usize]).sum();
                if latency <= bound {
                    break;
                }
                weight = if weight == 0.0 { 0.1 / bound.max(1e-9) } else { weight * 10.0 };
            }
        }
        self.settle_path(demand, 1.0);
    }

    pub(super) fn dijkstra(&mut self, demand: u32, a: u32, b: u32, noise: f64, weight: f64) -> bool {
        let net = &self.fixed.net;
        let bandwidth = self.fixed.bandwidth[demand as usize];
        let hop = HOP * bandwidth / self.fixed.mean_bandwidth;
        let hops = self.hops_to.remove(&b).unwrap_or_else(|| hops_to(net, b));
        // At least so much is to come (A*).
        let rest = |host: u32| hop * f64::from(hops[host as usize]);
        self.epoch += 1;
        self.heap.clear();
        (self.mark[a as usize], self.cost[a as usize]) = (self.epoch, 0.0);
        self.heap.push(Reverse((Key(rest(a)), a)));
        while let Some(Reverse((Key(estimate), at))) = self.heap.pop() {
            if at == b {
                break;
            }
            let so_far = self.cost[at as usize];
            if estimate > so_far + rest(at) {
                continue;
            }
            for edge in net.edges_from(at) {
                let next = net.to[*edge as usize];
                let seen = self.mark[next as usize] == self.epoch;
                if hops[next as usize] == u16::MAX || (seen && self.cost[next as usize] <= so_far) {
                    continue;
                }
                let mut cost = self.toll(*edge, bandwidth) + weight * net.latency[*edge as usize];
                if noise > 0.0 {
                    cost *= 1.0 + noise * self.rng.random::<f64>();
                }
                let reached = so_far + cost;
                if !seen || reached < self.cost[next as usize] {
                    self.mark[next as usize] = self.epoch;
                    self.cost[next as usize] = reached;
                    self.via[next as usize] = *edge;
                    self.heap.push(Reverse((Key(reached + rest(next)), next)));
                }
            }
        }
        if (self.hops_to.len() + 1) * 2 * net.hosts > HOPS_BYTES {
            self.hops_to.clear();
        }
        self.hops_to.insert(b, hops);
        let path = &mut self.path[demand as usize];
        path.clear();
        if self.mark[b as usize] != self.epoch {
            return false;
        }
        let mut at = b;
        while at != a {
            let edge = self.via[at as usize];
            path.push(edge);
            at = net.from[edge as usize];
        }
        path.reverse();
        true
    }

    /// What `bandwidth` more over `edge` makes missing, and a little for each Mbit/s: more where it is full.
    pub(super) fn toll(&self, edge: u32, bandwidth: f64) -> f64 {
        let mut toll = 0.0;
        for resource in self.fixed.net.resources(edge) {
            let index = resource as usize;
            let capacity = self.fixed.net.capacity[index];
            let over = |load: f64| (load - capacity).max(0.0);
            let more = over(self.load[index] + bandwidth) - over(self.load[index]);
            let share = (self.load[index] + bandwidth) / capacity.max(1e-9);
            toll += self.weight[index] * more + HOP * bandwidth * (1.0 + share.min(2.0));
        }
        toll / self.fixed.mean_bandwidth + 1e-6
    }
}
