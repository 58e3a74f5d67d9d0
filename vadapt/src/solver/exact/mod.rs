//! Branch and bound: the optimum of small problems, proven.

mod cut;
mod place;
mod route;
mod table;

use crate::bound::upper_bound;
use crate::fixed::Fixed;
use crate::objective::{Objective, Sense};
use crate::problem::Problem;
use crate::run::Run;
use crate::solution::Solution;
use crate::solver::{Search, SolveError, Solver, checked};
use crate::state::State;

use place::{Hunt, Placing};
use table::Table;

/// Branch and bound over mappings, then over simple paths.
///
/// A first solution comes from [`Search`] in a fifth of the time. Then the VM with fewest hosts left is
/// placed, again and again; hosts are ruled out by what each VM can be worth there at most (its
/// *star*: the widest path to each partner within the latency bound, partners that share the host only
/// as room allows). Demands between placed VMs are charged what they lose by sharing the
/// edges at a host, for the best split (dynamic programming over subsets). Below a complete mapping, what
/// all demands may lose together is a budget, so that only paths are enumerated that cost less; the
/// demand whose best path costs most is routed first. Exponential; problems of 8 hosts and 8
/// VMs take milliseconds to seconds; above 64 hosts nothing is enumerated. When it ends in time the
/// optimum is proven (`bound` equals `objective`), or that there is no solution; otherwise `bound` is
/// that of [`upper_bound`].
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
        match &first {
            Ok(solution) if solution.bound.is_some() => return first,
            Ok(solution) => {
                let proven = Solution { bound, ..solution.clone() };
                if proven.gap() == Some(0.0) {
                    return Ok(proven);
                }
            }
            Err(SolveError::Infeasible { .. }) => return first,
            Err(_) => {}
        }
        let fixed = Fixed::new(problem, objective);
        let sign = if objective.sense() == Sense::Maximise { 1.0 } else { -1.0 };
        let known = first.as_ref().ok().map(|solution| sign * solution.objective);
        let proof = prove(&fixed, objective, known, &[], run);
        let better = proof.better.map(|(hosts, paths)| {
            let mut state = State::empty(&fixed, objective);
            state.restore(&hosts, &paths);
            state.solution()
        });
        match (better.map_or(first, |solution| checked(problem, objective, solution)), proof.complete) {
            (Ok(solution), true) => Ok(Solution { bound: Some(solution.objective), ..solution }),
            (Ok(solution), false) => Ok(Solution { bound, ..solution }),
            (Err(error), true) => Err(infeasible(&error)),
            (Err(error), false) => Err(error),
        }
    }
}

/// That all has been looked at; `error` is what the best attempt came to.
pub(crate) fn infeasible(error: &SolveError) -> SolveError {
    let mut reason = "every mapping and routing breaks a constraint (searched completely)".to_owned();
    if let SolveError::NoSolution { broken, .. } = error {
        reason += &format!("; the best attempt breaks first: {broken}");
    }
    SolveError::Infeasible { reason }
}

/// What a complete search found.
pub(crate) struct Proof {
    /// Hosts and paths of a better solution than the one known.
    pub(crate) better: Option<(Vec<u32>, Vec<Vec<u32>>)>,
    /// Whether nothing better than that exists.
    pub(crate) complete: bool,
}

/// Looks for solutions worth more than `known` (to maximise) until the run ends or there are no more.
/// The objective must be monotone. The `promising` mappings are looked at first.
pub(crate) fn prove(
    fixed: &Fixed<'_>,
    objective: &dyn Objective,
    known: Option<f64>,
    promising: &[Vec<u32>],
    run: &mut Run<'_>,
) -> Proof {
    let Some(table) = Table::new(fixed, objective) else {
        return Proof { better: None, complete: false };
    };
    let mut hunt = Hunt::new(&table, known.unwrap_or(f64::NEG_INFINITY), run);
    let mut placing = Placing::new(&mut hunt);
    placing.try_first(promising);
    placing.search();
    tracing::debug!(nodes = hunt.nodes, complete = !hunt.stopped, "exact");
    Proof { better: hunt.best, complete: !hunt.stopped }
}
