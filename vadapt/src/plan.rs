//! From the present state to a solution: migrations, links and paths, each with its reason.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::elastic::growth;
use crate::network::Network;
use crate::objective::{Objective, Sense, Service};
use crate::problem::{Current, HostId, Problem, VmId};
use crate::solution::{Path, Solution};

/// Moving a VM.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// The VM.
    pub vm: VmId,
    /// Where it is.
    pub from: HostId,
    /// Where it goes.
    pub to: HostId,
    /// Its share of the gain, in the unit of the objective.
    pub gain: f64,
    /// Whether its host has room when the migrations before it are done. If not, VMs change
    /// places in a ring, and one of them must wait aside or all move at once.
    pub has_room: bool,
    /// Why, as a sentence.
    pub reason: String,
}

/// Adding an overlay link.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLink {
    /// One end.
    pub a: HostId,
    /// The other end.
    pub b: HostId,
    /// What it will carry in both directions, in Mbit/s.
    pub traffic: f64,
    /// Its share of the gain, in the unit of the objective.
    pub gain: f64,
    /// Why, as a sentence.
    pub reason: String,
}

/// The path of a demand. Forwarding rules are made from these.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The demand: its position in [`Problem::demands`].
    pub demand: usize,
    /// The hosts that it passes; one host if both VMs are there.
    pub path: Path,
    /// Whether it differs from the present one.
    pub is_new: bool,
    /// What this demand gains, in the unit of the objective.
    pub gain: f64,
    /// What changes for it, as a sentence.
    pub reason: String,
}

/// The difference between what is in force and a solution.
///
/// Carry it out in this order: links up, migrations in their order, rules for the routes,
/// then remove [`idle_links`](Self::idle_links) if nobody else wants them. The gain of a
/// demand is shared equally by the changes that it needs: the migrations of its VMs and the new
/// links on its path. Demands that gain just because others leave count in the total only.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// VMs to move, in an order in which each finds room where that is possible.
    pub migrations: Vec<Migration>,
    /// Links to add, the one with most traffic first.
    pub links: Vec<NewLink>,
    /// The path of every demand, in order, changed or not.
    pub routes: Vec<Route>,
    /// Present links that no path of the solution uses.
    pub idle_links: Vec<(HostId, HostId)>,
    /// What the objective gains. Where demands are short of bandwidth now, what they lack
    /// counts as a loss.
    pub gain: f64,
    /// What the changes cost, by [`Problem::costs`].
    pub cost: f64,
    /// By which factor all demands can grow together now (see [`growth`]).
    pub growth_before: f64,
    /// By which factor they can grow after the plan.
    pub growth_after: f64,
    /// The whole in a sentence.
    pub reason: String,
}

impl Plan {
    /// The plan that leads from the problem's [`current`](Problem::current) state to `solution`. Without
    /// a current state, every VM stays where the solution puts it and all paths are new.
    ///
    /// `solution` must be one that [`verify`](crate::verify::verify) accepts.
    pub fn new(problem: &Problem, solution: &Solution, objective: &dyn Objective) -> Self {
        let unrouted = || Current {
            mapping: solution.mapping.clone(),
            paths: vec![None; problem.demands().len()],
            links: None,
        };
        let current = problem.current().cloned().unwrap_or_else(unrouted);
        Planner::new(problem, &current, solution, objective).plan()
    }

    /// Whether the plan changes anything.
    pub fn is_empty(&self) -> bool {
        self.migrations.is_empty() && self.links.is_empty() && self.routes.iter().all(|route| !route.is_new)
    }

    /// Whether the plan should be carried out: it changes something, and gains more than it costs.
    pub fn is_worthwhile(&self) -> bool {
        !self.is_empty() && self.gain > self.cost
    }
}

/// What a demand gets in some state.
#[derive(Debug, Clone, Copy)]
struct Got {
    /// Residual bandwidth; negative when the path is overloaded.
    residual: f64,
    hops: usize,
    /// The value to maximise.
    value: f64,
}

struct Planner<'a> {
    problem: &'a Problem,
    current: &'a Current,
    solution: &'a Solution,
    before: Vec<Got>,
    after: Vec<Got>,
    existing: Option<HashSet<(HostId, HostId)>>,
    maximise: bool,
}

impl<'a> Planner<'a> {
    fn new(
        problem: &'a Problem,
        current: &'a Current,
        solution: &'a Solution,
        objective: &dyn Objective,
    ) -> Self {
        let now: Vec<_> = current.paths.iter().map(Option::as_ref).collect();
        let then: Vec<_> = solution.paths.iter().map(Some).collect();
        let links = current.links.as_ref();
        Self {
            problem,
            current,
            solution,
            before: services(problem, &current.mapping, &now, objective),
            after: services(problem, &solution.mapping, &then, objective),
            existing: links.map(|links| links.iter().map(|(a, b)| undirected(*a, *b)).collect()),
            maximise: objective.sense() == Sense::Maximise,
        }
    }

    fn plan(self) -> Plan {
        let (problem, current, solution) = (self.problem, self.current, self.solution);
        let mut vm_gain = vec![0.0; problem.vms().len()];
        let mut links: BTreeMap<(HostId, HostId), Link> = BTreeMap::new();
        for demand in 0..problem.demands().len() {
            self.share(demand, &mut vm_gain, &mut links);
        }
        let migrations = self.migrations(&vm_gain);
        let mut links: Vec<_> = links.into_iter().map(|(ends, link)| self.link(ends, &link)).collect();
        links.sort_by(|x, y| y.traffic.total_cmp(&x.traffic));
        let routes: Vec<_> = (0..problem.demands().len()).map(|demand| self.route(demand)).collect();
        let rules: usize = routes.iter().filter(|route| route.is_new).map(|route| route.path.len()).sum();
        let costs = problem.costs();
        let cost = costs.migration * migrations.len() as f64
            + costs.link * links.len() as f64
            + costs.rule * rules as f64;
        let sum = |got: &[Got]| got.iter().map(|got| got.value).sum::<f64>();
        let gain = sum(&self.after) - sum(&self.before);
        let growth_before = growth(problem, &current.mapping, current.paths.iter().map(Option::as_ref));
        let growth_after = growth(problem, &solution.mapping, solution.paths.iter().map(Some));
        let mut plan = Plan {
            idle_links: self.idle_links(),
            migrations,
            links,
            routes,
            gain,
            cost,
            growth_before,
            growth_after,
            reason: String::new(),
        };
        plan.reason = self.summary(&plan, rules);
        plan
    }

    fn gain(&self, demand: usize) -> f64 {
        self.after[demand].value - self.before[demand].value
    }

    /// Shares the gain of a demand among the changes that it needs.
    fn share(&self, demand: usize, vm_gain: &mut [f64], links: &mut BTreeMap<(HostId, HostId), Link>) {
        let asked = &self.problem.demands()[demand];
        let movers: Vec<VmId> = [asked.from, asked.to].into_iter().filter(|vm| self.moves(*vm)).collect();
        let new: Vec<_> = self.solution.paths[demand]
            .hops()
            .map(|(a, b)| undirected(a, b))
            .filter(|ends| self.existing.as_ref().is_some_and(|links| !links.contains(ends)))
            .collect();
        let share = self.gain(demand) / (movers.len() + new.len()).max(1) as f64;
        movers.iter().for_each(|vm| vm_gain[vm.index()] += share);
        for ends in new {
            let link = links.entry(ends).or_default();
            link.gain += share;
            link.traffic += asked.bandwidth;
            link.demands.push(demand);
        }
    }

    fn moves(&self, vm: VmId) -> bool {
        self.current.mapping[vm.index()] != self.solution.host_of(vm)
    }

    fn migrations(&self, vm_gain: &[f64]) -> Vec<Migration> {
        let ids = (0..self.problem.vms().len()).map(VmId::new);
        let mut waiting: Vec<VmId> = ids.filter(|vm| self.moves(*vm)).collect();
        waiting.sort_by(|x, y| vm_gain[y.index()].total_cmp(&vm_gain[x.index()]));
        let mut used: HashMap<HostId, (f64, f64)> = HashMap::new();
        for (vm, host) in self.problem.vms().iter().zip(&self.current.mapping) {
            let entry = used.entry(*host).or_default();
            *entry = (entry.0 + vm.compute, entry.1 + vm.size);
        }
        let mut ordered = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let fits = |vm: &VmId| {
                let (needs, host) = (self.problem.vm(*vm), self.problem.host(self.solution.host_of(*vm)));
                let (compute, size) = used.get(&self.solution.host_of(*vm)).copied().unwrap_or_default();
                compute + needs.compute <= host.compute * (1.0 + 1e-9)
                    && size + needs.size <= host.size * (1.0 + 1e-9)
            };
            let next = waiting.iter().position(fits);
            let vm = waiting.remove(next.unwrap_or(0));
            let (from, to) = (self.current.mapping[vm.index()], self.solution.host_of(vm));
            let needs = self.problem.vm(vm);
            for (host, sign) in [(from, -1.0), (to, 1.0)] {
                let entry = used.entry(host).or_default();
                *entry = (entry.0 + sign * needs.compute, entry.1 + sign * needs.size);
            }
            let gain = vm_gain[vm.index()];
            let (has_room, reason) = (next.is_some(), self.migration_reason(vm, from, to));
            ordered.push(Migration { vm, from, to, gain, has_room, reason });
        }
        ordered
    }

    fn migration_reason(&self, vm: VmId, from: HostId, to: HostId) -> String {
        let demands = self.problem.demands();
        let mine: Vec<usize> =
            (0..demands.len()).filter(|i| demands[*i].from == vm || demands[*i].to == vm).collect();
        let mean =
            |got: &[Got]| mine.iter().map(|i| got[*i].residual).sum::<f64>() / mine.len().max(1) as f64;
        let near = mine.iter().filter(|i| self.after[**i].hops <= 1).count();
        format!(
            "{} moves from {} to {}: {} of its {} demands then have at most one hop, with {} on average, now {}",
            self.problem.vm(vm).name,
            self.host(from),
            self.host(to),
            near,
            mine.len(),
            spare(mean(&self.after)),
            spare(mean(&self.before)),
        )
    }

    fn link(&self, (a, b): (HostId, HostId), link: &Link) -> NewLink {
        let largest = link.demands.iter().max_by(|x, y| {
            let bandwidth = |demand: usize| self.problem.demands()[demand].bandwidth;
            bandwidth(**x).total_cmp(&bandwidth(**y)).then(y.cmp(x))
        });
        let among = largest.map_or(String::new(), |demand| format!(", the largest {}", self.ends(*demand)));
        let reason = format!(
            "a direct link {} - {} takes {:.1} Mbit/s of {} demands{among}",
            self.host(a),
            self.host(b),
            link.traffic,
            link.demands.len(),
        );
        NewLink { a, b, traffic: link.traffic, gain: link.gain, reason }
    }

    fn route(&self, demand: usize) -> Route {
        let path = self.solution.paths[demand].clone();
        let asked = &self.problem.demands()[demand];
        let stays = !self.moves(asked.from) && !self.moves(asked.to);
        // No path and a path of one host are the same where both VMs are on one host.
        let same = match &self.current.paths[demand] {
            Some(old) => *old == path || (old.is_empty() && path.is_empty()),
            None => path.is_empty(),
        };
        let is_new = !(stays && same);
        let now = self.current.paths[demand].as_ref();
        let old = now.map_or("no path".to_owned(), |path| self.via(path));
        let (before, after) = (self.before[demand].residual, self.after[demand].residual);
        let reason = if is_new {
            let (ends, new) = (self.ends(demand), self.via(&path));
            format!("{ends} takes {new} with {} instead of {old} with {}", spare(after), spare(before))
        } else {
            format!("{} stays on {old}: {} after, {} now", self.ends(demand), spare(after), spare(before))
        };
        Route { demand, path, is_new, gain: self.gain(demand), reason }
    }

    fn idle_links(&self) -> Vec<(HostId, HostId)> {
        let hops = self.solution.paths.iter().flat_map(Path::hops);
        let used: HashSet<_> = hops.map(|(a, b)| undirected(a, b)).collect();
        let links = self.current.links.iter().flatten().copied();
        links.filter(|(a, b)| !used.contains(&undirected(*a, *b))).collect()
    }

    fn summary(&self, plan: &Plan, rules: usize) -> String {
        if plan.is_empty() {
            return "nothing changes".into();
        }
        let verdict = if plan.is_worthwhile() { "worth it" } else { "not worth it" };
        let aim = if self.maximise { "gains" } else { "saves" };
        format!(
            "{} migrations, {} links and {rules} rules: {aim} {:.1} for a cost of {:.1}, {verdict}; \
             all demands together could grow by {}, now {}",
            plan.migrations.len(),
            plan.links.len(),
            plan.gain,
            plan.cost,
            factor(plan.growth_after),
            factor(plan.growth_before),
        )
    }

    fn ends(&self, demand: usize) -> String {
        let asked = &self.problem.demands()[demand];
        format!("{} -> {}", self.problem.vm(asked.from).name, self.problem.vm(asked.to).name)
    }

    fn via(&self, path: &Path) -> String {
        let names: Vec<_> = path.hosts().iter().map(|host| self.host(*host)).collect();
        names.join(" -> ")
    }

    fn host(&self, host: HostId) -> &str {
        &self.problem.host(host).name
    }
}

#[derive(Debug, Default)]
struct Link {
    gain: f64,
    traffic: f64,
    demands: Vec<usize>,
}

fn undirected(a: HostId, b: HostId) -> (HostId, HostId) {
    (a.min(b), a.max(b))
}

fn spare(residual: f64) -> String {
    if residual < 0.0 {
        format!("{:.1} Mbit/s too little", -residual)
    } else {
        format!("{residual:.1} Mbit/s to spare")
    }
}

fn factor(growth: f64) -> String {
    if growth.is_finite() { format!("a factor of {growth:.2}") } else { "any factor".into() }
}

/// What each demand gets from a mapping and a routing that may be overloaded.
fn services(
    problem: &Problem,
    mapping: &[HostId],
    paths: &[Option<&Path>],
    objective: &dyn Objective,
) -> Vec<Got> {
    let net = Network::new(problem);
    let mut load = vec![0.0; net.capacity.len()];
    let edges = |path: Option<&Path>| -> Vec<u32> {
        let hops = path.into_iter().flat_map(Path::hops);
        hops.map(|(a, b)| net.edge(a.index() as u32, b.index() as u32)).collect()
    };
    let paths: Vec<Vec<u32>> = paths.iter().map(|path| edges(*path)).collect();
    for (demand, path) in problem.demands().iter().zip(&paths) {
        for resource in path.iter().flat_map(|edge| net.resources(*edge)) {
            load[resource as usize] += demand.bandwidth;
        }
    }
    let got = |(demand, path): (&crate::problem::Demand, &Vec<u32>)| {
        let (from, to) = (mapping[demand.from.index()], mapping[demand.to.index()]);
        let residual = if from == to {
            net.internal[from.index()].max(0.0)
        } else if path.is_empty() {
            -demand.bandwidth
        } else {
            path.iter().map(|edge| net.residual(*edge, &load)).fold(f64::INFINITY, f64::min)
        };
        let latency = path.iter().map(|edge| net.latency[*edge as usize]).sum();
        let service = Service { residual: residual.max(0.0), latency, hops: path.len() };
        let value = objective.gain(demand, service) + residual.min(0.0);
        Got { residual, hops: path.len(), value }
    };
    problem.demands().iter().zip(&paths).map(got).collect()
}
