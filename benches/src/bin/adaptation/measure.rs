//! Runs of solvers on instances, compared with the best values known.

use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use vadapt::verify::verify;
use vadapt::{
    Annealing, Clock, Exact, GreedyMapping, Problem, Run, Search, Sense, Solution, SolveError, Solver,
};

use crate::best::{Best, Known};
use crate::instances::Instance;
use crate::report::Row;

/// The processor time of this thread: what an idle core would need, however busy the machine is.
pub(crate) struct CpuClock;

impl Clock for CpuClock {
    fn now(&self) -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        // Neither part is negative.
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }
}

/// A checked solution, if there is one, and the time that it took.
pub(crate) struct Solved {
    pub(crate) solution: Option<Solution>,
    /// Whether there is proven to be none.
    pub(crate) impossible: bool,
    pub(crate) time: Duration,
}

pub(crate) fn solve(
    solver: &dyn Solver,
    instance: &Instance,
    problem: &Problem,
    limit: Duration,
    seed: u64,
) -> anyhow::Result<Solved> {
    let clock = CpuClock;
    let begin = clock.now();
    let solved = solver.solve(problem, &*instance.objective, &mut Run::new(&clock, limit).with_seed(seed));
    let time = clock.now().saturating_sub(begin);
    let impossible = matches!(solved, Err(SolveError::Infeasible { .. }));
    let solution = solved.ok();
    if let Some(solution) = &solution {
        verify(problem, solution, &*instance.objective)
            .map_err(|broken| anyhow::anyhow!("{}", broken[0]))
            .with_context(|| format!("{}: {} returned a bad solution", instance.name, solver.name()))?;
    }
    Ok(Solved { solution, impossible, time })
}

/// Looks for better values, with the exact solver where it may end, and with the search.
pub(crate) fn record(
    instances: &[Instance],
    time: Duration,
    seed: u64,
    best: &mut Best,
) -> anyhow::Result<()> {
    for instance in instances {
        let problem = instance.problem()?;
        if best.of(&instance.name).is_some_and(|known| known.proven) {
            continue;
        }
        let mut solvers: Vec<&dyn Solver> = vec![&Search];
        if problem.graph().node_count() <= 8 && !instance.routing {
            solvers.push(&Exact);
        }
        for solver in solvers {
            let found = solve(solver, instance, &problem, time, seed)?;
            let how = format!("{} {} s", solver.name(), time.as_secs_f64());
            if let Some(known) = known(&found, how) {
                best.offer(&instance.name, instance.objective.sense(), known);
            }
        }
        let known = best.of(&instance.name).map(|known| (known.value, known.proven));
        println!("{}\t{known:?}", instance.name);
    }
    Ok(())
}

/// What was learnt, if anything.
fn known(solved: &Solved, how: String) -> Option<Known> {
    match &solved.solution {
        Some(solution) => Some(Known { value: solution.objective, proven: solution.gap() == Some(0.0), how }),
        None => solved.impossible.then_some(Known { value: f64::NAN, proven: true, how }),
    }
}

/// What a solver reached on a class of problems.
#[derive(Default)]
struct Tally {
    ratios: Vec<f64>,
    proven: Vec<f64>,
    times: Vec<f64>,
    missed: usize,
    optimal: usize,
    /// Instances that have no solution, and those where the solver proved it.
    impossible: usize,
    shown: usize,
}

impl Tally {
    fn add(&mut self, instance: &Instance, solved: &Solved, known: Option<&Known>) {
        self.times.push(solved.time.as_secs_f64() * 1e3);
        if known.is_some_and(|known| known.value.is_nan()) {
            // There is no solution: nothing can be missed.
            self.impossible += 1;
            self.shown += usize::from(solved.impossible);
            return;
        }
        let Some(solution) = &solved.solution else {
            let possible = known.is_some() || instance.has_solution();
            self.missed += usize::from(possible);
            if possible {
                self.ratios.push(0.0);
            }
            return;
        };
        let known = known.map_or(solution.objective, |known| known.value);
        let ratio = ratio(solution.objective, known, instance.objective.sense());
        self.ratios.push(ratio);
        self.optimal += usize::from(ratio > 1.0 - 1e-6);
    }
}

/// How good `value` is against the best known: 1 is as good, less is worse.
pub(crate) fn ratio(value: f64, best: f64, sense: Sense) -> f64 {
    // Minimised values may be 0: count from one.
    match sense {
        Sense::Maximise if best == 0.0 => 1.0,
        Sense::Maximise => value / best,
        Sense::Minimise => (1.0 + best) / (1.0 + value),
    }
}

/// How a class is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) seed: u64,
    /// Whether to print every instance.
    pub(crate) verbose: bool,
    /// Whether to leave out the solvers of the papers.
    pub(crate) search_only: bool,
}

/// Measures a class at several limits; the first row is the papers' greedy, for comparison.
pub(crate) fn class(
    title: &str,
    instances: &[Instance],
    limits: &[Duration],
    how: How,
    best: &mut Best,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let greedy = GreedyMapping::papers();
    let mut plans: Vec<(&dyn Solver, Duration)> = Vec::new();
    if !how.search_only && !instances.iter().any(|instance| instance.routing) {
        plans.push((&greedy, limits[0]));
        plans.push((&Annealing, limits[limits.len().saturating_sub(2)]));
    }
    plans.extend(limits.iter().map(|limit| (&Search as &dyn Solver, *limit)));
    let problems: Vec<Problem> = instances.iter().map(Instance::problem).collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for (solver, limit) in &plans {
        for (instance, problem) in instances.iter().zip(&problems) {
            let solved = solve(*solver, instance, problem, *limit, how.seed)?;
            if let Some(known) = known(&solved, format!("{} {} s", solver.name(), limit.as_secs_f64())) {
                best.offer(&instance.name, instance.objective.sense(), known);
            }
            all.push(solved);
        }
    }
    for ((solver, limit), solved) in plans.iter().zip(all.chunks(instances.len().max(1))) {
        let mut tally = Tally::default();
        for (instance, solved) in instances.iter().zip(solved) {
            let known = best.of(&instance.name);
            tally.add(instance, solved, known);
            if known.is_some_and(|known| known.proven && !known.value.is_nan()) {
                tally.proven.push(*tally.ratios.last().unwrap_or(&0.0));
            }
            if how.verbose {
                let value = solved.solution.as_ref().map(|solution| solution.objective);
                let ratio = tally.ratios.last().copied().unwrap_or(f64::NAN);
                let time = solved.time.as_secs_f64() * 1e3;
                println!("{} {} {limit:?}: {ratio:.5} {value:?} {time:.1} ms", instance.name, solver.name());
            }
        }
        rows.push(tally.row(title, solver.name(), *limit));
    }
    Ok(rows)
}

impl Tally {
    fn row(&self, title: &str, solver: &'static str, limit: Duration) -> Row {
        let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
        let least = |list: &[f64]| list.iter().copied().fold(f64::INFINITY, f64::min);
        Row {
            line: title.into(),
            solver: solver.into(),
            limit_ms: limit.as_secs_f64() * 1e3,
            instances: self.times.len(),
            mean: mean(&self.ratios),
            worst: least(&self.ratios),
            best_reached: self.optimal,
            missed: self.missed,
            impossible: self.impossible,
            shown_impossible: self.shown,
            proven: self.proven.len(),
            proven_mean: mean(&self.proven),
            proven_worst: least(&self.proven),
            slowest_ms: self.times.iter().copied().fold(0.0, f64::max),
        }
    }
}
