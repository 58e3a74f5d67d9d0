//! The JSON form of problems and solutions.
//!
//! `bandwidth`, `internal_bandwidth`, `uplink` and `downlink` are in Mbit/s, `latency` in
//! microseconds, `compute` and `size` in any unit, the same for hosts and VMs.
//!
//! ```json
//! {"hosts": [{"name": "h0", "compute": 100, "size": 64, "internal_bandwidth": 10000,
//!             "uplink": 1000, "downlink": 1000}],
//!  "edges": [{"from": "h0", "to": "h1", "bandwidth": 1000, "latency": 120}],
//!  "vms": [{"name": "vm0", "compute": 10, "size": 4}],
//!  "demands": [{"from": "vm0", "to": "vm1", "bandwidth": 50, "latency": 2000}],
//!  "pins": {"vm0": "h0"},
//!  "mapping": null,
//!  "current": {"mapping": {"vm0": "h0"}, "paths": [["h0", "h1"]], "links": [["h0", "h1"]]},
//!  "costs": {"migration": 10, "link": 1, "rule": 0.1}}
//! ```
//!
//! | key | absent or `null` means |
//! | --- | --- |
//! | `hosts[].internal_bandwidth` | VMs that talk may not share that host |
//! | `hosts[].uplink`, `hosts[].downlink` | only the edges limit |
//! | `edges[].latency` | 0 |
//! | `demands[].latency` | any latency will do |
//! | `pins` | no VM is pinned |
//! | `mapping` | VMs are to be placed; given, it names every VM and only routes are to be found |
//! | `current` | nothing is in force; `current.paths[i]` may be `null`: no path yet |
//! | `current.links` | every edge counts as an existing link |
//! | `costs` | changes cost nothing |
//!
//! Keys that aren't listed here are ignored, with a warning in the log that names them.
//!
//! A solution: `{"mapping": {"vm0": "h0"}, "paths": [["h0", "h1"]], "objective": 950.0,
//! "bound": 980.0}` with one path per demand, in order; `["h0"]` or `[]` where both VMs are on one
//! host; `bound` may be absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::problem::{Costs, Current, Demand, Edge, Host, HostId, Problem, ProblemError, Vm, VmId};
use crate::solution::{Path, Solution};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ProblemForm {
    hosts: Vec<HostForm>,
    edges: Vec<EdgeForm>,
    vms: Vec<VmForm>,
    demands: Vec<DemandForm>,
    #[serde(default)]
    pins: Option<BTreeMap<String, String>>,
    #[serde(default)]
    mapping: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<CurrentForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    costs: Option<CostsForm>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct HostForm {
    name: String,
    compute: f64,
    size: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    internal_bandwidth: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uplink: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    downlink: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct EdgeForm {
    from: String,
    to: String,
    bandwidth: f64,
    #[serde(default)]
    latency: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct VmForm {
    name: String,
    compute: f64,
    size: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DemandForm {
    from: String,
    to: String,
    bandwidth: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latency: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct CurrentForm {
    mapping: BTreeMap<String, String>,
    #[serde(default)]
    paths: Vec<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    links: Option<Vec<(String, String)>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default)]
struct CostsForm {
    migration: f64,
    link: f64,
    rule: f64,
}

impl Default for CostsForm {
    fn default() -> Self {
        let Costs { migration, link, rule } = Costs::default();
        Self { migration, link, rule }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SolutionForm {
    mapping: BTreeMap<String, String>,
    paths: Vec<Vec<String>>,
    objective: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound: Option<f64>,
}

impl Problem {
    /// Reads a problem in the form of [`json`](crate::json).
    pub fn from_json(text: &str) -> Result<Self, ProblemError> {
        let form: ProblemForm = parse(text)?;
        let mut problem = Self::new();
        for HostForm { name, compute, size, internal_bandwidth, uplink, downlink } in form.hosts {
            problem.add_host(Host { name, compute, size, internal_bandwidth, uplink, downlink })?;
        }
        for (index, edge) in form.edges.into_iter().enumerate() {
            let place = || format!("edges[{index}]");
            let from = host(&problem, &edge.from, place)?;
            let to = host(&problem, &edge.to, place)?;
            problem.add_edge(from, to, Edge { bandwidth: edge.bandwidth, latency: edge.latency })?;
        }
        for VmForm { name, compute, size } in form.vms {
            problem.add_vm(Vm { name, compute, size })?;
        }
        for (index, demand) in form.demands.into_iter().enumerate() {
            let place = || format!("demands[{index}]");
            let from = vm(&problem, &demand.from, place)?;
            let to = vm(&problem, &demand.to, place)?;
            let DemandForm { bandwidth, latency, .. } = demand;
            problem.add_demand(Demand { from, to, bandwidth, latency })?;
        }
        for (vm_name, host_name) in form.pins.iter().flatten() {
            let place = || format!("pins[`{vm_name}`]");
            problem.pin(vm(&problem, vm_name, place)?, host(&problem, host_name, place)?)?;
        }
        if let Some(form) = &form.mapping {
            let fixed = mapping(&problem, form, "mapping")?;
            problem.fix_mapping(&fixed)?;
        }
        if let Some(form) = &form.current {
            let current = current(&problem, form)?;
            problem.set_current(current)?;
        }
        if let Some(CostsForm { migration, link, rule }) = form.costs {
            problem.set_costs(Costs { migration, link, rule })?;
        }
        Ok(problem)
    }

    /// Writes the problem in the form of [`json`](crate::json), as one line.
    pub fn to_json(&self) -> String {
        let graph = self.graph();
        let name = |host: HostId| graph[host].name.clone();
        let names = |hosts: &[HostId]| -> BTreeMap<String, String> {
            self.vms().iter().zip(hosts).map(|(vm, host)| (vm.name.clone(), name(*host))).collect()
        };
        let hosts = graph.node_weights().cloned();
        let host = |Host { name, compute, size, internal_bandwidth, uplink, downlink }| HostForm {
            name,
            compute,
            size,
            internal_bandwidth,
            uplink,
            downlink,
        };
        let edge = |edge: &petgraph::graph::Edge<Edge, u32>| EdgeForm {
            from: name(edge.source()),
            to: name(edge.target()),
            bandwidth: edge.weight.bandwidth,
            latency: edge.weight.latency,
        };
        let vm = |vm: &Vm| VmForm { name: vm.name.clone(), compute: vm.compute, size: vm.size };
        let demand = |demand: &Demand| DemandForm {
            from: self.vm(demand.from).name.clone(),
            to: self.vm(demand.to).name.clone(),
            bandwidth: demand.bandwidth,
            latency: demand.latency,
        };
        let ids = (0..self.vms().len()).map(VmId::new);
        let pins: BTreeMap<_, _> =
            ids.filter_map(|id| Some((self.vm(id).name.clone(), name(self.pinned(id)?)))).collect();
        let fixed = self.mapping_is_fixed();
        let path = |path: &Path| path.hosts().iter().map(|host| name(*host)).collect();
        let current = self.current().map(|current| CurrentForm {
            mapping: names(&current.mapping),
            paths: current.paths.iter().map(|p| p.as_ref().map(path)).collect(),
            links: current.links.as_ref().map(|l| l.iter().map(|(a, b)| (name(*a), name(*b))).collect()),
        });
        let Costs { migration, link, rule } = self.costs();
        let form = ProblemForm {
            hosts: hosts.map(host).collect(),
            edges: graph.raw_edges().iter().map(edge).collect(),
            vms: self.vms().iter().map(vm).collect(),
            demands: self.demands().iter().map(demand).collect(),
            mapping: fixed.then(|| pins.clone()),
            pins: (!fixed && !pins.is_empty()).then_some(pins),
            current,
            costs: (self.costs() != Costs::default()).then_some(CostsForm { migration, link, rule }),
        };
        to_json(&form)
    }
}

impl Solution {
    /// Reads a solution of `problem` in the form of [`json`](crate::json). Whether it is
    /// feasible is for [`verify`](crate::verify::verify) to say.
    pub fn from_json(problem: &Problem, text: &str) -> Result<Self, ProblemError> {
        let form: SolutionForm = parse(text)?;
        let path = |(index, names): (usize, &Vec<String>)| path(problem, names, &format!("paths[{index}]"));
        let paths = form.paths.iter().enumerate().map(path).collect::<Result<_, _>>()?;
        let mapping = mapping(problem, &form.mapping, "mapping")?;
        Ok(Self { mapping, paths, objective: form.objective, bound: form.bound })
    }

    /// Writes the solution of `problem` in the form of [`json`](crate::json), as one line.
    ///
    /// # Panics
    ///
    /// If the solution has hosts or VMs that `problem` lacks.
    pub fn to_json(&self, problem: &Problem) -> String {
        let name = |host: &HostId| problem.host(*host).name.clone();
        let form = SolutionForm {
            mapping: problem
                .vms()
                .iter()
                .zip(&self.mapping)
                .map(|(v, h)| (v.name.clone(), name(h)))
                .collect(),
            paths: self.paths.iter().map(|path| path.hosts().iter().map(name).collect()).collect(),
            objective: self.objective,
            bound: self.bound,
        };
        to_json(&form)
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ProblemError> {
    let error = |e: serde_json::Error| {
        let message = e.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        ProblemError::Json { line: e.line(), column: e.column(), message }
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut ignored = Vec::new();
    let form = serde_ignored::deserialize(&mut reader, |key| {
        if ignored.len() < 5 {
            ignored.push(key.to_string());
        }
    })
    .map_err(error)?;
    reader.end().map_err(error)?;
    if !ignored.is_empty() {
        tracing::warn!(keys = ignored.join(", "), "ignored keys that are not part of the format");
    }
    Ok(form)
}

fn to_json<T: Serialize>(form: &T) -> String {
    // Names, finite numbers, maps with text keys: nothing here can fail to serialise.
    serde_json::to_string(form).expect("plain data serialises")
}

fn host(problem: &Problem, name: &str, place: impl Fn() -> String) -> Result<HostId, ProblemError> {
    let unknown = || ProblemError::Unknown { place: place(), kind: "host", name: name.into() };
    problem.host_named(name).ok_or_else(unknown)
}

fn vm(problem: &Problem, name: &str, place: impl Fn() -> String) -> Result<VmId, ProblemError> {
    let unknown = || ProblemError::Unknown { place: place(), kind: "VM", name: name.into() };
    problem.vm_named(name).ok_or_else(unknown)
}

fn path(problem: &Problem, names: &[String], place: &str) -> Result<Path, ProblemError> {
    let hosts: Result<Vec<_>, _> =
        names.iter().map(|name| host(problem, name, || place.to_owned())).collect();
    Ok(Path::new(hosts?))
}

fn mapping(
    problem: &Problem,
    form: &BTreeMap<String, String>,
    place: &str,
) -> Result<Vec<HostId>, ProblemError> {
    for name in form.keys() {
        vm(problem, name, || place.to_owned())?;
    }
    let find = |vm: &Vm| {
        let missing = || ProblemError::Incomplete { place: place.into(), vm: vm.name.clone() };
        let name = form.get(&vm.name).ok_or_else(missing)?;
        host(problem, name, || format!("{place}[`{}`]", vm.name))
    };
    problem.vms().iter().map(find).collect()
}

fn current(problem: &Problem, form: &CurrentForm) -> Result<Current, ProblemError> {
    let read_path = |(index, names): (usize, &Option<Vec<String>>)| match names {
        Some(names) => path(problem, names, &format!("current.paths[{index}]")).map(Some),
        None => Ok(None),
    };
    let link = |(index, (a, b)): (usize, &(String, String))| {
        let place = || format!("current.links[{index}]");
        Ok((host(problem, a, place)?, host(problem, b, place)?))
    };
    let links = form.links.as_ref().map(|links| links.iter().enumerate().map(link).collect()).transpose()?;
    Ok(Current {
        mapping: mapping(problem, &form.mapping, "current.mapping")?,
        paths: form.paths.iter().enumerate().map(read_path).collect::<Result<_, _>>()?,
        links,
    })
}
