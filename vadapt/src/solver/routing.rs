//! Routing alone (RPVEE): sequential widest paths that pay for what they take.

use std::time::Duration;

use crate::finder::Finder;
use crate::fixed::Fixed;
use crate::network::NONE;
use crate::objective::Objective;
use crate::pool::Pool;
use crate::problem::Problem;
use crate::routes::Routes;
use crate::run::Run;
use crate::solution::Solution;
use crate::solver::{SolveError, Solver, checked};
use crate::state::State;

/// Routes the demands of a problem whose VMs are all pinned.
///
/// An adapted Dijkstra: the path of a demand is the one with the best balance of its own
/// residual bottleneck against what it takes from the present users of its edges. Demands are
/// routed in order of bandwidth, the largest first, then rerouted one by one, those with least
/// first, until a pass over all changes nothing. `O(demands * E log H)` per pass; a
/// local optimum for single reroutes.
///
/// ```
/// use std::time::Duration;
/// use vadapt::{PricedRouting, Problem, ResidualBandwidth, Run, Solver, StepClock};
///
/// let problem = Problem::from_json(r#"{
///     "hosts": [{"name": "a", "compute": 1, "size": 1}, {"name": "b", "compute": 1, "size": 1},
///               {"name": "c", "compute": 1, "size": 1}],
///     "edges": [{"from": "a", "to": "b", "bandwidth": 100}, {"from": "b", "to": "c", "bandwidth": 100},
///               {"from": "a", "to": "c", "bandwidth": 10}],
///     "vms": [{"name": "x", "compute": 1, "size": 1}, {"name": "y", "compute": 1, "size": 1}],
///     "demands": [{"from": "x", "to": "y", "bandwidth": 5}],
///     "mapping": {"x": "a", "y": "c"}
/// }"#)?;
/// let clock = StepClock::default();
/// let mut run = Run::new(&clock, Duration::from_secs(1));
/// let solution = PricedRouting.solve(&problem, &ResidualBandwidth, &mut run)?;
/// assert_eq!((solution.paths[0].len(), solution.objective), (2, 95.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PricedRouting;

impl Solver for PricedRouting {
    fn name(&self) -> &'static str {
        "routing"
    }

    fn solve(
        &self,
        problem: &Problem,
        objective: &dyn Objective,
        run: &mut Run<'_>,
    ) -> Result<Solution, SolveError> {
        let fixed = Fixed::new(problem, objective);
        if let Some(vm) = fixed.movable.first() {
            let name = &problem.vms()[*vm as usize].name;
            let reason =
                format!("VM `{name}` has no host yet; pin all VMs, or use `search`, which places them");
            return Err(SolveError::Unsupported { solver: self.name(), reason });
        }
        let mut state = State::empty(&fixed, objective);
        let mut routes = Routes::new(&fixed.net, fixed.has_latency_bounds);
        for vm in 0..fixed.pin.len() as u32 {
            state.try_shift(&[(vm, fixed.pin[vm as usize])], &mut routes);
            state.commit();
        }
        let (mut finder, mut pool) = (Finder::new(&fixed.net), Pool::new(fixed.mean_bandwidth));
        let end = run.limit();
        improve_routes(&mut state, &mut finder, &mut pool, run, end, usize::MAX);
        checked(problem, objective, state.solution())
    }
}

/// Reroutes demands one by one, the worst served first, until `passes` are over, a pass
/// changes nothing, or at `end` of the run. What was found goes to the pool.
pub(crate) fn improve_routes(
    state: &mut State<'_>,
    finder: &mut Finder,
    pool: &mut Pool,
    run: &mut Run<'_>,
    end: Duration,
    passes: usize,
) {
    let demands = state.fixed.from.len() as u32;
    let mut order: Vec<u32> = (0..demands).collect();
    for pass in 0..passes {
        order.sort_by(|x, y| {
            let rank = |demand: u32| {
                (!state.is_broken(demand), state.residual(demand), -state.fixed.bandwidth[demand as usize])
            };
            let (x_rank, y_rank) = (rank(*x), rank(*y));
            let by_figures = x_rank.1.total_cmp(&y_rank.1).then(x_rank.2.total_cmp(&y_rank.2));
            x_rank.0.cmp(&y_rank.0).then(by_figures).then(x.cmp(y))
        });
        let mut changed = false;
        for (index, demand) in order.iter().enumerate() {
            if index % 8 == 0 {
                if run.is_cancelled() || run.elapsed() >= end {
                    return;
                }
                run.report((pass * order.len() + index) as u64, None);
            }
            let (a, b) = state.ends(*demand);
            if a == b || a == NONE || b == NONE {
                continue;
            }
            let Some(path) = finder.best_path(state, *demand) else { continue };
            pool.add(a, b, &path);
            if path == state.path[*demand as usize] {
                continue;
            }
            let delta = state.try_paths(&mut vec![(*demand, path)]);
            if delta > 1e-9 * state.value().abs().max(1.0) {
                state.commit();
                changed = true;
            } else {
                state.discard();
            }
        }
        if !changed {
            return;
        }
    }
}

/// Reroutes the demands that are broken, as long as that helps and for a few passes.
pub(crate) fn mend_routes(state: &mut State<'_>, finder: &mut Finder, run: &Run<'_>) {
    let (demands, begin) = (state.fixed.from.len() as u32, run.elapsed());
    for _ in 0..3 {
        let mut changed = false;
        for demand in 0..demands {
            let (a, b) = state.ends(demand);
            if !state.is_broken(demand) || a == b || a == NONE || b == NONE {
                continue;
            }
            // Mending is hopeless or takes long where much is broken: moves of VMs do more then.
            if run.elapsed().saturating_sub(begin) > run.limit() / 20 || run.is_cancelled() {
                return;
            }
            let Some(path) = finder.best_path(state, demand) else { continue };
            if state.try_paths(&mut vec![(demand, path)]) > 0.0 {
                state.commit();
                changed = true;
            } else {
                state.discard();
            }
        }
        if !changed {
            return;
        }
    }
}
