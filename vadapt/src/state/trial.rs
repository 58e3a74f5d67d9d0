//! Moves under trial: their effect is worked out in place, then kept or undone.

use crate::fixed::TOLERANCE;
use crate::network::NONE;
use crate::routes::{Query, Routes};
use crate::state::{Served, State};

/// A move under trial.
#[derive(Debug, Default)]
pub(super) struct Trial {
    pub(super) delta: f64,
    pub(super) overloaded_before: usize,
    /// VM, old host, new host.
    pub(super) shifts: Vec<(u32, u32, u32)>,
    /// Demands with a new path; `paths[i]` is that of `moved[i]`.
    pub(super) moved: Vec<u32>,
    pub(super) paths: Vec<Vec<u32>>,
    /// Resources whose load changed, with the load before.
    pub(super) loads: Vec<(u32, f64)>,
    /// Demands that are served differently.
    pub(super) served: Vec<(u32, Served)>,
}

impl State<'_> {
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

    /// Takes the demand off its path, for the time of a search for a better one: what others have
    /// then is what they can lose again. Follow with [`give_back`](Self::give_back) before
    /// anything else.
    pub(crate) fn lift(&mut self, demand: u32) {
        self.begin();
        self.demand_mark[demand as usize] = self.epoch;
        self.unload(demand);
        let mut held = std::mem::take(&mut self.trial.served);
        for (resource, before) in &self.trial.loads {
            let capacity = self.fixed.net.capacity[*resource as usize];
            for user in &self.users[*resource as usize] {
                let index = *user as usize;
                let served = self.served[index];
                let is_held_here =
                    self.residual_at(*resource, *before) <= served.residual + TOLERANCE * capacity;
                if is_held_here && self.demand_mark[index] != self.epoch {
                    self.demand_mark[index] = self.epoch;
                    held.push((*user, served));
                    self.served[index] = self.judge(*user, &self.path[index], &self.host);
                }
            }
        }
        self.trial.served = held;
    }

    /// Undoes [`lift`](Self::lift).
    pub(crate) fn give_back(&mut self) {
        for (user, served) in self.trial.served.drain(..) {
            self.served[user as usize] = served;
        }
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
            if served.broken != before.broken {
                self.broken.set(demand, served.broken);
            }
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
        self.broken.is_empty() && self.trial.overloaded_before == 0 && self.unplaced == 0
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
        self.trial.overloaded_before = self.overloaded.all().len();
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
                if (after > 0.0) != (before > 0.0) {
                    self.overloaded.set(host, after > 0.0);
                }
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
