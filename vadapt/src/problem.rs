//! The adaptation problem: hosts and edges, VMs and demands, and what is already decided.
//!
//! A [`Problem`] is valid by construction: each method that adds something checks it and
//! names the place of what is wrong, so that solvers need no checks of their own.

mod error;

use std::collections::{HashMap, HashSet};

use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};

use crate::solution::Path;

pub use error::ProblemError;

/// A host, as a node of [`Problem::graph`].
pub type HostId = NodeIndex<u32>;

/// An edge of [`Problem::graph`].
pub type EdgeId = EdgeIndex<u32>;

/// A VM: its position in [`Problem::vms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(u32);

impl VmId {
    /// The VM at `index` of [`Problem::vms`].
    pub const fn new(index: usize) -> Self {
        Self(index as u32)
    }

    /// The position in [`Problem::vms`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A machine that can run VMs.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Its name, unique among hosts.
    pub name: String,
    /// Compute capacity, in the unit of [`Vm::compute`] (percent of a core, say).
    pub compute: f64,
    /// Space for VMs, in the unit of [`Vm::size`] (GB of memory, say).
    pub size: f64,
    /// What two VMs on this host have between them, in Mbit/s. `None`: VMs that talk to
    /// each other may not share this host.
    pub internal_bandwidth: Option<f64>,
    /// Capacity of the access link towards the network, in Mbit/s, shared by all flows that
    /// leave this host, relayed ones included. `None`: only the edges limit.
    pub uplink: Option<f64>,
    /// Capacity of the access link from the network, in Mbit/s, shared by all flows that
    /// enter this host, relayed ones included. `None`: only the edges limit.
    pub downlink: Option<f64>,
}

impl Host {
    /// A host without internal bandwidth and without a limit of its access link.
    pub fn new(name: impl Into<String>, compute: f64, size: f64) -> Self {
        Self { name: name.into(), compute, size, internal_bandwidth: None, uplink: None, downlink: None }
    }

    /// The same host, whose own VMs have `mbit` Mbit/s between them.
    pub fn with_internal_bandwidth(self, mbit: f64) -> Self {
        Self { internal_bandwidth: Some(mbit), ..self }
    }

    /// The same host behind a network interface of `mbit` Mbit/s in each direction.
    pub fn with_nic(self, mbit: f64) -> Self {
        Self { uplink: Some(mbit), downlink: Some(mbit), ..self }
    }
}

/// A possible overlay hop from one host to another, with what was measured of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// Available bandwidth, in Mbit/s.
    pub bandwidth: f64,
    /// One-way latency, in microseconds.
    pub latency: f64,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Vm {
    /// Its name, unique among VMs.
    pub name: String,
    /// What it needs of [`Host::compute`].
    pub compute: f64,
    /// What it needs of [`Host::size`].
    pub size: f64,
}

impl Vm {
    /// A VM with its needs.
    pub fn new(name: impl Into<String>, compute: f64, size: f64) -> Self {
        Self { name: name.into(), compute, size }
    }
}

/// Traffic from one VM to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// The VM that sends.
    pub from: VmId,
    /// The VM that receives.
    pub to: VmId,
    /// What it needs, in Mbit/s.
    pub bandwidth: f64,
    /// The longest path that serves it, in microseconds; `None`: any.
    pub latency: Option<f64>,
}

/// What changes cost, in the unit of the objective (Mbit/s summed over demands for
/// [`ResidualBandwidth`](crate::ResidualBandwidth)): a change is worth it if it gains more.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Costs {
    /// Moving one VM.
    pub migration: f64,
    /// Adding one overlay link.
    pub link: f64,
    /// Installing one forwarding rule; a path of `k` hops that is new takes `k` rules.
    pub rule: f64,
}

/// What is in force now: the start of a re-adaptation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Current {
    /// The host of each VM.
    pub mapping: Vec<HostId>,
    /// The path of each demand, in order; `None` where a demand has no path yet.
    pub paths: Vec<Option<Path>>,
    /// The overlay links that exist, each usable in both directions. `None`: every edge
    /// of the graph counts as an existing link.
    pub links: Option<Vec<(HostId, HostId)>>,
}

/// An adaptation problem: GAPVEE, or RPVEE when [every VM is pinned](Problem::fix_mapping).
///
/// ```
/// use vadapt::{Demand, Edge, Host, Problem, Vm};
///
/// let mut problem = Problem::new();
/// let a = problem.add_host(Host::new("a", 100.0, 64.0))?;
/// let b = problem.add_host(Host::new("b", 100.0, 64.0))?;
/// problem.add_link(a, b, Edge { bandwidth: 1000.0, latency: 120.0 })?;
/// let web = problem.add_vm(Vm::new("web", 10.0, 4.0))?;
/// let db = problem.add_vm(Vm::new("db", 10.0, 4.0))?;
/// problem.add_demand(Demand { from: web, to: db, bandwidth: 50.0, latency: None })?;
/// problem.pin(web, a)?;
/// assert_eq!(problem.graph().edge_count(), 2);
/// # Ok::<(), vadapt::ProblemError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Problem {
    graph: DiGraph<Host, Edge, u32>,
    vms: Vec<Vm>,
    demands: Vec<Demand>,
    pins: Vec<Option<HostId>>,
    mapping_is_fixed: bool,
    current: Option<Current>,
    costs: Costs,
    host_names: HashMap<String, HostId>,
    vm_names: HashMap<String, VmId>,
    edges: HashSet<(HostId, HostId)>,
}

impl Problem {
    /// A problem with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The problem of a graph that exists already, as a simulator may have it.
    pub fn from_graph(graph: DiGraph<Host, Edge, u32>) -> Result<Self, ProblemError> {
        let mut problem = Self::new();
        for host in graph.node_weights() {
            problem.add_host(host.clone())?;
        }
        for edge in graph.edge_indices() {
            let (Some((from, to)), Some(weight)) = (graph.edge_endpoints(edge), graph.edge_weight(edge))
            else {
                continue;
            };
            problem.add_edge(from, to, *weight)?;
        }
        Ok(problem)
    }

    /// Adds a host.
    pub fn add_host(&mut self, host: Host) -> Result<HostId, ProblemError> {
        let place = || format!("hosts[{}] (`{}`)", self.graph.node_count(), host.name);
        check_name(&host.name, place)?;
        if let Some(first) = self.host_names.get(&host.name) {
            let first = format!("hosts[{}]", first.index());
            return Err(ProblemError::DuplicateName { place: place(), name: host.name, first });
        }
        check_figure(host.compute, "compute", place)?;
        check_figure(host.size, "size", place)?;
        check_figure(host.internal_bandwidth.unwrap_or(0.0), "internal_bandwidth", place)?;
        check_figure(host.uplink.unwrap_or(0.0), "uplink", place)?;
        check_figure(host.downlink.unwrap_or(0.0), "downlink", place)?;
        let name = host.name.clone();
        let id = self.graph.add_node(host);
        self.host_names.insert(name, id);
        Ok(id)
    }

    /// Adds the edge from `from` to `to`, one direction.
    pub fn add_edge(&mut self, from: HostId, to: HostId, edge: Edge) -> Result<EdgeId, ProblemError> {
        let place = || format!("edges[{}]", self.graph.edge_count());
        self.check_host(from, place)?;
        self.check_host(to, place)?;
        if from == to {
            return Err(ProblemError::Loop { place: place(), name: self.graph[from].name.clone() });
        }
        check_figure(edge.bandwidth, "bandwidth", place)?;
        check_figure(edge.latency, "latency", place)?;
        if self.edges.contains(&(from, to)) {
            let (from, to) = (self.graph[from].name.clone(), self.graph[to].name.clone());
            return Err(ProblemError::DuplicateEdge { place: place(), from, to });
        }
        self.edges.insert((from, to));
        Ok(self.graph.add_edge(from, to, edge))
    }

    /// Adds an edge in each direction.
    pub fn add_link(&mut self, a: HostId, b: HostId, edge: Edge) -> Result<(), ProblemError> {
        self.add_edge(a, b, edge)?;
        self.add_edge(b, a, edge)?;
        Ok(())
    }

    /// Adds a VM.
    pub fn add_vm(&mut self, vm: Vm) -> Result<VmId, ProblemError> {
        let place = || format!("vms[{}] (`{}`)", self.vms.len(), vm.name);
        check_name(&vm.name, place)?;
        if let Some(first) = self.vm_names.get(&vm.name) {
            let first = format!("vms[{}]", first.index());
            return Err(ProblemError::DuplicateName { place: place(), name: vm.name, first });
        }
        check_figure(vm.compute, "compute", place)?;
        check_figure(vm.size, "size", place)?;
        let id = VmId::new(self.vms.len());
        self.vm_names.insert(vm.name.clone(), id);
        self.vms.push(vm);
        self.pins.push(None);
        self.mapping_is_fixed = false;
        Ok(id)
    }

    /// Adds a demand and returns its position. Several between the same VMs are allowed.
    pub fn add_demand(&mut self, demand: Demand) -> Result<usize, ProblemError> {
        let place = || format!("demands[{}]", self.demands.len());
        self.check_vm(demand.from, place)?;
        self.check_vm(demand.to, place)?;
        if demand.from == demand.to {
            return Err(ProblemError::Loop { place: place(), name: self.vm(demand.from).name.clone() });
        }
        check_figure(demand.bandwidth, "bandwidth", place)?;
        check_figure(demand.latency.unwrap_or(0.0), "latency", place)?;
        self.demands.push(demand);
        Ok(self.demands.len() - 1)
    }

    /// Demands that `vm` runs on `host`.
    pub fn pin(&mut self, vm: VmId, host: HostId) -> Result<(), ProblemError> {
        self.pin_at(vm, host, "pins")
    }

    /// Fixes the host of every VM: what remains is the routing problem, RPVEE.
    pub fn fix_mapping(&mut self, mapping: &[HostId]) -> Result<(), ProblemError> {
        self.check_mapping(mapping, "mapping")?;
        for (vm, host) in mapping.iter().enumerate() {
            self.pin_at(VmId::new(vm), *host, "mapping")?;
        }
        self.mapping_is_fixed = true;
        Ok(())
    }

    /// States what is in force now. `current.paths` may be empty when nothing is routed yet.
    pub fn set_current(&mut self, mut current: Current) -> Result<(), ProblemError> {
        self.check_mapping(&current.mapping, "current.mapping")?;
        if current.paths.is_empty() {
            current.paths = vec![None; self.demands.len()];
        }
        if current.paths.len() != self.demands.len() {
            let problem = format!("has {} paths for {} demands", current.paths.len(), self.demands.len());
            return Err(ProblemError::Path { place: "current.paths".into(), problem });
        }
        for (index, path) in current.paths.iter().enumerate() {
            let Some(path) = path else { continue };
            let place = || format!("current.paths[{index}]");
            path.hosts().iter().try_for_each(|host| self.check_host(*host, place))?;
            let missing = path.hops().find(|(a, b)| !self.edges.contains(&(*a, *b)));
            if let Some((a, b)) = missing {
                let problem =
                    format!("there is no edge from `{}` to `{}`", self.graph[a].name, self.graph[b].name);
                return Err(ProblemError::Path { place: place(), problem });
            }
        }
        for (a, b) in current.links.iter().flatten() {
            self.check_host(*a, || "current.links".into())?;
            self.check_host(*b, || "current.links".into())?;
        }
        self.current = Some(current);
        Ok(())
    }

    /// States what changes cost.
    pub fn set_costs(&mut self, costs: Costs) -> Result<(), ProblemError> {
        let place = || "costs".to_owned();
        check_figure(costs.migration, "migration", place)?;
        check_figure(costs.link, "link", place)?;
        check_figure(costs.rule, "rule", place)?;
        self.costs = costs;
        Ok(())
    }

    /// Multiplies the bandwidth of every demand by `factor`: traffic matrices hold relative weights.
    pub fn scale_demands(&mut self, factor: f64) -> Result<(), ProblemError> {
        check_figure(factor, "the factor of the demands", || "demands".into())?;
        for demand in &mut self.demands {
            demand.bandwidth *= factor;
        }
        Ok(())
    }

    /// Changes the bandwidth and latency of an edge: the network was measured anew.
    ///
    /// # Panics
    ///
    /// If `edge` isn't of this problem.
    pub fn set_edge(&mut self, edge: EdgeId, new: Edge) -> Result<(), ProblemError> {
        let place = || format!("edges[{}]", edge.index());
        check_figure(new.bandwidth, "bandwidth", place)?;
        check_figure(new.latency, "latency", place)?;
        self.graph[edge] = new;
        Ok(())
    }

    /// Changes the bandwidth of a demand: the application changed.
    ///
    /// # Panics
    ///
    /// If there is no demand at `index`.
    pub fn set_demand_bandwidth(&mut self, index: usize, bandwidth: f64) -> Result<(), ProblemError> {
        check_figure(bandwidth, "bandwidth", || format!("demands[{index}]"))?;
        self.demands[index].bandwidth = bandwidth;
        Ok(())
    }

    /// Changes the latency bound of a demand; `None`: any path will do.
    ///
    /// # Panics
    ///
    /// If there is no demand at `index`.
    pub fn set_demand_latency(&mut self, index: usize, latency: Option<f64>) -> Result<(), ProblemError> {
        check_figure(latency.unwrap_or(0.0), "latency", || format!("demands[{index}]"))?;
        self.demands[index].latency = latency;
        Ok(())
    }

    /// The hosts and the edges between them.
    pub fn graph(&self) -> &DiGraph<Host, Edge, u32> {
        &self.graph
    }

    /// The VMs, in order of their ids.
    pub fn vms(&self) -> &[Vm] {
        &self.vms
    }

    /// The demands, in the order of the paths of a solution.
    pub fn demands(&self) -> &[Demand] {
        &self.demands
    }

    /// The VM with this id.
    ///
    /// # Panics
    ///
    /// If `vm` isn't of this problem.
    pub fn vm(&self, vm: VmId) -> &Vm {
        &self.vms[vm.index()]
    }

    /// The host with this id.
    ///
    /// # Panics
    ///
    /// If `host` isn't of this problem.
    pub fn host(&self, host: HostId) -> &Host {
        &self.graph[host]
    }

    /// The host to which `vm` is pinned, if it is.
    pub fn pinned(&self, vm: VmId) -> Option<HostId> {
        self.pins.get(vm.index()).copied().flatten()
    }

    /// Whether the mapping was given as a whole, so that only routes are to be found.
    pub fn mapping_is_fixed(&self) -> bool {
        self.mapping_is_fixed
    }

    /// What is in force now, if known.
    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// What changes cost.
    pub fn costs(&self) -> Costs {
        self.costs
    }

    /// The host with this name.
    pub fn host_named(&self, name: &str) -> Option<HostId> {
        self.host_names.get(name).copied()
    }

    /// The VM with this name.
    pub fn vm_named(&self, name: &str) -> Option<VmId> {
        self.vm_names.get(name).copied()
    }

    fn pin_at(&mut self, vm: VmId, host: HostId, place: &str) -> Result<(), ProblemError> {
        self.check_vm(vm, || place.into())?;
        self.check_host(host, || place.into())?;
        match self.pins[vm.index()] {
            Some(first) if first != host => Err(ProblemError::PinConflict {
                place: place.into(),
                vm: self.vm(vm).name.clone(),
                first: self.graph[first].name.clone(),
                second: self.graph[host].name.clone(),
            }),
            _ => {
                self.pins[vm.index()] = Some(host);
                Ok(())
            }
        }
    }

    fn check_mapping(&self, mapping: &[HostId], place: &str) -> Result<(), ProblemError> {
        if let Some(vm) = self.vms.get(mapping.len()) {
            return Err(ProblemError::Incomplete { place: place.into(), vm: vm.name.clone() });
        }
        if mapping.len() > self.vms.len() {
            let name = self.vms.len().to_string();
            return Err(ProblemError::Unknown { place: place.into(), kind: "VM", name });
        }
        mapping.iter().try_for_each(|host| self.check_host(*host, || place.into()))
    }

    fn check_host(&self, host: HostId, place: impl Fn() -> String) -> Result<(), ProblemError> {
        if host.index() < self.graph.node_count() {
            return Ok(());
        }
        Err(ProblemError::Unknown { place: place(), kind: "host", name: host.index().to_string() })
    }

    fn check_vm(&self, vm: VmId, place: impl Fn() -> String) -> Result<(), ProblemError> {
        if vm.index() < self.vms.len() {
            return Ok(());
        }
        Err(ProblemError::Unknown { place: place(), kind: "VM", name: vm.index().to_string() })
    }
}

fn check_name(name: &str, place: impl Fn() -> String) -> Result<(), ProblemError> {
    if name.is_empty() { Err(ProblemError::EmptyName { place: place() }) } else { Ok(()) }
}

fn check_figure(value: f64, what: &'static str, place: impl Fn() -> String) -> Result<(), ProblemError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(ProblemError::Figure { place: place(), what, value })
}
