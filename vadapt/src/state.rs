//! A solution under change: what a move costs is what it touches, not the whole solution.
//!
//! A move is *tried* (its effect on the value computed, loads changed in place), then
//! *committed* or *discarded*. States may be infeasible; what is broken is charged a graded
//! penalty, so that a search finds its way back.

mod judge;
mod outlook;

use crate::fixed::Fixed;
use crate::network::NONE;
use crate::objective::{Objective, Sense, Service};
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
    /// The resource with least left; [`NONE`] on one host.
    at: u32,
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
    /// What a Mbit/s of residual is worth to each demand, where that is always the same.
    weight: Option<Vec<f64>>,
    /// What a Mbit/s more of each resource would be worth at most: the weights of those held back there.
    held: Vec<f64>,
    glance: u32,
    glanced: Vec<u32>,
}

const UNSERVED: Served = Served { residual: 0.0, latency: 0.0, value: 0.0, at: NONE, broken: false };

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
            weight: weights(fixed, objective),
            held: vec![0.0; resources],
            glance: 0,
            glanced: vec![0; resources],
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
        self.held.fill(0.0);
        for demand in 0..paths.len() {
            let served = self.judge(demand as u32, &self.path[demand], &self.host);
            self.served[demand] = served;
            self.total += served.value;
            self.broken += usize::from(served.broken);
            if let Some(weight) = &self.weight
                && served.at != NONE
            {
                self.held[served.at as usize] += weight[demand];
            }
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

    /// What is left of a resource; negative: too much is on it.
    pub(crate) fn left(&self, resource: u32) -> f64 {
        self.fixed.net.capacity[resource as usize] - self.load[resource as usize]
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
            if let Some(weight) = &self.weight
                && before.at != served.at
            {
                let weight = weight[demand as usize];
                if before.at != NONE {
                    self.held[before.at as usize] -= weight;
                }
                if served.at != NONE {
                    self.held[served.at as usize] += weight;
                }
            }
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
}

/// What a Mbit/s of residual is worth to each demand (to maximise), if that is known and nowhere less than 0.
fn weights(fixed: &Fixed<'_>, objective: &dyn Objective) -> Option<Vec<f64>> {
    let sign = if objective.sense() == Sense::Maximise { 1.0 } else { -1.0 };
    let weight = |demand| objective.residual_weight(demand).map(|weight| sign * weight);
    let weights: Option<Vec<f64>> = fixed.problem.demands().iter().map(weight).collect();
    weights.filter(|weights| objective.is_monotone() && weights.iter().all(|weight| *weight >= 0.0))
}

#[cfg(test)]
mod tests;
