//! Branch and bound: the optimum of small problems, proven.

use crate::bound::{Pairs, upper_bound};
use crate::fixed::Fixed;
use crate::network::NONE;
use crate::objective::{Objective, Sense, Service};
use crate::problem::Problem;
use crate::run::Run;
use crate::solution::Solution;
use crate::solver::{Search, SolveError, Solver};
use crate::state::State;

/// Nodes between two looks at the clock.
const BATCH: u64 = 64;

/// More simple paths than this for one demand, and the problem is too large for this solver.
const MOST_PATHS: usize = 100_000;

/// Branch and bound over mappings, then over simple paths.
///
/// A first solution comes from [`Search`] in a fifth of the time. Then VMs are placed in order
/// of their demands; a partial mapping is dropped when the most that its demands can be
/// worth (widest paths that nobody else uses, room beside placed partners) isn't more than the best
/// solution. A complete mapping is routed demand by demand over all simple paths, dropped
/// likewise under the load so far. Exponential; problems of 8 hosts and 8 VMs take from
/// milliseconds to seconds. When it ends in time the optimum is proven (`bound` equals
/// `objective`); otherwise `bound` is that of [`upper_bound`].
///
/// ```
/// use std::time::Duration;
/// use vadapt::generate::Generate;
/// use vadapt::{Exact, ResidualBandwidth, Run, Solver, StepClock};
///
/// let problem = Generate { hosts: 4, vms: 4, ..Generate::default() }.problem()?;
/// let clock = StepClock::default();
/// let mut run = Run::new(&clock, Duration::from_secs(1));
/// let solution = Exact.solve(&problem, &ResidualBandwidth, &mut run)?;
/// assert_eq!(solution.gap(), Some(0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Exact;

impl Solver for Exact {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn solve(
        &self,
        problem: &Problem,
        objective: &dyn Objective,
        run: &mut Run<'_>,
    ) -> Result<Solution, SolveError> {
        if !objective.is_monotone() {
            let reason = format!("`{}` isn't monotone, so that nothing can be ruled out", objective.name());
            return Err(SolveError::Unsupported { solver: self.name(), reason });
        }
        let bound = upper_bound(problem, objective, &mut run.part(run.limit() / 10, run.seed()));
        let first = Search.solve(problem, objective, &mut run.part(run.limit() / 5, run.seed()));
        if let Ok(solution) = &first {
            let proven = Solution { bound, ..solution.clone() };
            if proven.gap() == Some(0.0) {
                return Ok(proven);
            }
        }
        let fixed = Fixed::new(problem, objective);
        let pairs = Pairs::new(&fixed, objective);
        let mut tree = Tree::new(&pairs, objective, run);
        let sign = if objective.sense() == Sense::Maximise { 1.0 } else { -1.0 };
        if let Ok(solution) = &first {
            tree.best_value = sign * solution.objective;
        }
        tree.place(0);
        let (complete, found) = (!tree.stopped, tree.best.take());
        let better = found.map(|solution| Solution { bound: None, ..solution });
        match (better.map_or(first, Ok), complete) {
            (Ok(solution), true) => Ok(Solution { bound: Some(solution.objective), ..solution }),
            (Ok(solution), false) => Ok(Solution { bound, ..solution }),
            (Err(_), true) => {
                let reason = "every mapping and routing breaks a constraint (searched completely)".into();
                Err(SolveError::Infeasible { reason })
            }
            (Err(error), false) => Err(error),
        }
    }
}

/// The search tree, depth first.
struct Tree<'t, 'r> {
    pairs: &'t Pairs<'t>,
    fixed: &'t Fixed<'t>,
    objective: &'t dyn Objective,
    run: &'t mut Run<'r>,
    /// VMs in the order in which they are placed.
    order: Vec<usize>,
    /// The most that each demand can be worth with one VM fixed, or none.
    from_host: Vec<f64>,
    to_host: Vec<f64>,
    anywhere: Vec<f64>,
    host: Vec<u32>,
    left: Vec<[f64; 2]>,
    best_value: f64,
    best: Option<Solution>,
    nodes: u64,
    stopped: bool,
}

impl<'t, 'r> Tree<'t, 'r> {
    fn new(pairs: &'t Pairs<'t>, objective: &'t dyn Objective, run: &'t mut Run<'r>) -> Self {
        let fixed = pairs.fixed;
        let (hosts, demands) = (fixed.net.hosts, fixed.from.len());
        let mut from_host = vec![f64::NEG_INFINITY; demands * hosts];
        let mut to_host = from_host.clone();
        let mut anywhere = vec![f64::NEG_INFINITY; demands];
        for (demand, most) in anywhere.iter_mut().enumerate() {
            let (from, to) = (fixed.from[demand] as usize, fixed.to[demand] as usize);
            for a in (0..hosts).filter(|a| pairs.may_be(from, *a)) {
                for b in (0..hosts).filter(|b| pairs.may_be(to, *b)) {
                    // Those who share a host must fit there together.
                    let fits = |kind: usize| {
                        fixed.need[from][kind] + fixed.need[to][kind] <= fixed.room[a][kind] * (1.0 + 1e-9)
                    };
                    if a == b && !(fits(0) && fits(1)) {
                        continue;
                    }
                    let value = pairs.value(demand, a, b);
                    let at = demand * hosts;
                    from_host[at + a] = from_host[at + a].max(value);
                    to_host[at + b] = to_host[at + b].max(value);
                    *most = most.max(value);
                }
            }
        }
        Self {
            order: order(fixed),
            host: vec![NONE; fixed.need.len()],
            left: fixed.room.iter().map(|room| room.map(|room| room * (1.0 + 1e-9))).collect(),
            best_value: f64::NEG_INFINITY,
            best: None,
            nodes: 0,
            stopped: false,
            from_host,
            to_host,
            anywhere,
            objective,
            run,
            fixed,
            pairs,
        }
    }

    /// Whether a subtree worth at most `limit` can be dropped.
    fn is_beaten(&self, limit: f64) -> bool {
        limit <= self.best_value + 1e-9 * self.best_value.abs().max(1e-9)
    }

    fn tick(&mut self) {
        self.nodes += 1;
        if self.nodes.is_multiple_of(BATCH) && self.run.is_over() {
            self.stopped = true;
        }
    }

    fn place(&mut self, depth: usize) {
        self.tick();
        if self.stopped {
            return;
        }
        let Some(vm) = self.order.get(depth).copied() else {
            self.route();
            return;
        };
        let need = self.fixed.need[vm];
        let mut children: Vec<(f64, usize)> = Vec::new();
        for host in 0..self.fixed.net.hosts {
            let fits = (0..2).all(|kind| need[kind] <= self.left[host][kind]);
            if !fits || !self.pairs.may_be(vm, host) {
                continue;
            }
            self.enter(vm, host, 1.0);
            let limit = self.limit();
            self.enter(vm, host, -1.0);
            if !self.is_beaten(limit) {
                children.push((limit, host));
            }
        }
        children.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
        for (limit, host) in children {
            if self.is_beaten(limit) || self.stopped {
                return;
            }
            self.enter(vm, host, 1.0);
            self.place(depth + 1);
            self.enter(vm, host, -1.0);
        }
    }

    /// Puts `vm` on `host`, `sign` 1, or takes it away, `sign` -1.
    fn enter(&mut self, vm: usize, host: usize, sign: f64) {
        self.host[vm] = if sign > 0.0 { host as u32 } else { NONE };
        for kind in 0..2 {
            self.left[host][kind] -= sign * self.fixed.need[vm][kind];
        }
    }

    /// The most that the demands can be worth with the VMs placed so far.
    fn limit(&self) -> f64 {
        let hosts = self.fixed.net.hosts;
        let mut limit = 0.0;
        for demand in 0..self.anywhere.len() {
            let (from, to) = (self.fixed.from[demand] as usize, self.fixed.to[demand] as usize);
            limit += match (self.host[from], self.host[to]) {
                (NONE, NONE) => self.anywhere[demand],
                (a, NONE) => {
                    self.beside(demand, to, a as usize, self.from_host[demand * hosts + a as usize], true)
                }
                (NONE, b) => {
                    self.beside(demand, from, b as usize, self.to_host[demand * hosts + b as usize], false)
                }
                (a, b) => self.pairs.value(demand, a as usize, b as usize),
            };
        }
        limit
    }

    /// The most that `demand` is worth with one end on `host` and `vm` still to be placed: `best`,
    /// unless that is beside the partner and there is no room left.
    fn beside(&self, demand: usize, vm: usize, host: usize, best: f64, from: bool) -> f64 {
        let need = self.fixed.need[vm];
        if (0..2).all(|kind| need[kind] <= self.left[host][kind])
            || self.pairs.value(demand, host, host) < best
        {
            return best;
        }
        let others =
            (0..self.fixed.net.hosts).filter(|other| *other != host && self.pairs.may_be(vm, *other));
        let value = |other| {
            if from { self.pairs.value(demand, host, other) } else { self.pairs.value(demand, other, host) }
        };
        others.map(value).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Routes a complete mapping over all simple paths.
    fn route(&mut self) {
        let fixed = self.fixed;
        let mut state = State::empty(fixed, self.objective);
        state.restore(&self.host, &vec![Vec::new(); fixed.from.len()]);
        let mut demands: Vec<u32> = (0..fixed.from.len() as u32)
            .filter(|demand| {
                let (a, b) = state.ends(*demand);
                a != b
            })
            .collect();
        demands.sort_by(|x, y| fixed.bandwidth[*y as usize].total_cmp(&fixed.bandwidth[*x as usize]));
        // What demands within a host are worth; the others are judged under way.
        let within: f64 = (0..fixed.from.len())
            .map(|demand| (demand, state.ends(demand as u32)))
            .filter(|(_, (a, b))| a == b)
            .map(|(demand, (a, b))| self.pairs.value(demand, a as usize, b as usize))
            .sum();
        let mut routing = Routing { tree: self, state, demands, within };
        routing.next(0);
    }
}

/// VMs by their number of demands with those before, then by their own.
fn order(fixed: &Fixed<'_>) -> Vec<usize> {
    let mut waiting: Vec<usize> = (0..fixed.need.len()).collect();
    let mut pull = vec![0usize; waiting.len()];
    let mut order = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let rank = |vm: usize| (fixed.pin[vm] != NONE, pull[vm], fixed.demands_of[vm].len());
        let best = (0..waiting.len()).max_by_key(|at| rank(waiting[*at])).unwrap_or(0);
        let vm = waiting.swap_remove(best);
        for demand in &fixed.demands_of[vm] {
            let (a, b) = (fixed.from[*demand as usize] as usize, fixed.to[*demand as usize] as usize);
            pull[if a == vm { b } else { a }] += 1;
        }
        order.push(vm);
    }
    order
}

/// The part of the tree below a complete mapping.
struct Routing<'a, 't, 'r> {
    tree: &'a mut Tree<'t, 'r>,
    state: State<'t>,
    demands: Vec<u32>,
    within: f64,
}

impl Routing<'_, '_, '_> {
    fn next(&mut self, depth: usize) {
        self.tree.tick();
        if self.tree.stopped {
            return;
        }
        let (routed, open) = self.limit(depth);
        if self.tree.is_beaten(self.within + routed + open) {
            return;
        }
        let Some(demand) = self.demands.get(depth).copied() else {
            if self.state.is_feasible() {
                self.tree.best_value = self.state.value();
                self.tree.best = Some(self.state.solution());
            }
            return;
        };
        let Some(paths) = self.paths(demand) else {
            self.tree.stopped = true;
            return;
        };
        // What the other open demands are worth at most, and the routed ones without this one.
        let others = self.within + routed + open - self.most(demand);
        let unserved = self.state.worth(demand);
        let mut children: Vec<(f64, Vec<u32>)> = paths
            .into_iter()
            .map(|path| {
                let delta = self.state.try_paths(&mut vec![(demand, path.clone())]);
                self.state.discard();
                (others + delta + unserved, path)
            })
            .collect();
        // The best first: good solutions early rule out much.
        children.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.len().cmp(&y.1.len())));
        for (limit, path) in children {
            if self.tree.is_beaten(limit) {
                return;
            }
            self.state.try_paths(&mut vec![(demand, path)]);
            self.state.commit();
            self.next(depth + 1);
            self.state.try_paths(&mut vec![(demand, Vec::new())]);
            self.state.commit();
            if self.tree.stopped {
                return;
            }
        }
    }

    /// What the first `depth` demands are worth on their paths, and what the others can be worth at
    /// most under that load.
    fn limit(&self, depth: usize) -> (f64, f64) {
        let routed = self.demands[..depth].iter().map(|demand| self.state.worth(*demand)).sum();
        (routed, self.demands[depth..].iter().map(|demand| self.most(*demand)).sum())
    }

    /// The most that a demand without a path can be worth under the present load.
    fn most(&self, demand: u32) -> f64 {
        let (fixed, index) = (self.tree.fixed, demand as usize);
        let (a, b) = self.state.ends(demand);
        let alone = self.tree.pairs.value(index, a as usize, b as usize);
        let residual = self.widest(a, b) - fixed.bandwidth[index];
        if residual < -1e-6 * fixed.bandwidth[index].max(1e-9) {
            return f64::NEG_INFINITY;
        }
        let service = self.tree.pairs.service(index, a as usize, b as usize);
        let service = Service { residual: residual.max(0.0).min(service.residual), ..service };
        alone.min(self.tree.objective.gain(&fixed.problem.demands()[index], service))
    }

    /// What the widest path between two hosts has left under the present load; negative if there is none.
    fn widest(&self, a: u32, b: u32) -> f64 {
        let net = &self.tree.fixed.net;
        let mut width = vec![-1.0f64; net.hosts];
        let mut open = vec![true; net.hosts];
        width[a as usize] = f64::INFINITY;
        loop {
            let candidates = (0..net.hosts).filter(|host| open[*host] && width[*host] >= 0.0);
            let Some(at) = candidates.max_by(|x, y| width[*x].total_cmp(&width[*y])) else { return -1.0 };
            if at == b as usize {
                return width[at];
            }
            open[at] = false;
            for edge in net.edges_from(at as u32) {
                let next = net.to[*edge as usize] as usize;
                width[next] = width[next].max(width[at].min(net.residual(*edge, &self.state.load)));
            }
        }
    }

    /// All simple paths with enough bandwidth and within the latency bound; `None` when there is no time for them or they are too many.
    fn paths(&self, demand: u32) -> Option<Vec<Vec<u32>>> {
        let fixed = self.tree.fixed;
        let (start, end) = self.state.ends(demand);
        let mut walk = Walk {
            state: &self.state,
            run: &*self.tree.run,
            steps: 0,
            stopped: false,
            end,
            bandwidth: fixed.bandwidth[demand as usize],
            latency_bound: fixed.latency_bound[demand as usize] * (1.0 + 1e-10),
            visited: vec![false; fixed.net.hosts],
            edges: Vec::new(),
            found: Vec::new(),
        };
        walk.visit(start, 0.0);
        (!walk.stopped).then_some(walk.found)
    }
}

/// Enumerates simple paths.
struct Walk<'a, 't, 'r> {
    state: &'a State<'t>,
    run: &'a Run<'r>,
    steps: u64,
    stopped: bool,
    end: u32,
    bandwidth: f64,
    latency_bound: f64,
    visited: Vec<bool>,
    edges: Vec<u32>,
    found: Vec<Vec<u32>>,
}

impl Walk<'_, '_, '_> {
    fn visit(&mut self, at: u32, latency: f64) {
        if at == self.end {
            self.found.push(self.edges.clone());
            return;
        }
        self.steps += 1;
        self.stopped |=
            self.found.len() >= MOST_PATHS || (self.steps.is_multiple_of(16 * BATCH) && self.run.is_over());
        if self.stopped {
            return;
        }
        self.visited[at as usize] = true;
        let net = &self.state.fixed.net;
        for edge in net.edges_from(at) {
            let next = net.to[*edge as usize];
            let left = net.residual(*edge, &self.state.load) - self.bandwidth;
            let latency = latency + net.latency[*edge as usize];
            if self.visited[next as usize] || left < -1e-10 * self.bandwidth || latency > self.latency_bound {
                continue;
            }
            self.edges.push(*edge);
            self.visit(next, latency);
            self.edges.pop();
        }
        self.visited[at as usize] = false;
    }
}
