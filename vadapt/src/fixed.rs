//! A problem as flat arrays: what never changes during a search.

use crate::network::{NONE, Network};
use crate::objective::{Objective, Service};
use crate::problem::{Problem, VmId};

/// An overload of less than this fraction of a capacity is rounding.
pub(crate) const TOLERANCE: f64 = 1e-10;

/// What never changes during a search.
#[derive(Debug)]
pub(crate) struct Fixed<'p> {
    pub(crate) problem: &'p Problem,
    pub(crate) net: Network,
    /// Source VM, destination VM, bandwidth and latency bound of each demand.
    pub(crate) from: Vec<u32>,
    pub(crate) to: Vec<u32>,
    pub(crate) bandwidth: Vec<f64>,
    pub(crate) latency_bound: Vec<f64>,
    /// Demands of each VM, as source or destination.
    pub(crate) demands_of: Vec<Vec<u32>>,
    pub(crate) has_latency_bounds: bool,
    /// The pinned host of each VM, or [`NONE`].
    pub(crate) pin: Vec<u32>,
    /// VMs that may move.
    pub(crate) movable: Vec<u32>,
    /// Compute and size that each VM needs and each host has.
    pub(crate) need: Vec<[f64; 2]>,
    pub(crate) room: Vec<[f64; 2]>,
    /// Mean need of a VM, the measure of an overloaded host.
    mean_need: [f64; 2],
    /// Where each VM is now, or [`NONE`]; elsewhere it costs `move_cost`.
    pub(crate) home: Vec<u32>,
    pub(crate) move_cost: f64,
    /// The unit of penalties: more than any one demand can be worth.
    pub(crate) unit: f64,
    /// Mean bandwidth of a demand, the measure of an overloaded edge.
    pub(crate) mean_bandwidth: f64,
}

impl<'p> Fixed<'p> {
    pub(crate) fn new(problem: &'p Problem, objective: &dyn Objective) -> Self {
        let net = Network::new(problem);
        let demands = problem.demands();
        let mut demands_of = vec![Vec::new(); problem.vms().len()];
        for (index, demand) in demands.iter().enumerate() {
            demands_of[demand.from.index()].push(index as u32);
            demands_of[demand.to.index()].push(index as u32);
        }
        let vms = problem.vms();
        let pinned = |vm: usize| problem.pinned(VmId::new(vm));
        let pin: Vec<u32> = (0..vms.len()).map(|vm| pinned(vm).map_or(NONE, |h| h.index() as u32)).collect();
        let need: Vec<[f64; 2]> = vms.iter().map(|vm| [vm.compute, vm.size]).collect();
        let mean = |of: &dyn Fn(&[f64; 2]) -> f64| {
            (need.iter().map(of).sum::<f64>() / need.len().max(1) as f64).max(1e-9)
        };
        let widest = net.capacity.iter().chain(&net.internal).fold(1e-9, |a: f64, b| a.max(*b));
        let best = Service { residual: widest, latency: 0.0, hops: 0 };
        let worth = demands.iter().map(|demand| objective.value(demand, best).abs()).fold(1e-9, f64::max);
        let mean_bandwidth = demands.iter().map(|d| d.bandwidth).sum::<f64>() / demands.len().max(1) as f64;
        Self {
            from: demands.iter().map(|d| d.from.index() as u32).collect(),
            to: demands.iter().map(|d| d.to.index() as u32).collect(),
            bandwidth: demands.iter().map(|d| d.bandwidth).collect(),
            latency_bound: demands.iter().map(|d| d.latency.unwrap_or(f64::INFINITY)).collect(),
            has_latency_bounds: demands.iter().any(|d| d.latency.is_some()),
            demands_of,
            movable: (0..vms.len() as u32).filter(|vm| pin[*vm as usize] == NONE).collect(),
            pin,
            mean_need: [mean(&|n| n[0]), mean(&|n| n[1])],
            room: problem.graph().node_weights().map(|host| [host.compute, host.size]).collect(),
            home: vec![NONE; need.len()],
            move_cost: 0.0,
            need,
            unit: worth,
            mean_bandwidth: mean_bandwidth.max(1e-9),
            net,
            problem,
        }
    }

    /// What it costs to have `vm` on `host`.
    pub(crate) fn distance_from_home(&self, vm: u32, host: u32) -> f64 {
        let home = self.home[vm as usize];
        if home == NONE || host == NONE || home == host { 0.0 } else { self.move_cost }
    }

    /// What a resource is charged that carries `load`: for each Mbit/s too much, the more the more demands
    /// share it.
    pub(crate) fn overload_penalty(&self, resource: u32, load: f64) -> f64 {
        let capacity = self.net.capacity[resource as usize];
        let over = load - capacity;
        if over > TOLERANCE * capacity.max(1.0) {
            let users = (load / self.mean_bandwidth).max(1.0);
            self.unit * (4.0 + users * (0.5 + over / self.mean_bandwidth))
        } else {
            0.0
        }
    }

    /// What a host is charged whose VMs need `used`.
    pub(crate) fn host_penalty(&self, host: u32, used: [f64; 2]) -> f64 {
        let room = self.room[host as usize];
        let mut penalty = 0.0;
        for kind in 0..2 {
            let over = used[kind] - room[kind];
            if over > TOLERANCE * room[kind].max(1.0) {
                penalty += self.unit * (2.0 + 4.0 * over / self.mean_need[kind]);
            }
        }
        penalty
    }
}
