//! From what is seen to what should be: one adaptation decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vadapt::elastic::{ElasticError, elastic};
use vadapt::{
    Clock, Costs, Current, Demand, GreedyMapping, HostId, Path, Plan, Problem, ProblemError, Readapt,
    ResidualBandwidth, Run, SolveError, Solver, VmId,
};
use vnet_core::control::TrafficView;
use vnet_core::generate::{FastPath, GenerateError, Overlay, VmSpec, add_fast_paths};
use vnet_core::link::LinkId;
use vnet_core::route::{Outcome, route};
use vnet_core::shape::Shape;
use vnet_core::{Host, HostName, LinkKind, MacAddr, Topology};

use crate::figures::Figures;
use crate::inventory::{Inventory, Vm};

/// All that a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What VTTIF sees.
    pub view: &'a TrafficView,
    /// The VMs and where they are.
    pub inventory: &'a Inventory,
    /// What the network can do.
    pub figures: &'a Figures,
    /// The hosts with daemons.
    pub hosts: &'a [Host],
    /// The Proxy, the centre of the star that always remains.
    pub proxy: &'a HostName,
    /// The links and rules in force.
    pub topology: &'a Topology,
}

/// How decisions are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// May VMs be moved? Otherwise only links and rules change.
    pub migrate: bool,
    /// What moving a VM costs, in Mbit/s of residual bandwidth.
    pub migration_cost: f64,
    /// What a new link costs, likewise.
    pub link_cost: f64,
    /// How much of what the network could carry the demands are scaled to (see
    /// [`vadapt::elastic`]).
    pub fill: f64,
    /// How long the solver may take.
    pub time_limit: Duration,
    /// The seed of the solver.
    pub seed: u64,
    /// What new links are made of.
    pub link_kind: LinkKind,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            migrate: true,
            migration_cost: 1.0,
            link_cost: 0.1,
            fill: 0.5,
            time_limit: Duration::from_millis(200),
            seed: 0,
            link_kind: LinkKind::Udp,
        }
    }
}

/// A VM that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The VM.
    pub vm: String,
    /// Its address.
    pub mac: MacAddr,
    /// Where it is.
    pub from: HostName,
    /// Where it goes.
    pub to: HostName,
    /// Why, as a sentence.
    pub reason: String,
}

/// A link that is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkChange {
    /// One end.
    pub a: HostName,
    /// The other end.
    pub b: HostName,
    /// Why, as a sentence.
    pub reason: String,
}

/// What VADAPT decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// VMs to move, in order.
    pub moves: Vec<Move>,
    /// Links to add.
    pub links: Vec<LinkChange>,
    /// The path of each pair of VMs that talk.
    pub paths: Vec<FastPath>,
    /// The whole overlay as it will be: the star, and the fast paths on top of it.
    pub desired: Topology,
    /// Should it be carried out?
    pub is_worthwhile: bool,
    /// What it gains, in Mbit/s of residual bandwidth summed over the demands.
    pub gain: f64,
    /// What it costs, in the same unit.
    pub cost: f64,
    /// By which factor all traffic could grow now, ...
    pub growth_before: f64,
    /// ... and after the plan.
    pub growth_after: f64,
    /// The whole in a sentence.
    pub reason: String,
}

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// No VM of the traffic matrix is known.
    #[error(
        "VTTIF sees traffic, but no daemon has an interface with one of its addresses; give interfaces their `mac`"
    )]
    NoKnownVm,
    /// A host with a VM has no figures.
    #[error("there are no figures for host `{0}`, which runs VMs; add a [[host]] for it")]
    NoFigures(HostName),
    /// The problem could not be stated.
    #[error("the adaptation problem can't be stated: {0}")]
    Problem(#[from] ProblemError),
    /// The demands could not be scaled.
    #[error("{0}")]
    Elastic(#[from] ElasticError),
    /// The solver found nothing.
    #[error("{0}")]
    Solve(#[from] SolveError),
    /// The overlay could not be generated.
    #[error("the overlay of the plan can't be generated: {0}")]
    Generate(#[from] GenerateError),
}

/// Decides: states the problem, solves it, and turns the solution into a plan
/// and an overlay. `clock` limits the solver.
pub fn decide(
    situation: &Situation<'_>,
    options: &Options,
    clock: &dyn Clock,
) -> Result<Decision, DecideError> {
    let statement = Statement::new(situation, options)?;
    let objective = ResidualBandwidth;
    let solver = GreedyMapping::repaired();
    let mut run = Run::new(clock, options.time_limit).with_seed(options.seed);
    let (problem, _) = elastic(&statement.problem, options.fill, &solver, &objective, &mut run)?;
    let mut run = Run::new(clock, options.time_limit).with_seed(options.seed);
    let solution = Readapt::default().solve(&problem, &objective, &mut run)?;
    let plan = Plan::new(&problem, &solution, &objective);
    statement.decision(situation, options, &plan)
}

/// The problem, and what its indices stand for.
struct Statement<'a> {
    problem: Problem,
    hosts: Vec<&'a HostName>,
    vms: Vec<&'a Vm>,
    /// Source and destination of each demand.
    pairs: Vec<(usize, usize)>,
}

impl<'a> Statement<'a> {
    fn new(situation: &Situation<'a>, options: &Options) -> Result<Self, DecideError> {
        let mut problem = Problem::new();
        let mut host_ids = BTreeMap::new();
        let has_daemon: BTreeSet<_> = situation.hosts.iter().map(|host| &host.machine).collect();
        let figures = situation.figures.hosts.iter().filter(|host| has_daemon.contains(&host.name));
        for figures in figures.clone() {
            let room = f64::from(figures.room);
            let mut host = vadapt::Host::new(figures.name.as_str(), room, room)
                .with_internal_bandwidth(figures.internal.mbit());
            host.uplink = figures.uplink.map(|b| b.mbit());
            host.downlink = figures.downlink.map(|b| b.mbit());
            host_ids.insert(&figures.name, problem.add_host(host)?);
        }
        let hosts = figures.map(|figures| &figures.name).collect();
        for path in &situation.figures.paths {
            let (a, b) = &path.between;
            if let (Some(a), Some(b)) = (host_ids.get(a), host_ids.get(b)) {
                let edge = vadapt::Edge { bandwidth: path.bandwidth.mbit(), latency: path.latency_us as f64 };
                problem.add_link(*a, *b, edge)?;
            }
        }
        let vms: Vec<_> = situation.inventory.iter().collect();
        let mut mapping = Vec::new();
        for vm in &vms {
            problem.add_vm(vadapt::Vm::new(vm.name.as_str(), 1.0, 1.0))?;
            let host = host_ids.get(&vm.host).ok_or_else(|| DecideError::NoFigures(vm.host.clone()))?;
            mapping.push(*host);
        }
        let demands = demands(situation.view, &vms);
        if demands.is_empty() {
            return Err(DecideError::NoKnownVm);
        }
        let talks: BTreeSet<_> = demands.keys().flat_map(|(from, to)| [*from, *to]).collect();
        for (vm, host) in mapping.iter().enumerate() {
            // A silent VM gains nothing by moving.
            if !options.migrate || !talks.contains(&vm) {
                problem.pin(VmId::new(vm), *host)?;
            }
        }
        for ((from, to), bandwidth) in &demands {
            let (from, to) = (VmId::new(*from), VmId::new(*to));
            problem.add_demand(Demand { from, to, bandwidth: *bandwidth, latency: None })?;
        }
        let pairs: Vec<_> = demands.into_keys().collect();
        let paths = pairs.iter().map(|(from, to)| {
            let hosts = current_path(situation.topology, vms[*from], vms[*to])?;
            let ids: Option<Vec<HostId>> = hosts.iter().map(|host| host_ids.get(host).copied()).collect();
            // A path over hosts that the figures don't join counts as none.
            ids.filter(|ids| ids.windows(2).all(|hop| problem.graph().contains_edge(hop[0], hop[1])))
                .map(Path::new)
        });
        let links = situation.topology.links.keys().filter_map(|id| {
            let (a, b) = id.ends();
            Some((*host_ids.get(a)?, *host_ids.get(b)?))
        });
        let current = Current { mapping, paths: paths.collect(), links: Some(links.collect()) };
        problem.set_current(current)?;
        problem.set_costs(Costs { migration: options.migration_cost, link: options.link_cost, rule: 0.0 })?;
        Ok(Self { problem, hosts, vms, pairs })
    }

    fn decision(
        &self,
        situation: &Situation<'_>,
        options: &Options,
        plan: &Plan,
    ) -> Result<Decision, DecideError> {
        let host = |id: HostId| self.hosts[id.index()].clone();
        let moves: Vec<_> = plan
            .migrations
            .iter()
            .map(|migration| {
                let vm = self.vms[migration.vm.index()];
                Move {
                    vm: vm.name.to_string(),
                    mac: vm.mac,
                    from: host(migration.from),
                    to: host(migration.to),
                    reason: migration.reason.clone(),
                }
            })
            .collect();
        let paths: Vec<_> = plan
            .routes
            .iter()
            .filter(|route| !route.path.is_empty())
            .map(|route| {
                let (from, to) = self.pairs[route.demand];
                FastPath {
                    source: self.vms[from].mac,
                    destination: self.vms[to].mac,
                    hosts: route.path.hosts().iter().map(|id| host(*id)).collect(),
                }
            })
            .collect();
        let place: BTreeMap<_, _> = moves.iter().map(|m| (m.mac, &m.to)).collect();
        let vms = self.vms.iter().map(|vm| VmSpec {
            mac: vm.mac,
            host: place.get(&vm.mac).map_or_else(|| vm.host.clone(), |host| (*host).clone()),
            interface: vm.name.clone(),
        });
        let mut overlay = Overlay::new(situation.hosts.to_vec(), vms.collect(), Shape::Star);
        overlay.hub = Some(situation.proxy.clone());
        overlay.link_kind = options.link_kind;
        let mut desired = overlay.generate()?;
        add_fast_paths(&mut desired, &paths, options.link_kind)?;
        let reasons: BTreeMap<_, _> =
            plan.links.iter().map(|link| (LinkId::new(&host(link.a), &host(link.b)), &link.reason)).collect();
        let links = desired
            .links
            .keys()
            .filter(|id| !situation.topology.links.contains_key(id))
            .map(|id| {
                let (a, b) = id.ends();
                let reason = reasons.get(id).map_or_else(|| "part of the star".to_owned(), |r| (*r).clone());
                LinkChange { a: a.clone(), b: b.clone(), reason }
            })
            .collect();
        Ok(Decision {
            moves,
            links,
            paths,
            desired,
            is_worthwhile: plan.is_worthwhile(),
            gain: plan.gain,
            cost: plan.cost,
            growth_before: plan.growth_before,
            growth_after: plan.growth_after,
            reason: plan.reason.clone(),
        })
    }
}

/// What the VMs that VTTIF connects exchange, in Mbit/s, by indices into `vms`.
fn demands(view: &TrafficView, vms: &[&Vm]) -> BTreeMap<(usize, usize), f64> {
    let index: BTreeMap<MacAddr, usize> = vms.iter().enumerate().map(|(i, vm)| (vm.mac, i)).collect();
    let vm_of = |vertex: u32| view.vertices.get(vertex as usize).and_then(|mac| index.get(mac)).copied();
    let kept: BTreeSet<_> = view.edges.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
    let mut demands = BTreeMap::new();
    for (from, to, bytes_per_second) in &view.rates {
        let is_kept = kept.contains(&(*from.min(to), *from.max(to)));
        let (Some(source), Some(destination)) = (vm_of(*from), vm_of(*to)) else { continue };
        if is_kept && source != destination && *bytes_per_second > 0.0 {
            *demands.entry((source, destination)).or_insert(0.0) += bytes_per_second * 8.0 / 1e6;
        }
    }
    demands
}

/// The hosts that frames from one VM to another pass now; `None` if they don't arrive.
fn current_path(topology: &Topology, from: &Vm, to: &Vm) -> Option<Vec<HostName>> {
    let route = route(topology, &from.host, &from.name, from.mac, to.mac);
    let arrives = route.hops.iter().any(|hop| {
        hop.host == to.host && hop.outcomes.iter().any(|o| *o == Outcome::Delivered(to.name.clone()))
    });
    let is_a_line = route.hops.iter().all(|hop| hop.outcomes.len() == 1);
    (arrives && is_a_line).then(|| route.hops.into_iter().map(|hop| hop.host).collect())
}

#[cfg(test)]
mod tests;
