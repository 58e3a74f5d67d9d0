//! Rules that make any connected graph of links carry frames.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::mac::MacAddr;
use crate::name::HostName;
use crate::rule::{Action, Destination, EdgeRef, Rule, Source};
use crate::topology::Topology;

use super::VmSpec;
use super::error::GenerateError;

/// Adds rules by which every one of `vms` reaches every other over the links
/// of `topology`, as the [module](super) says; the spanning tree for the
/// flood is that of the shortest paths to `root`.
pub fn add_forwarding_rules(
    topology: &mut Topology,
    vms: &[VmSpec],
    root: &HostName,
) -> Result<(), GenerateError> {
    let graph = Graph::of(topology);
    check_vms(&graph, vms)?;
    let hosts: Vec<HostName> = topology.hosts.iter().map(|host| host.machine.clone()).collect();
    let index_of = |host: &HostName, role| {
        let index = graph.index.get(host).copied();
        index.ok_or_else(|| GenerateError::UnknownHost { host: host.clone(), role })
    };

    let tree = graph.next_hops(index_of(root, "the root of the tree")?);
    for (host, next) in tree.iter().enumerate() {
        let Some(next) = *next else { continue };
        for (from, to) in [(host, next), (next, host)] {
            topology.add_rule(&hosts[from], rule(Destination::Default, edge(&hosts[from], &hosts[to])));
        }
    }
    if let Some(cut_off) = (0..hosts.len()).find(|host| tree[*host].is_none() && hosts[*host] != *root) {
        return Err(GenerateError::NotConnected { from: root.clone(), to: hosts[cut_off].clone() });
    }

    let mut next_hops_to: HashMap<usize, Vec<Option<usize>>> = HashMap::new();
    for vm in vms {
        let at = index_of(&vm.host, "a VM's host")?;
        let deliver = Action::Interface(vm.interface.clone());
        topology.add_rule(&vm.host, rule(Destination::Default, deliver.clone()));
        topology.add_rule(&vm.host, rule(Destination::Exact(vm.mac), deliver));
        let next_hops = next_hops_to.entry(at).or_insert_with(|| graph.next_hops(at));
        for (host, next) in next_hops.iter().enumerate() {
            let Some(next) = *next else { continue };
            let send = edge(&hosts[host], &hosts[next]);
            topology.add_rule(&hosts[host], rule(Destination::Exact(vm.mac), send));
        }
    }
    Ok(())
}

fn rule(destination: Destination, action: Action) -> Rule {
    Rule { source: Source::Any, destination, action }
}

fn edge(from: &HostName, to: &HostName) -> Action {
    Action::Edge(EdgeRef { from: from.clone(), to: to.clone() })
}

fn check_vms(graph: &Graph, vms: &[VmSpec]) -> Result<(), GenerateError> {
    let mut seen = HashSet::new();
    for vm in vms {
        if vm.mac.is_multicast() || vm.mac == MacAddr::ZERO {
            return Err(GenerateError::NotAStation { mac: vm.mac });
        }
        if !seen.insert(vm.mac) {
            return Err(GenerateError::DuplicateVm { mac: vm.mac });
        }
        if !graph.index.contains_key(&vm.host) {
            return Err(GenerateError::UnknownHost { host: vm.host.clone(), role: "a VM's host" });
        }
    }
    Ok(())
}

/// The links of a topology between the indices of its hosts.
struct Graph {
    index: HashMap<HostName, usize>,
    neighbours: Vec<Vec<usize>>,
}

impl Graph {
    fn of(topology: &Topology) -> Self {
        let index: HashMap<_, _> =
            topology.hosts.iter().enumerate().map(|(i, host)| (host.machine.clone(), i)).collect();
        let mut neighbours = vec![Vec::new(); topology.hosts.len()];
        for link in topology.links.values() {
            if let (Some(&a), Some(&b)) = (index.get(&link.a), index.get(&link.b)) {
                neighbours[a].push(b);
                neighbours[b].push(a);
            }
        }
        for list in &mut neighbours {
            list.sort_unstable();
        }
        Self { index, neighbours }
    }

    /// For each host the neighbour that is next on the shortest path to
    /// `target`; `None` for the target and for hosts without a path.
    fn next_hops(&self, target: usize) -> Vec<Option<usize>> {
        let mut next = vec![None; self.neighbours.len()];
        let mut queue = VecDeque::from([target]);
        while let Some(host) = queue.pop_front() {
            for &neighbour in &self.neighbours[host] {
                if neighbour != target && next[neighbour].is_none() {
                    next[neighbour] = Some(host);
                    queue.push_back(neighbour);
                }
            }
        }
        next
    }
}
