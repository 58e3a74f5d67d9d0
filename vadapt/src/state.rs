//! A solution under change: what a move costs is what it touches, not the whole solution.
//!
//! A move is *tried* (its effect on the value computed, loads changed in place), then
//! *committed* or *discarded*. States may be infeasible; what is broken is charged a graded
//! penalty, so that a search finds its way back.

mod judge;
mod marked;
mod outlook;
mod trial;

use crate::fixed::{Fixed, TOLERANCE};
use crate::network::NONE;
use crate::objective::{Objective, Sense, Service};
use crate::problem::HostId;
use crate::solution::{Path, Solution};

use marked::Marked;
use trial::Trial;

/// How a demand is served in a state.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Served {
    /// [`BROKEN`] wherever anything on the path carries too much.
    residual: f64,
    latency: f64,
    /// The value to maximise, penalties included.
    value: f64,
    /// The resource with least left; [`NONE`] on one host.
    at: u32,
    broken: bool,
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
    /// Demands that lack something.
    broken: Marked,
    /// Hosts with too much on them.
    overloaded: Marked,
    /// VMs without a host.
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

/// The residual of whoever uses something that carries too much. How much too much is charged once for the
/// resource, so that the cost of a move there doesn't grow with its users.
const BROKEN: f64 = -1.0;

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
            broken: Marked::new(demands),
            overloaded: Marked::new(fixed.net.hosts),
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
        self.overloaded.clear();
        self.total = 0.0;
        for host in 0..self.fixed.net.hosts as u32 {
            let penalty = self.fixed.host_penalty(host, self.used[host as usize]);
            self.overloaded.set(host, penalty > 0.0);
            self.total -= penalty;
        }
        self.unplaced = host.iter().filter(|host| **host == NONE).count();
        let loads = (0..).zip(&self.load);
        self.total -= loads.map(|(resource, load)| self.fixed.overload_penalty(resource, *load)).sum::<f64>();
        let vms = (0..).zip(&self.host);
        self.total -= vms.map(|(vm, host)| self.fixed.distance_from_home(vm, *host)).sum::<f64>();
        self.broken.clear();
        self.held.fill(0.0);
        for demand in 0..paths.len() {
            let served = self.judge(demand as u32, &self.path[demand], &self.host);
            self.served[demand] = served;
            self.total += served.value;
            self.broken.set(demand as u32, served.broken);
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
        self.broken.is_empty() && self.overloaded.is_empty() && self.unplaced == 0
    }

    /// Whether the VMs of `host` need more than it has.
    pub(crate) fn is_overloaded(&self, host: u32) -> bool {
        self.fixed.host_penalty(host, self.used[host as usize]) > 0.0
    }

    /// What is left of a resource; negative: too much is on it.
    pub(crate) fn left(&self, resource: u32) -> f64 {
        self.fixed.net.capacity[resource as usize] - self.load[resource as usize]
    }

    /// What whoever uses a resource with so much `load` has there.
    fn residual_at(&self, resource: u32, load: f64) -> f64 {
        let capacity = self.fixed.net.capacity[resource as usize];
        let left = capacity - load;
        if left < -TOLERANCE * capacity.max(1.0) { BROKEN } else { left }
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

    /// Demands that lack something, in no order.
    pub(crate) fn broken(&self) -> &[u32] {
        self.broken.all()
    }

    /// Hosts whose VMs need more than they have, in no order.
    pub(crate) fn overloaded(&self) -> &[u32] {
        self.overloaded.all()
    }

    /// The resource with least left on the path of `demand`; [`NONE`] without a path.
    pub(crate) fn bottleneck(&self, demand: u32) -> u32 {
        self.served[demand as usize].at
    }

    /// Demands over `resource`, once per hop that uses it.
    pub(crate) fn users(&self, resource: u32) -> &[u32] {
        &self.users[resource as usize]
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
