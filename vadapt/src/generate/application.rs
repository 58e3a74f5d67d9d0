//! Applications: VMs and the demands between them.

use std::collections::BTreeSet;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::generate::Generate;
use crate::problem::{Demand, Host, HostId, Problem, ProblemError, Vm, VmId};

/// Who talks to whom; those of the BSP generator `patterns`, and random ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ApplicationShape {
    /// Each VM with the next and the one before.
    Bus,
    /// A bus whose ends are joined.
    Ring,
    /// A grid with neighbours in two dimensions, as square as the number of VMs allows.
    Mesh,
    /// A mesh whose opposite ends are joined.
    Torus,
    /// Neighbours differ in one bit of their number.
    Hypercube,
    /// Each VM with its parent and its children.
    BinaryTree,
    /// Everybody with everybody.
    AllToAll,
    /// A random connected graph with this mean number of partners.
    Random {
        /// Mean number of partners of a VM.
        degree: f64,
    },
}

/// Above this fill, VMs are cut from the hosts.
const TIGHT: f64 = 0.75;

/// Adds VMs and demands to `problem`, which has its network; returns a mapping that has room.
pub(super) fn build(
    what: &Generate,
    rng: &mut Xoshiro256PlusPlus,
    problem: &mut Problem,
) -> Result<Vec<HostId>, ProblemError> {
    let count = what.vms.max(2);
    let mapping = if what.fill > TIGHT { cut(what, rng, problem)? } else { loose(what, rng, problem)? };
    let mut widths: Vec<f64> = problem.graph().edge_weights().map(|edge| edge.bandwidth).collect();
    widths.sort_by(f64::total_cmp);
    let mean = what.load * widths.get(widths.len() / 2).copied().unwrap_or(1.0);
    let latencies = if what.latency_bounds { latencies(problem) } else { Vec::new() };
    let median = latencies.get(latencies.len() / 2).copied().unwrap_or(0.0);
    for (a, b) in pairs(what.application, count, rng) {
        for (from, to) in [(a, b), (b, a)] {
            let bandwidth = mean * rng.random_range(0.2..1.8);
            let latency = what.latency_bounds.then(|| median * rng.random_range(0.5..2.0));
            problem.add_demand(Demand { from: VmId::new(from), to: VmId::new(to), bandwidth, latency })?;
        }
    }
    Ok(mapping)
}

/// Hosts with compute; the others are switches.
fn machines(problem: &Problem) -> Vec<HostId> {
    problem.graph().node_indices().filter(|host| problem.host(*host).compute > 0.0).collect()
}

/// VMs of which none is larger than half of the smallest host, so that room for all is easily found.
fn loose(
    what: &Generate,
    rng: &mut Xoshiro256PlusPlus,
    problem: &mut Problem,
) -> Result<Vec<HostId>, ProblemError> {
    let (count, hosts) = (what.vms.max(2), machines(problem));
    let mean = |of: fn(&Host) -> f64| {
        let all = || hosts.iter().map(|host| of(problem.host(*host)));
        let least = all().fold(f64::INFINITY, f64::min);
        (all().sum::<f64>() * what.fill / count as f64).min(least / 3.0)
    };
    let (compute, size) = (mean(|host| host.compute), mean(|host| host.size));
    for index in 0..count {
        let share = rng.random_range(0.5..1.5);
        problem.add_vm(Vm::new(format!("vm{index}"), compute * share, size * rng.random_range(0.5..1.5)))?;
    }
    // First fit; with so little in each host it hardly ever fails, and the last takes what is left.
    let mut left: Vec<[f64; 2]> =
        hosts.iter().map(|host| [problem.host(*host).compute, problem.host(*host).size]).collect();
    let mut mapping = Vec::with_capacity(count);
    let start = rng.random_range(0..hosts.len());
    for vm in problem.vms() {
        let fits = |at: &usize| left[*at][0] >= vm.compute && left[*at][1] >= vm.size;
        let at = (0..hosts.len()).map(|i| (start + i) % hosts.len()).find(fits).unwrap_or(start);
        left[at] = [left[at][0] - vm.compute, left[at][1] - vm.size];
        mapping.push(hosts[at]);
    }
    Ok(mapping)
}

/// VMs that together need `fill` of every host, cut from the hosts in turn.
fn cut(
    what: &Generate,
    rng: &mut Xoshiro256PlusPlus,
    problem: &mut Problem,
) -> Result<Vec<HostId>, ProblemError> {
    let mut hosts = machines(problem);
    for at in (1..hosts.len()).rev() {
        hosts.swap(at, rng.random_range(0..=at));
    }
    let count = what.vms.max(2);
    let mapping: Vec<HostId> = (0..count).map(|vm| hosts[vm % hosts.len()]).collect();
    let shares: Vec<[f64; 2]> =
        (0..count).map(|_| [rng.random_range(0.5..1.5), rng.random_range(0.5..1.5)]).collect();
    for (index, host) in mapping.iter().enumerate() {
        let all = (0..count).filter(|other| mapping[*other] == *host);
        let sum = all.fold([0.0; 2], |sum, other| [sum[0] + shares[other][0], sum[1] + shares[other][1]]);
        let host = problem.host(*host);
        let compute = what.fill * host.compute * shares[index][0] / sum[0];
        let size = what.fill * host.size * shares[index][1] / sum[1];
        problem.add_vm(Vm::new(format!("vm{index}"), compute, size))?;
    }
    Ok(mapping)
}

/// Pairs that talk, each once.
fn pairs(shape: ApplicationShape, count: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<(usize, usize)> {
    let mut pairs = BTreeSet::new();
    let mut add = |a: usize, b: usize| {
        if a != b {
            pairs.insert((a.min(b), a.max(b)));
        }
    };
    match shape {
        ApplicationShape::Bus => (1..count).for_each(|b| add(b - 1, b)),
        ApplicationShape::Ring => (0..count).for_each(|a| add(a, (a + 1) % count)),
        ApplicationShape::Mesh | ApplicationShape::Torus => {
            let columns =
                (1..=count).filter(|c| count.is_multiple_of(*c) && c * c <= count).max().unwrap_or(1);
            let rows = count / columns;
            let wraps = shape == ApplicationShape::Torus;
            for index in 0..count {
                let (row, column) = (index / columns, index % columns);
                if column + 1 < columns || wraps {
                    add(index, row * columns + (column + 1) % columns);
                }
                if row + 1 < rows || wraps {
                    add(index, (row + 1) % rows * columns + column);
                }
            }
        }
        ApplicationShape::Hypercube => {
            let bits = usize::BITS - count.leading_zeros();
            for a in 0..count {
                (0..bits).map(|bit| a ^ (1 << bit)).filter(|b| *b < count).for_each(|b| add(a, b));
            }
        }
        ApplicationShape::BinaryTree => (1..count).for_each(|b| add((b - 1) / 2, b)),
        ApplicationShape::AllToAll => (0..count).for_each(|a| (0..a).for_each(|b| add(a, b))),
        ApplicationShape::Random { degree } => {
            (1..count).for_each(|b| add(rng.random_range(0..b), b));
            let most = count * (count - 1) / 2;
            let wanted = ((degree * count as f64 / 2.0) as usize).clamp(count - 1, most);
            while pairs.len() < wanted {
                let (a, b) = (rng.random_range(0..count), rng.random_range(0..count));
                if a != b {
                    pairs.insert((a.min(b), a.max(b)));
                }
            }
        }
    }
    pairs.into_iter().collect()
}

/// Latencies of the fastest paths from a few hosts to all others, sorted.
fn latencies(problem: &Problem) -> Vec<f64> {
    let graph = problem.graph();
    let few = graph.node_indices().step_by((graph.node_count() / 32).max(1));
    let mut latencies: Vec<f64> = few
        .flat_map(|host| {
            let all = petgraph::algo::dijkstra(graph, host, None, |edge| edge.weight().latency);
            all.into_values().filter(|latency| *latency > 0.0)
        })
        .collect();
    latencies.sort_by(f64::total_cmp);
    latencies
}
