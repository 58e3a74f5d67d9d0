//! Applications: VMs and the demands between them.

use std::collections::BTreeSet;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::generate::Generate;
use crate::problem::{Demand, Problem, ProblemError, Vm, VmId};

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

/// Adds VMs and demands to `problem`, which has its network.
pub(super) fn build(
    what: &Generate,
    rng: &mut Xoshiro256PlusPlus,
    problem: &mut Problem,
) -> Result<(), ProblemError> {
    let count = what.vms.max(2);
    let hosts: Vec<_> = problem.graph().node_weights().collect();
    let compute: f64 = hosts.iter().map(|host| host.compute).sum::<f64>() * what.fill / count as f64;
    let size: f64 = hosts.iter().map(|host| host.size).sum::<f64>() * what.fill / count as f64;
    // No VM larger than half of the smallest host, so that room for all is easily found.
    let least = |of: fn(&crate::problem::Host) -> f64| {
        hosts.iter().map(|host| of(host)).fold(f64::INFINITY, f64::min)
    };
    let (compute, size) = (compute.min(least(|h| h.compute) / 3.0), size.min(least(|h| h.size) / 3.0));
    for index in 0..count {
        let share = rng.random_range(0.5..1.5);
        problem.add_vm(Vm::new(format!("vm{index}"), compute * share, size * rng.random_range(0.5..1.5)))?;
    }
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
    Ok(())
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
