//! Several threads, each with a seed of its own.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::objective::{Objective, Sense};
use crate::problem::Problem;
use crate::run::{Progress, Run};
use crate::solution::Solution;
use crate::solver::{SolveError, Solver};

/// Runs a solver on several threads with different seeds and returns the best result.
///
/// With one thread it is the solver itself. The result depends on the seed alone where
/// that of the solver does, whichever thread is done first.
pub struct Portfolio {
    solver: Box<dyn Solver>,
    threads: usize,
}

impl Portfolio {
    /// `solver` on `threads` threads (at least 1).
    pub fn new(solver: Box<dyn Solver>, threads: usize) -> Self {
        Self { solver, threads: threads.max(1) }
    }
}

impl Solver for Portfolio {
    fn name(&self) -> &'static str {
        self.solver.name()
    }

    fn solve(
        &self,
        problem: &Problem,
        objective: &dyn Objective,
        run: &mut Run<'_>,
    ) -> Result<Solution, SolveError> {
        if self.threads == 1 {
            return self.solver.solve(problem, objective, run);
        }
        let seeds: Vec<u64> =
            (0..self.threads as u64).map(|thread| run.seed().wrapping_add(thread)).collect();
        let parts: Vec<Run<'_>> = seeds.iter().map(|seed| run.part(run.limit(), *seed)).collect();
        let (stop, watched) = (AtomicBool::new(false), Mutex::new(run));
        let results: Vec<_> = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, part) in parts.into_iter().enumerate() {
                let (watched, stop) = (&watched, &stop);
                let watch = move |progress: Progress| {
                    // The first thread speaks for all.
                    if index == 0
                        && let Ok(mut run) = watched.lock()
                    {
                        run.report(progress.moves, progress.best);
                        stop.store(run.is_cancelled(), Ordering::Relaxed);
                    }
                    if stop.load(Ordering::Relaxed) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                threads.push(scope.spawn(move || {
                    let mut part = part.with_progress(watch);
                    self.solver.solve(problem, objective, &mut part)
                }));
            }
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let unwound = |panic| std::panic::resume_unwind(panic);
        let results = results.into_iter().map(|result| result.unwrap_or_else(unwound)).collect();
        best(results, objective.sense())
    }
}

/// The best solution; if there is none, the first error.
fn best(results: Vec<Result<Solution, SolveError>>, sense: Sense) -> Result<Solution, SolveError> {
    let better = |a: &Solution, b: &Solution| match sense {
        Sense::Maximise => a.objective > b.objective,
        Sense::Minimise => a.objective < b.objective,
    };
    let pick = |a: Result<Solution, SolveError>, b: Result<Solution, SolveError>| match (a, b) {
        (Ok(a), Ok(b)) => Ok(if better(&b, &a) { b } else { a }),
        (Err(_), Ok(b)) => Ok(b),
        (a, _) => a,
    };
    // There is at least one thread, so there is a result.
    results.into_iter().reduce(pick).expect("a portfolio has at least one thread")
}
