//! Simulated annealing as in the authors' later papers.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::fixed::Fixed;
use crate::network::NONE;
use crate::objective::Objective;
use crate::problem::Problem;
use crate::routes::Routes;
use crate::run::Run;
use crate::solution::Solution;
use crate::solver::greedy::map_papers;
use crate::solver::{SolveError, Solver, checked, has_hosts};
use crate::state::State;

/// Plain annealing, started from the papers' greedy mapping: the baseline to be ahead of.
///
/// Each step moves one random VM to a random host with room, or exchanges two VMs, takes the
/// widest path for its demands, and is accepted by the Metropolis rule; the temperature falls
/// geometrically over the time of the run (Sundararaj, Sanghi, Lange, Dinda: "An optimization
/// problem in adaptive virtual environments", 2005, perturbs mapping and paths alike). `O(degree *
/// path length * users of an edge)` per step. No guarantee.
///
/// ```
/// use std::time::Duration;
/// use vadapt::generate::Generate;
/// use vadapt::{Annealing, ResidualBandwidth, Run, Solver, StepClock};
///
/// let problem = Generate::default().problem()?;
/// let clock = StepClock::default();
/// let mut run = Run::new(&clock, Duration::from_millis(1));
/// assert!(Annealing.solve(&problem, &ResidualBandwidth, &mut run)?.objective > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Annealing;

impl Solver for Annealing {
    fn name(&self) -> &'static str {
        "annealing"
    }

    fn solve(
        &self,
        problem: &Problem,
        objective: &dyn Objective,
        run: &mut Run<'_>,
    ) -> Result<Solution, SolveError> {
        has_hosts(problem)?;
        let fixed = Fixed::new(problem, objective);
        let mut state = State::empty(&fixed, objective);
        let mut routes = Routes::new(&fixed.net, fixed.has_latency_bounds);
        map_papers(&mut state, &mut routes);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(run.seed());
        let mut best = (state.is_feasible(), state.value(), state.host.clone(), state.path.clone());
        let (start, begin) = (0.1 * fixed.unit, run.elapsed());
        let whole = run.limit().saturating_sub(begin).max(Duration::from_nanos(1)).as_secs_f64();
        let (mut temperature, mut steps) = (start, 0u64);
        while !fixed.movable.is_empty() {
            steps += 1;
            if steps.is_multiple_of(16) {
                if run.is_over() {
                    break;
                }
                let part = run.elapsed().saturating_sub(begin).as_secs_f64() / whole;
                temperature = start * 1e-4f64.powf(part);
                run.report(steps, best.0.then_some(best.1));
            }
            let Some(shifts) = perturbation(&state, &mut rng) else { continue };
            let delta = state.try_shift(&shifts, &mut routes);
            if delta < 0.0 && rng.random::<f64>() >= (delta / temperature).exp() {
                state.discard();
                continue;
            }
            state.commit();
            let now = (state.is_feasible(), state.value());
            if now > (best.0, best.1) {
                best = (now.0, now.1, state.host.clone(), state.path.clone());
            }
        }
        state.restore(&best.2, &best.3);
        checked(problem, objective, state.solution())
    }
}

/// A random VM to a random host with room, or two VMs exchanged.
fn perturbation(state: &State<'_>, rng: &mut Xoshiro256PlusPlus) -> Option<Vec<(u32, u32)>> {
    let fixed = state.fixed;
    let vm = fixed.movable[rng.random_range(0..fixed.movable.len())];
    let host = rng.random_range(0..fixed.net.hosts as u32);
    let old = state.host[vm as usize];
    if host == old {
        return None;
    }
    if state.has_room(host, vm) {
        return Some(vec![(vm, host)]);
    }
    let others = &state.vms_on[host as usize];
    let other = *others.get(rng.random_range(0..others.len().max(1)))?;
    (fixed.pin[other as usize] == NONE).then(|| vec![(vm, host), (other, old)])
}
