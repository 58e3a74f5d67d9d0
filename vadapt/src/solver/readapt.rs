//! Re-adaptation: from what is in force to something better, in few migrations.

use crate::fixed::Fixed;
use crate::network::NONE;
use crate::objective::Objective;
use crate::problem::{Current, Problem};
use crate::routes::{Query, Routes};
use crate::run::Run;
use crate::solution::{Path, Solution};
use crate::solver::search::{Searcher, Snapshot};
use crate::solver::{SolveError, Solver, checked};
use crate::state::State;

/// Search that starts from the [current state](Problem::current) and pays for every VM that it moves.
///
/// A VM moves only if that gains more than [`Costs::migration`](crate::Costs::migration) and
/// more than `hysteresis` times what a VM is worth on average. If all that is found gains less than
/// `hysteresis` of the whole, the current state is returned as it is, so that nothing
/// changes without cause, and a VM doesn't move there and back as figures drift. A
/// current state that has become infeasible is left in any case.
///
/// The moves and their complexity are those of [`Search`](crate::Search), with the heat of walks
/// around a good state. Turn the result into steps with [`Plan::new`](crate::Plan::new).
///
/// ```
/// use std::time::Duration;
/// use vadapt::{Current, Plan, Readapt, ResidualBandwidth, Run, Search, Solver, StepClock};
/// use vadapt::generate::Generate;
///
/// let mut problem = Generate::default().problem()?;
/// let clock = StepClock::default();
/// let limit = Duration::from_millis(1);
/// let first = Search.solve(&problem, &ResidualBandwidth, &mut Run::new(&clock, limit))?;
/// let paths = first.paths.iter().cloned().map(Some).collect();
/// problem.set_current(Current { mapping: first.mapping, paths, links: None })?;
/// // Nothing has changed since: the plan is empty.
/// let again = Readapt::default().solve(&problem, &ResidualBandwidth, &mut Run::new(&clock, limit))?;
/// assert!(Plan::new(&problem, &again, &ResidualBandwidth).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readapt {
    /// The least gain that is worth a change, as a fraction; 0.015 by default.
    pub hysteresis: f64,
}

impl Default for Readapt {
    fn default() -> Self {
        Self { hysteresis: 0.015 }
    }
}

impl Solver for Readapt {
    fn name(&self) -> &'static str {
        "readapt"
    }

    fn solve(
        &self,
        problem: &Problem,
        objective: &dyn Objective,
        run: &mut Run<'_>,
    ) -> Result<Solution, SolveError> {
        let Some(current) = problem.current() else {
            let reason = "the problem has no current state; use `search` to start from nothing".into();
            return Err(SolveError::Unsupported { solver: self.name(), reason });
        };
        let mut fixed = Fixed::new(problem, objective);
        let now = present(&fixed, objective, current);
        // A current state that is broken has no worth to go by; the most that there could be will do.
        let most = fixed.unit * fixed.from.len() as f64;
        let worth = if now.feasible { now.value.abs() } else { most };
        fixed.move_cost =
            problem.costs().migration + self.hysteresis * worth / fixed.need.len().max(1) as f64;
        fixed.home.clone_from(&now.host);
        // Judging the answer takes about as long as reading the problem, a last pass ends a little late.
        run.hold_back(3 * run.elapsed() + run.limit() / 40);
        let mut searcher = Searcher::new(&fixed, objective, run.seed());
        searcher.back_to(&now);
        searcher.keep();
        searcher.walk_near(&now, run);
        searcher.finish(run);
        let found = searcher.best.clone();
        let gains = found.value - now.value > self.hysteresis * now.value.abs();
        searcher.back_to(if now.feasible && !gains { &now } else { &found });
        checked(problem, objective, searcher.state.solution())
    }
}

/// The current state; pinned VMs where they must be, and paths that don't fit found anew.
fn present(fixed: &Fixed<'_>, objective: &dyn Objective, current: &Current) -> Snapshot {
    let net = &fixed.net;
    let place = |(vm, host): (usize, &crate::problem::HostId)| match fixed.pin[vm] {
        NONE => host.index() as u32,
        pin => pin,
    };
    let hosts: Vec<u32> = current.mapping.iter().enumerate().map(place).collect();
    let mut routes = Routes::new(net, fixed.has_latency_bounds);
    let mut load = vec![0.0; net.capacity.len()];
    let mut paths = Vec::with_capacity(fixed.from.len());
    for demand in 0..fixed.from.len() {
        let (a, b) = (hosts[fixed.from[demand] as usize], hosts[fixed.to[demand] as usize]);
        let mut edges: Vec<u32> = current.paths[demand].iter().flat_map(|path| edges(fixed, path)).collect();
        let leads = |edges: &[u32]| match (edges.first(), edges.last()) {
            (Some(first), Some(last)) => net.from[*first as usize] == a && net.to[*last as usize] == b,
            _ => a == b,
        };
        if !leads(&edges) || a == b {
            edges.clear();
            if a != b {
                let (bandwidth, latency_bound) = (fixed.bandwidth[demand], fixed.latency_bound[demand]);
                let query = Query { a, b, bandwidth, latency_bound, anchor: b };
                routes.choose(net, query, &load, &mut edges);
            }
        }
        for resource in edges.iter().flat_map(|edge| net.resources(*edge)) {
            load[resource as usize] += fixed.bandwidth[demand];
        }
        paths.push(edges);
    }
    let mut state = State::empty(fixed, objective);
    state.restore(&hosts, &paths);
    Snapshot::of(&state)
}

fn edges(fixed: &Fixed<'_>, path: &Path) -> Vec<u32> {
    // `Problem::set_current` has checked that these edges exist.
    path.hops().map(|(a, b)| fixed.net.edge(a.index() as u32, b.index() as u32)).collect()
}
