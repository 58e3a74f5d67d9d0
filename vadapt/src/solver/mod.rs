//! Solvers behind one trait.

mod annealing;
mod exact;
mod greedy;
mod readapt;
mod routing;
mod search;

pub use annealing::Annealing;
pub use exact::Exact;
pub use greedy::{FastPath, GreedyMapping, GreedyVariant, greedy_topology};
pub use readapt::Readapt;
pub use routing::PricedRouting;
pub use search::Search;

use crate::objective::Objective;
use crate::problem::Problem;
use crate::run::Run;
use crate::solution::Solution;
use crate::verify::{Violation, verify};

/// Why a solver has no solution.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SolveError {
    /// No feasible solution was found before the end of the run.
    #[error("no feasible solution found; the best attempt breaks first: {broken}")]
    NoSolution {
        /// The first constraint that the best attempt breaks.
        broken: Violation,
        /// The best attempt, with the objective computed as if it were feasible.
        attempt: Box<Solution>,
    },
    /// No solution exists.
    #[error("there is no solution: {reason}")]
    Infeasible {
        /// Why, as a sentence, with the constraint that the best attempt breaks first.
        reason: String,
    },
    /// The solver can't handle this kind of problem.
    #[error("{solver} can't solve this: {reason}")]
    Unsupported {
        /// The solver.
        solver: &'static str,
        /// What is in the way and what to use instead.
        reason: String,
    },
}

/// Something that solves adaptation problems.
///
/// Solvers are *anytime*: they stop soon after the deadline of the [`Run`] and return the
/// best that they have. For the same problem, seed and readings of the clock they return
/// the same solution; with a [`StepClock`](crate::StepClock) that holds on any machine.
pub trait Solver: Sync {
    /// Its name, as on the command line of `vadapt`.
    fn name(&self) -> &'static str;

    /// Solves `problem` within `run`.
    ///
    /// # Errors
    ///
    /// [`SolveError::NoSolution`] with the best attempt when none was found.
    fn solve(
        &self,
        problem: &Problem,
        objective: &dyn Objective,
        run: &mut Run<'_>,
    ) -> Result<Solution, SolveError>;
}

/// That there is at least one host, if there are VMs.
pub(crate) fn has_hosts(problem: &Problem) -> Result<(), SolveError> {
    if problem.graph().node_count() == 0 && !problem.vms().is_empty() {
        return Err(SolveError::Infeasible { reason: "there are VMs but no hosts".into() });
    }
    Ok(())
}

/// Hands `solution` on if it is feasible.
pub(crate) fn checked(
    problem: &Problem,
    objective: &dyn Objective,
    solution: Solution,
) -> Result<Solution, SolveError> {
    match verify(problem, &solution, objective) {
        Ok(verified) => Ok(Solution { objective: verified.objective, ..solution }),
        Err(broken) => {
            // `verify` never returns an empty list of violations.
            let broken = broken.into_iter().next().expect("a rejection names what is broken");
            Err(SolveError::NoSolution { broken, attempt: Box::new(solution) })
        }
    }
}
