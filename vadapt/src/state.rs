//! A solution under change: what a move costs is what it touches, not the whole solution.
//!
//! A move is *tried* (its effect on the value computed, loads changed in place), then
//! *committed* or *discarded*. States may be infeasible; what is broken is charged a graded
//! penalty, so that a search finds its way back.

use crate::fixed::{Fixed, TOLERANCE};
use crate::network::NONE;
use crate::objective::{Objective, Service};
use crate::problem::HostId;
use crate::routes::{Query, Routes};
use crate::solution::{Path, Solution};

/// How a demand is served in a state.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Served {
    residual: f64,
    latency: f64,
    /// The value to maximise, penalties included.
    value: f64,
    broken: bool,
}

/// A move under trial.
#[derive(Debug, Default)]
struct Trial {
    delta: f64,
    overloaded_before: usize,
    /// VM, old host, new host.
    shifts: Vec<(u32, u32, u32)>,
    /// Demands with a new path; `paths[i]` is that of `moved[i]`.
    moved: Vec<u32>,
    paths: Vec<Vec<u32>>,
    /// Resources whose load changed, with the load before.
    loads: Vec<(u32, f64)>,
    /// Demands that are served differently.
    served: Vec<(u32, Served)>,
}

/// A mapping and a routing with everything needed to judge a change of it.
pub(crate) struct State<'f> {
    pub(crate) fixed: &'f Fixed<'f>,
    objective: &'f dyn Objective,
    /// The host of each VM; [`NONE`] while a constructive solver hasn't placed it.
    pub(crate) host: Vec<u32>,
    /// The VMs on each host.
    pub(crate) vms_on: Vec<Vec<u32>>,
    used: Vec<[f64; 2]>,
    /// Edges of the path of each demand.
    pub(crate) path: Vec<Vec<u32>>,
    /// Load of each resource.
    pub(crate) load: Vec<f64>,
    /// Demands over each resource, once per hop that uses it.
    users: Vec<Vec<u32>>,
    served: Vec<Served>,
    total: f64,
    /// Demands that lack something, hosts with too much on them, VMs without a host.
    broken: usize,
    overloaded: usize,
    unplaced: usize,
    trial: Trial,
    epoch: u32,
    resource_mark: Vec<u32>,
    demand_mark: Vec<u32>,
    /// Where marked demands stand in `trial.served`; [`NONE`] when judged by the whole path.
    slot: Vec<u32>,
    spare: Vec<Vec<u32>>,
}

const UNSERVED: Served = Served { residual: 0.0, latency: 0.0, value: 0.0, broken: false };

impl<'f> State<'f> {
    /// A state in which no VM is placed.
    pub(crate) fn empty(fixed: &'f Fixed<'f>, objective: &'f dyn Objective) -> Self {
        let (demands, resources) = (fixed.from.len(), fixed.net.capacity.len());
        Self {
            fixed,
            objective,
            host: vec![NONE; fixed.need.len()],
            vms_on: vec![Vec::new(); fixed.net.hosts],
            used: vec![[0.0; 2]; fixed.net.hosts],
            path: vec![Vec::new(); demands],
            load: vec![0.0; resources],
            users: vec![Vec::new(); resources],
            served: vec![UNSERVED; demands],
            total: 0.0,
            broken: 0,
            overloaded: 0,
            unplaced: fixed.need.len(),
            trial: Trial::default(),
            epoch: 0,
            resource_mark: vec![0; resources],
            demand_mark: vec![0; demands],
            slot: vec![NONE; demands],
            spare: Vec::new(),
        }
    }

    /// Becomes another mapping and routing; also clears rounding errors of many moves.
    pub(crate) fn restore(&mut self, host: &[u32], paths: &[Vec<u32>]) {
        self.host.copy_from_slice(host);
        self.vms_on.iter_mut().for_each(Vec::clear);
        self.used.fill([0.0; 2]);
        for (vm, host) in host.iter().enumerate().filter(|(_, host)| **host != NONE) {
            self.vms_on[*host as usize].push(vm as u32);
            for kind in 0..2 {
                self.used[*host as usize][kind] += self.fixed.need[vm][kind];
            }
        }
        self.load.fill(0.0);
        self.users.iter_mut().for_each(Vec::clear);
        for (demand, path) in paths.iter().enumerate() {
            self.path[demand].clone_from(path);
            for resource in path.iter().flat_map(|edge| self.fixed.net.resources(*edge)) {
                self.load[resource as usize] += self.fixed.bandwidth[demand];
                self.users[resource as usize].push(demand as u32);
            }
        }
        let hosts = 0..self.fixed.net.hosts as u32;
        let penalties = hosts.map(|h| self.fixed.host_penalty(h, self.used[h as usize]));
        let (over, penalty) = penalties.fold((0, 0.0), |(n, sum), p| (n + usize::from(p > 0.0), sum + p));
        self.overloaded = over;
        self.total = -penalty;
        self.unplaced = host.iter().filter(|host| **host == NONE).count();
        let vms = (0..).zip(&self.host);
        self.total -= vms.map(|(vm, host)| self.fixed.distance_from_home(vm, *host)).sum::<f64>();
        self.broken = 0;
        for demand in 0..paths.len() {
            self.served[demand] = self.judge(demand as u32, &self.path[demand], &self.host);
            self.total += self.served[demand].value;
            self.broken += usize::from(self.served[demand].broken);
        }
    }

    /// The value to maximise, penalties included.
    pub(crate) fn value(&self) -> f64 {
        self.total
    }

    /// Whether nothing is broken.
    pub(crate) fn is_feasible(&self) -> bool {
        self.broken == 0 && self.overloaded == 0 && self.unplaced == 0
    }

    /// Hosts of the VMs as they were before the move under trial.
    pub(crate) fn host_before_trial(&self) -> Vec<u32> {
        let mut host = self.host.clone();
        for (vm, old, _) in self.trial.shifts.iter().rev() {
            host[*vm as usize] = *old;
        }
        host
    }

    /// Whether nothing was broken before the move under trial.
    pub(crate) fn was_feasible(&self) -> bool {
        self.broken == 0 && self.trial.overloaded_before == 0 && self.unplaced == 0
    }

    /// Whether the VMs of `host` need more than it has.
    pub(crate) fn is_overloaded(&self, host: u32) -> bool {
        self.fixed.host_penalty(host, self.used[host as usize]) > 0.0
    }

    /// Whether `host` has room for `vm` besides those that it has.
    pub(crate) fn has_room(&self, host: u32, vm: u32) -> bool {
        let (used, need) = (self.used[host as usize], self.fixed.need[vm as usize]);
        self.fixed.host_penalty(host, [used[0] + need[0], used[1] + need[1]]) == 0.0
    }

    /// Room left on `host`: compute and size.
    pub(crate) fn room_left(&self, host: u32) -> [f64; 2] {
        let (room, used) = (self.fixed.room[host as usize], self.used[host as usize]);
        [room[0] - used[0], room[1] - used[1]]
    }

    /// Whether `demand` lacks bandwidth, latency or a path.
    pub(crate) fn is_broken(&self, demand: u32) -> bool {
        self.served[demand as usize].broken
    }

    /// What `demand` is worth now, its penalty included.
    pub(crate) fn worth(&self, demand: u32) -> f64 {
        self.served[demand as usize].value
    }

    /// The residual bottleneck bandwidth of `demand`.
    pub(crate) fn residual(&self, demand: u32) -> f64 {
        self.served[demand as usize].residual
    }

    /// What a demand more over `edge` with `bandwidth` takes from the demands there now.
    pub(crate) fn price(&self, edge: u32, bandwidth: f64) -> f64 {
        let mut price = 0.0;
        for resource in self.fixed.net.resources(edge) {
            let left = self.fixed.net.capacity[resource as usize] - self.load[resource as usize] - bandwidth;
            for user in &self.users[resource as usize] {
                price += (self.served[*user as usize].residual - left).max(0.0);
            }
        }
        price
    }

    /// Tries to move VMs to other hosts, with the routes that `routes` offers; returns the
    /// change of the value. Unplaced VMs are placed; demands to unplaced VMs wait.
    pub(crate) fn try_shift(&mut self, shifts: &[(u32, u32)], routes: &mut Routes) -> f64 {
        self.begin();
        for (vm, host) in shifts {
            let old = self.host[*vm as usize];
            self.trial.shifts.push((*vm, old, *host));
            self.host[*vm as usize] = *host;
        }
        let mut delta = self.move_needs(false);
        for index in 0..self.trial.shifts.len() {
            let vm = self.trial.shifts[index].0;
            for demand in &self.fixed.demands_of[vm as usize] {
                let (a, b) = self.ends(*demand);
                if self.demand_mark[*demand as usize] != self.epoch && a != NONE && b != NONE {
                    self.demand_mark[*demand as usize] = self.epoch;
                    self.trial.moved.push(*demand);
                }
            }
        }
        for index in 0..self.trial.moved.len() {
            self.unload(self.trial.moved[index]);
        }
        for index in 0..self.trial.moved.len() {
            let demand = self.trial.moved[index];
            let (a, b) = self.ends(demand);
            let mut path = self.spare.pop().unwrap_or_default();
            path.clear();
            if a != b {
                let bandwidth = self.fixed.bandwidth[demand as usize];
                let latency_bound = self.fixed.latency_bound[demand as usize];
                let source = self.fixed.from[demand as usize];
                let moves = self.trial.shifts.iter().any(|(vm, ..)| *vm == source);
                let query = Query { a, b, bandwidth, latency_bound, anchor: if moves { b } else { a } };
                routes.choose(&self.fixed.net, query, &self.load, &mut path);
            }
            self.place_path(demand, path);
        }
        delta += self.settle();
        self.trial.delta = delta;
        delta
    }

    /// What moving VMs could change at best: cheap, and hardly ever less than
    /// [`try_shift`](Self::try_shift) then finds. For monotone objectives only.
    pub(crate) fn outlook(&mut self, shifts: &[(u32, u32)], routes: &mut Routes) -> f64 {
        let fixed = self.fixed;
        let host_of = |vm: u32, host: &[u32]| {
            shifts.iter().find(|(moved, _)| *moved == vm).map_or(host[vm as usize], |(_, to)| *to)
        };
        let mut outlook = 0.0;
        for (vm, target) in shifts {
            let now = self.host[*vm as usize];
            outlook += fixed.distance_from_home(*vm, now) - fixed.distance_from_home(*vm, *target);
            for demand in &fixed.demands_of[*vm as usize] {
                let index = *demand as usize;
                let (from, to) = (fixed.from[index], fixed.to[index]);
                let (a, b) = (host_of(from, &self.host), host_of(to, &self.host));
                if a == NONE || b == NONE {
                    continue;
                }
                let bandwidth = fixed.bandwidth[index];
                let (width, penalty) = if a == b {
                    (fixed.net.internal[a as usize], 2.0 * fixed.unit)
                } else {
                    let anchor = if from == *vm { b } else { a };
                    (routes.widest(&fixed.net, a, b, anchor) - bandwidth, 0.5 * fixed.unit)
                };
                let service = Service { residual: width.max(0.0), latency: 0.0, hops: usize::from(a != b) };
                let mut value = self.objective.gain(&fixed.problem.demands()[index], service);
                if width < 0.0 {
                    value -= penalty;
                }
                // What others may gain on the path that is left: the bandwidth, for a few users per hop.
                let freed = 2.0 * bandwidth * self.path[index].len() as f64;
                outlook += value - self.served[index].value + freed;
            }
        }
        outlook
    }

    /// Tries other paths for some demands; returns the change of the value.
    pub(crate) fn try_paths(&mut self, paths: &mut Vec<(u32, Vec<u32>)>) -> f64 {
        self.begin();
        for (demand, _) in paths.iter() {
            self.demand_mark[*demand as usize] = self.epoch;
            self.trial.moved.push(*demand);
            self.unload(*demand);
        }
        for (demand, path) in paths.drain(..) {
            self.place_path(demand, path);
        }
        let delta = self.settle();
        self.trial.delta = delta;
        delta
    }

    /// Takes the demand off its path, for the time of a search for a better one. Follow
    /// with [`give_back`](Self::give_back) before anything else.
    pub(crate) fn lift(&mut self, demand: u32) {
        self.begin();
        self.unload(demand);
    }

    /// Undoes [`lift`](Self::lift).
    pub(crate) fn give_back(&mut self) {
        self.discard();
    }

    /// Keeps the move under trial.
    pub(crate) fn commit(&mut self) {
        let net = &self.fixed.net;
        for (demand, path) in self.trial.moved.drain(..).zip(self.trial.paths.drain(..)) {
            let old = std::mem::replace(&mut self.path[demand as usize], path);
            for resource in old.iter().flat_map(|edge| net.resources(*edge)) {
                let users = &mut self.users[resource as usize];
                if let Some(at) = users.iter().position(|user| *user == demand) {
                    users.swap_remove(at);
                }
            }
            for resource in self.path[demand as usize].iter().flat_map(|edge| net.resources(*edge)) {
                self.users[resource as usize].push(demand);
            }
            self.spare.push(old);
        }
        for (demand, served) in self.trial.served.drain(..) {
            let before = std::mem::replace(&mut self.served[demand as usize], served);
            self.broken += usize::from(served.broken);
            self.broken -= usize::from(before.broken);
        }
        for (vm, old, new) in self.trial.shifts.drain(..) {
            if old == NONE {
                self.unplaced -= 1;
            } else {
                self.vms_on[old as usize].retain(|other| *other != vm);
            }
            self.vms_on[new as usize].push(vm);
        }
        self.trial.loads.clear();
        self.total += self.trial.delta;
    }

    /// Undoes the move under trial.
    pub(crate) fn discard(&mut self) {
        for (resource, load) in self.trial.loads.drain(..) {
            self.load[resource as usize] = load;
        }
        self.move_needs(true);
        for (vm, old, _) in self.trial.shifts.drain(..) {
            self.host[vm as usize] = old;
        }
        self.trial.moved.clear();
        self.spare.append(&mut self.trial.paths);
        self.trial.served.clear();
    }

    /// The state as a solution, judged by plain summation.
    pub(crate) fn solution(&self) -> Solution {
        let net = &self.fixed.net;
        let id = |host: u32| HostId::new(host as usize);
        let path = |(demand, edges): (usize, &Vec<u32>)| {
            let start = self.host[self.fixed.from[demand] as usize];
            let rest = edges.iter().map(|edge| id(net.to[*edge as usize]));
            Path::new(std::iter::once(id(start)).chain(rest).collect())
        };
        let services = self.path.iter().zip(&self.served).map(|(path, served)| Service {
            residual: served.residual.max(0.0),
            latency: served.latency,
            hops: path.len(),
        });
        Solution {
            mapping: self.host.iter().map(|host| id(*host)).collect(),
            paths: self.path.iter().enumerate().map(path).collect(),
            objective: self.objective.total(self.fixed.problem, services),
            bound: None,
        }
    }

    /// Hosts of the source and the destination of `demand`.
    pub(crate) fn ends(&self, demand: u32) -> (u32, u32) {
        let (from, to) = (self.fixed.from[demand as usize], self.fixed.to[demand as usize]);
        (self.host[from as usize], self.host[to as usize])
    }

    fn begin(&mut self) {
        self.epoch += 1;
        if self.epoch == u32::MAX {
            self.epoch = 1;
            self.resource_mark.fill(0);
            self.demand_mark.fill(0);
        }
        self.trial.shifts.clear();
        self.trial.delta = 0.0;
        self.trial.overloaded_before = self.overloaded;
    }

    /// Moves what the shifted VMs need, back if `undo`; returns the change of the value by what
    /// hosts are charged and by what moves cost.
    fn move_needs(&mut self, undo: bool) -> f64 {
        let mut delta = 0.0;
        for (vm, old, new) in &self.trial.shifts {
            let need = self.fixed.need[*vm as usize];
            let (leave, enter) = if undo { (*new, *old) } else { (*old, *new) };
            delta += self.fixed.distance_from_home(*vm, leave) - self.fixed.distance_from_home(*vm, enter);
            for (host, sign) in [(leave, -1.0), (enter, 1.0)] {
                if host == NONE {
                    continue;
                }
                let used = &mut self.used[host as usize];
                let before = self.fixed.host_penalty(host, *used);
                *used = [used[0] + sign * need[0], used[1] + sign * need[1]];
                let after = self.fixed.host_penalty(host, *used);
                delta += before - after;
                self.overloaded += usize::from(after > 0.0);
                self.overloaded -= usize::from(before > 0.0);
            }
        }
        delta
    }

    fn add_load(&mut self, resource: u32, bandwidth: f64) {
        let load = &mut self.load[resource as usize];
        if self.resource_mark[resource as usize] != self.epoch {
            self.resource_mark[resource as usize] = self.epoch;
            self.trial.loads.push((resource, *load));
        }
        *load += bandwidth;
    }

    fn unload(&mut self, demand: u32) {
        let bandwidth = self.fixed.bandwidth[demand as usize];
        let path = std::mem::take(&mut self.path[demand as usize]);
        for edge in &path {
            for resource in self.fixed.net.resources(*edge) {
                self.add_load(resource, -bandwidth);
            }
        }
        self.path[demand as usize] = path;
    }

    fn place_path(&mut self, demand: u32, path: Vec<u32>) {
        for edge in &path {
            for resource in self.fixed.net.resources(*edge) {
                self.add_load(resource, self.fixed.bandwidth[demand as usize]);
            }
        }
        self.trial.paths.push(path);
    }

    /// Judges anew whoever is touched by the changed loads; returns the change of the value.
    fn settle(&mut self) -> f64 {
        let mut delta = 0.0;
        let (mut fresh, moved) = (std::mem::take(&mut self.trial.served), &self.trial.moved);
        for (demand, path) in moved.iter().zip(&self.trial.paths) {
            self.slot[*demand as usize] = NONE;
            let served = self.judge(*demand, path, &self.host);
            delta += served.value - self.served[*demand as usize].value;
            fresh.push((*demand, served));
        }
        // Where room grew, whoever was held back there is judged by its whole path.
        for (resource, before) in &self.trial.loads {
            let capacity = self.fixed.net.capacity[*resource as usize];
            let (old, new) = (capacity - before, capacity - self.load[*resource as usize]);
            if new - old <= TOLERANCE * capacity {
                continue;
            }
            for user in &self.users[*resource as usize] {
                let index = *user as usize;
                if old > self.served[index].residual + TOLERANCE * capacity
                    || self.demand_mark[index] == self.epoch
                {
                    continue;
                }
                self.demand_mark[index] = self.epoch;
                self.slot[index] = NONE;
                let served = self.judge(*user, &self.path[index], &self.host);
                delta += served.value - self.served[index].value;
                fresh.push((*user, served));
            }
        }
        // Where it shrank, that alone is the new limit of whoever had more.
        for (resource, before) in &self.trial.loads {
            let capacity = self.fixed.net.capacity[*resource as usize];
            let (old, new) = (capacity - before, capacity - self.load[*resource as usize]);
            if old - new <= TOLERANCE * capacity {
                continue;
            }
            for user in &self.users[*resource as usize] {
                let index = *user as usize;
                let seen = self.demand_mark[index] == self.epoch;
                if seen && self.slot[index] == NONE {
                    continue;
                }
                let now = if seen { fresh[self.slot[index] as usize].1 } else { self.served[index] };
                if new >= now.residual {
                    continue;
                }
                let served = self.rate(*user, new, now.latency, self.path[index].len(), capacity);
                delta += served.value - now.value;
                if seen {
                    fresh[self.slot[index] as usize].1 = served;
                } else {
                    self.demand_mark[index] = self.epoch;
                    self.slot[index] = fresh.len() as u32;
                    fresh.push((*user, served));
                }
            }
        }
        self.trial.served = fresh;
        delta
    }

    fn judge(&self, demand: u32, path: &[u32], hosts: &[u32]) -> Served {
        let (fixed, net) = (self.fixed, &self.fixed.net);
        let from = hosts[fixed.from[demand as usize] as usize];
        let to = hosts[fixed.to[demand as usize] as usize];
        if from == NONE || to == NONE {
            return UNSERVED;
        }
        let unit = fixed.unit;
        let (mut residual, mut latency) = (f64::INFINITY, 0.0);
        if from == to {
            residual = net.internal[from as usize];
            if residual < 0.0 {
                return Served { residual: 0.0, latency, value: -2.0 * unit, broken: true };
            }
        } else if path.is_empty() {
            return Served { residual: 0.0, latency, value: -4.0 * unit, broken: true };
        }
        let mut scale = 1.0f64;
        for edge in path {
            latency += net.latency[*edge as usize];
            let left = net.residual(*edge, &self.load);
            if left < residual {
                residual = left;
                scale = net.capacity[*edge as usize];
            }
        }
        self.rate(demand, residual, latency, path.len(), scale)
    }

    /// What a demand is worth that has a path; `scale` is the capacity of its bottleneck.
    fn rate(&self, demand: u32, residual: f64, latency: f64, hops: usize, scale: f64) -> Served {
        let (fixed, unit) = (self.fixed, self.fixed.unit);
        let mut penalty = 0.0;
        if residual < -TOLERANCE * scale.max(1.0) {
            penalty += unit * (0.5 - residual / fixed.mean_bandwidth);
        }
        let bound = fixed.latency_bound[demand as usize];
        if latency > bound * (1.0 + TOLERANCE) {
            penalty += unit * (1.0 + (latency / bound.max(1e-9) - 1.0).min(10.0));
        }
        let service = Service { residual: residual.max(0.0), latency, hops };
        let value = self.objective.gain(&fixed.problem.demands()[demand as usize], service) - penalty;
        Served { residual, latency, value, broken: penalty > 0.0 }
    }
}

#[cfg(test)]
mod tests;
