//! An independent judge of solutions.
//!
//! Shares no code with the solvers: everything is computed anew from the problem, in the
//! plainest way. What it accepts is feasible and has the objective that it states.

use std::collections::{HashMap, HashSet};

use crate::objective::{Objective, Service};
use crate::problem::{HostId, Problem, VmId};
use crate::solution::Solution;

/// How much a capacity may be exceeded for rounding: this fraction of it.
const TOLERANCE: f64 = 1e-9;

/// One way in which a solution breaks its problem.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the figures of the message above each variant")]
pub enum Violation {
    /// The mapping has the wrong number of hosts.
    #[error("mapping: has {found} hosts for {expected} VMs")]
    MappingLength { found: usize, expected: usize },
    /// A VM is on a host that doesn't exist.
    #[error("mapping[`{vm}`]: there is no host with index {host}")]
    UnknownHost { vm: String, host: usize },
    /// A pinned VM is elsewhere.
    #[error("mapping[`{vm}`]: is on `{host}` but pinned to `{pinned}`")]
    Pin { vm: String, host: String, pinned: String },
    /// The VMs on a host need more compute than it has.
    #[error("host `{host}`: its VMs need compute {used} of {capacity}")]
    Compute { host: String, used: f64, capacity: f64 },
    /// The VMs on a host need more space than it has.
    #[error("host `{host}`: its VMs need size {used} of {capacity}")]
    Size { host: String, used: f64, capacity: f64 },
    /// VMs that talk share a host without internal bandwidth.
    #[error("demands[{demand}]: `{from}` and `{to}` share `{host}`, which has no internal bandwidth")]
    Internal { demand: usize, from: String, to: String, host: String },
    /// There are too few or too many paths.
    #[error("paths: has {found} paths for {expected} demands")]
    PathCount { found: usize, expected: usize },
    /// A path names a host that doesn't exist.
    #[error("paths[{demand}]: there is no host with index {host}")]
    UnknownPathHost { demand: usize, host: usize },
    /// A path has no hosts though its VMs are apart.
    #[error("paths[{demand}]: is empty, but `{from}` is on `{from_host}` and `{to}` on `{to_host}`")]
    EmptyPath { demand: usize, from: String, from_host: String, to: String, to_host: String },
    /// A path doesn't start at the host of the source.
    #[error("paths[{demand}]: starts at `{start}`, but `{from}` is on `{host}`")]
    PathStart { demand: usize, start: String, from: String, host: String },
    /// A path doesn't end at the host of the destination.
    #[error("paths[{demand}]: ends at `{end}`, but `{to}` is on `{host}`")]
    PathEnd { demand: usize, end: String, to: String, host: String },
    /// A path uses an edge that doesn't exist.
    #[error("paths[{demand}]: there is no edge from `{from}` to `{to}`")]
    NoEdge { demand: usize, from: String, to: String },
    /// A path passes a host twice.
    #[error("paths[{demand}]: passes `{host}` twice")]
    Cycle { demand: usize, host: String },
    /// A path takes longer than the demand allows.
    #[error("paths[{demand}]: takes {latency} us, but at most {limit} us are allowed")]
    Latency { demand: usize, latency: f64, limit: f64 },
    /// The demands over an edge need more than it has.
    #[error("edge `{from}` -> `{to}`: carries {load} Mbit/s of {capacity}")]
    Bandwidth { from: String, to: String, load: f64, capacity: f64 },
    /// The demands that leave a host need more than its uplink has.
    #[error("host `{host}`: its uplink carries {load} Mbit/s of {capacity}")]
    Uplink { host: String, load: f64, capacity: f64 },
    /// The demands that enter a host need more than its downlink has.
    #[error("host `{host}`: its downlink carries {load} Mbit/s of {capacity}")]
    Downlink { host: String, load: f64, capacity: f64 },
    /// The stated objective isn't that of the solution.
    #[error("objective: {stated} is stated, but the value is {actual}")]
    Objective { stated: f64, actual: f64 },
    /// The objective is better than the bound that should hold for every solution.
    #[error("bound: {bound} is stated, but the solution reaches {objective}")]
    Bound { bound: f64, objective: f64 },
}

/// What a feasible solution gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The value of the objective, computed here.
    pub objective: f64,
    /// What each demand gets, in order.
    pub services: Vec<Service>,
}

/// Checks `solution` against `problem`: mapping, pins, host capacities, paths, latency
/// bounds, edge and access link capacities, and the stated objective and bound.
///
/// # Errors
///
/// Everything that is broken, first the mapping, then the paths, then capacities, then the
/// stated figures. Where the mapping or a path is malformed, what depends on it isn't judged.
///
/// ```
/// use vadapt::{Path, Problem, ResidualBandwidth, Solution, verify::verify};
///
/// let problem = Problem::from_json(r#"{
///     "hosts": [{"name": "a", "compute": 1, "size": 1}, {"name": "b", "compute": 1, "size": 1}],
///     "edges": [{"from": "a", "to": "b", "bandwidth": 100, "latency": 10}],
///     "vms": [{"name": "x", "compute": 1, "size": 1}, {"name": "y", "compute": 1, "size": 1}],
///     "demands": [{"from": "x", "to": "y", "bandwidth": 30}]
/// }"#)?;
/// let mapping = vec![problem.host_named("a").unwrap(), problem.host_named("b").unwrap()];
/// let paths = vec![Path::new(mapping.clone())];
/// let solution = Solution { mapping, paths, objective: 70.0, bound: None };
/// assert_eq!(verify(&problem, &solution, &ResidualBandwidth).unwrap().objective, 70.0);
/// # Ok::<(), vadapt::ProblemError>(())
/// ```
pub fn verify(
    problem: &Problem,
    solution: &Solution,
    objective: &dyn Objective,
) -> Result<Verified, Vec<Violation>> {
    let mut broken = Vec::new();
    check_mapping(problem, solution, &mut broken);
    if broken.iter().any(|v| matches!(v, Violation::MappingLength { .. } | Violation::UnknownHost { .. })) {
        return Err(broken);
    }
    let before = broken.len();
    check_paths(problem, solution, &mut broken);
    let malformed = |v: &Violation| !matches!(v, Violation::Latency { .. } | Violation::Internal { .. });
    if broken[before..].iter().any(malformed) {
        return Err(broken);
    }
    let loads = Loads::of(problem, solution);
    loads.check(problem, &mut broken);
    if !broken.is_empty() {
        return Err(broken);
    }
    let services = services(problem, solution, &loads);
    let pairs = problem.demands().iter().zip(&services);
    let value: f64 = pairs.map(|(demand, service)| objective.value(demand, *service)).sum();
    check_figures(solution, objective, value, &mut broken);
    if broken.is_empty() { Ok(Verified { objective: value, services }) } else { Err(broken) }
}

fn check_mapping(problem: &Problem, solution: &Solution, broken: &mut Vec<Violation>) {
    let (found, expected) = (solution.mapping.len(), problem.vms().len());
    if found != expected {
        broken.push(Violation::MappingLength { found, expected });
        return;
    }
    let hosts = problem.graph().node_count();
    let mut used: HashMap<HostId, (f64, f64)> = HashMap::new();
    for (index, (vm, host)) in problem.vms().iter().zip(&solution.mapping).enumerate() {
        if host.index() >= hosts {
            broken.push(Violation::UnknownHost { vm: vm.name.clone(), host: host.index() });
            continue;
        }
        let entry = used.entry(*host).or_default();
        entry.0 += vm.compute;
        entry.1 += vm.size;
        if let Some(pinned) = problem.pinned(VmId::new(index)).filter(|pinned| pinned != host) {
            let (host, pinned) = (name(problem, *host), name(problem, pinned));
            broken.push(Violation::Pin { vm: vm.name.clone(), host, pinned });
        }
    }
    let mut used: Vec<_> = used.into_iter().collect();
    used.sort_by_key(|(host, _)| *host);
    for (id, (compute, size)) in used {
        let host = problem.host(id);
        if exceeds(compute, host.compute) {
            let (host, capacity) = (host.name.clone(), host.compute);
            broken.push(Violation::Compute { host, used: compute, capacity });
        }
        if exceeds(size, host.size) {
            let (host, capacity) = (host.name.clone(), host.size);
            broken.push(Violation::Size { host, used: size, capacity });
        }
    }
}

fn check_paths(problem: &Problem, solution: &Solution, broken: &mut Vec<Violation>) {
    let (found, expected) = (solution.paths.len(), problem.demands().len());
    if found != expected {
        broken.push(Violation::PathCount { found, expected });
        return;
    }
    for (index, path) in solution.paths.iter().enumerate() {
        check_path(problem, solution, index, path.hosts(), broken);
    }
}

fn check_path(
    problem: &Problem,
    solution: &Solution,
    demand: usize,
    path: &[HostId],
    broken: &mut Vec<Violation>,
) {
    let asked = &problem.demands()[demand];
    let (from, to) = (problem.vm(asked.from).name.clone(), problem.vm(asked.to).name.clone());
    let (start, end) = (solution.host_of(asked.from), solution.host_of(asked.to));
    if let Some(unknown) = path.iter().find(|host| host.index() >= problem.graph().node_count()) {
        broken.push(Violation::UnknownPathHost { demand, host: unknown.index() });
        return;
    }
    let (Some(first), Some(last)) = (path.first(), path.last()) else {
        if start != end {
            let (from_host, to_host) = (name(problem, start), name(problem, end));
            broken.push(Violation::EmptyPath { demand, from, from_host, to, to_host });
        } else if problem.host(start).internal_bandwidth.is_none() {
            broken.push(Violation::Internal { demand, from, to, host: name(problem, start) });
        }
        return;
    };
    if *first != start {
        let (start, host) = (name(problem, *first), name(problem, start));
        broken.push(Violation::PathStart { demand, start, from: from.clone(), host });
    }
    if *last != end {
        let (end, host) = (name(problem, *last), name(problem, end));
        broken.push(Violation::PathEnd { demand, end, to: to.clone(), host });
    }
    let mut seen = HashSet::new();
    if let Some(twice) = path.iter().find(|host| !seen.insert(**host)) {
        broken.push(Violation::Cycle { demand, host: name(problem, *twice) });
    }
    let mut latency = 0.0;
    for pair in path.windows(2) {
        match problem.graph().find_edge(pair[0], pair[1]) {
            Some(edge) => latency += problem.graph()[edge].latency,
            None => {
                let (from, to) = (name(problem, pair[0]), name(problem, pair[1]));
                broken.push(Violation::NoEdge { demand, from, to });
            }
        }
    }
    if let Some(limit) = asked.latency.filter(|limit| exceeds(latency, *limit)) {
        broken.push(Violation::Latency { demand, latency, limit });
    }
    if start == end && problem.host(start).internal_bandwidth.is_none() {
        broken.push(Violation::Internal { demand, from, to, host: name(problem, start) });
    }
}

/// What edges and access links carry.
struct Loads {
    edge: HashMap<(HostId, HostId), f64>,
    up: HashMap<HostId, f64>,
    down: HashMap<HostId, f64>,
}

impl Loads {
    fn of(problem: &Problem, solution: &Solution) -> Self {
        let mut loads = Self { edge: HashMap::new(), up: HashMap::new(), down: HashMap::new() };
        for (demand, path) in problem.demands().iter().zip(&solution.paths) {
            for pair in path.hosts().windows(2) {
                *loads.edge.entry((pair[0], pair[1])).or_default() += demand.bandwidth;
                *loads.up.entry(pair[0]).or_default() += demand.bandwidth;
                *loads.down.entry(pair[1]).or_default() += demand.bandwidth;
            }
        }
        loads
    }

    fn check(&self, problem: &Problem, broken: &mut Vec<Violation>) {
        let graph = problem.graph();
        let mut edges: Vec<_> = self.edge.iter().collect();
        edges.sort_by_key(|(ends, _)| **ends);
        for ((from, to), load) in edges {
            let capacity = edge_bandwidth(problem, *from, *to);
            if exceeds(*load, capacity) {
                let (from, to) = (name(problem, *from), name(problem, *to));
                broken.push(Violation::Bandwidth { from, to, load: *load, capacity });
            }
        }
        for host in graph.node_indices() {
            let (load, limit) = (self.up.get(&host).copied().unwrap_or(0.0), problem.host(host).uplink);
            if let Some(capacity) = limit.filter(|limit| exceeds(load, *limit)) {
                broken.push(Violation::Uplink { host: name(problem, host), load, capacity });
            }
            let (load, limit) = (self.down.get(&host).copied().unwrap_or(0.0), problem.host(host).downlink);
            if let Some(capacity) = limit.filter(|limit| exceeds(load, *limit)) {
                broken.push(Violation::Downlink { host: name(problem, host), load, capacity });
            }
        }
    }

    /// What is left for a hop, access links included.
    fn residual(&self, problem: &Problem, from: HostId, to: HostId) -> f64 {
        let load = self.edge.get(&(from, to)).copied().unwrap_or(0.0);
        let edge = edge_bandwidth(problem, from, to) - load;
        let up =
            problem.host(from).uplink.unwrap_or(f64::INFINITY) - self.up.get(&from).copied().unwrap_or(0.0);
        let down =
            problem.host(to).downlink.unwrap_or(f64::INFINITY) - self.down.get(&to).copied().unwrap_or(0.0);
        edge.min(up).min(down).max(0.0)
    }
}

fn services(problem: &Problem, solution: &Solution, loads: &Loads) -> Vec<Service> {
    let service = |(demand, path): (usize, &[HostId])| {
        let host = solution.host_of(problem.demands()[demand].from);
        if path.len() < 2 {
            let residual = problem.host(host).internal_bandwidth.unwrap_or(0.0);
            return Service { residual, latency: 0.0, hops: 0 };
        }
        let mut service = Service { residual: f64::INFINITY, latency: 0.0, hops: path.len() - 1 };
        for pair in path.windows(2) {
            service.residual = service.residual.min(loads.residual(problem, pair[0], pair[1]));
            let edge = problem.graph().find_edge(pair[0], pair[1]);
            service.latency += edge.map_or(0.0, |edge| problem.graph()[edge].latency);
        }
        service
    };
    solution.paths.iter().map(|path| path.hosts()).enumerate().map(service).collect()
}

fn check_figures(solution: &Solution, objective: &dyn Objective, value: f64, broken: &mut Vec<Violation>) {
    let slack = 1e-6 * value.abs().max(1.0);
    let stated = solution.objective;
    if !(stated - value).abs().le(&slack) {
        broken.push(Violation::Objective { stated, actual: value });
    }
    let Some(bound) = solution.bound else { return };
    let holds = match objective.sense() {
        crate::objective::Sense::Maximise => bound >= value - slack,
        crate::objective::Sense::Minimise => bound <= value + slack,
    };
    if !holds || bound.is_nan() {
        broken.push(Violation::Bound { bound, objective: value });
    }
}

fn exceeds(used: f64, capacity: f64) -> bool {
    used > capacity + TOLERANCE * capacity.max(1.0)
}

fn edge_bandwidth(problem: &Problem, from: HostId, to: HostId) -> f64 {
    let edge = problem.graph().find_edge(from, to);
    edge.map_or(0.0, |edge| problem.graph()[edge].bandwidth)
}

fn name(problem: &Problem, host: HostId) -> String {
    problem.host(host).name.clone()
}
