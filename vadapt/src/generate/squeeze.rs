//! Tight problems: edges narrowed around a hidden solution.

use std::collections::HashMap;

use petgraph::visit::EdgeRef;

use crate::problem::{Edge, EdgeId, HostId, Problem, ProblemError};

/// Routes all demands for `mapping`, then narrows every edge that carries something until that is
/// `share` of it; a demand's latency bound grows to what its path takes.
pub(super) fn squeeze(problem: &mut Problem, mapping: &[HostId], share: f64) -> Result<(), ProblemError> {
    let mut load: HashMap<EdgeId, f64> = HashMap::new();
    for index in 0..problem.demands().len() {
        let demand = problem.demands()[index];
        let (a, b) = (mapping[demand.from.index()], mapping[demand.to.index()]);
        let graph = problem.graph();
        // Bounded demands take the fastest path, others the emptiest.
        let cost = |edge: petgraph::graph::EdgeReference<'_, Edge, u32>| match demand.latency {
            Some(_) => edge.weight().latency,
            None => 1.0 + load.get(&edge.id()).copied().unwrap_or(0.0) / edge.weight().bandwidth.max(1e-9),
        };
        let path = petgraph::algo::astar(graph, a, |host| host == b, cost, |_| 0.0);
        let Some((_, hosts)) = path else { continue };
        let edges: Vec<EdgeId> =
            hosts.windows(2).filter_map(|pair| graph.find_edge(pair[0], pair[1])).collect();
        let latency: f64 = edges.iter().map(|edge| graph[*edge].latency).sum();
        edges.iter().for_each(|edge| *load.entry(*edge).or_default() += demand.bandwidth);
        if demand.latency.is_some_and(|bound| bound < latency) {
            problem.set_demand_latency(index, Some(latency * 1.01))?;
        }
    }
    let mut load: Vec<(EdgeId, f64)> = load.into_iter().collect();
    load.sort_by_key(|(edge, _)| *edge);
    for (edge, load) in load {
        let now = problem.graph()[edge];
        problem.set_edge(edge, Edge { bandwidth: load / share.clamp(0.01, 1.0), ..now })?;
    }
    Ok(())
}
