//! `vadapt compare`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use vadapt::io::WallClock;
use vadapt::verify::verify;
use vadapt::{Clock, Run, Sense};

use crate::args::CompareArgs;
use crate::commands::read_problem;
use crate::table::table;

/// One solver on one problem.
#[derive(Debug, Serialize)]
struct Row {
    problem: String,
    solver: &'static str,
    limit_ms: u128,
    time_ms: f64,
    /// Absent when there is no feasible solution.
    objective: Option<f64>,
    /// The objective as a fraction of the best in the comparison.
    of_best: Option<f64>,
    bound: Option<f64>,
    /// The distance to the best bound, as a fraction of it.
    gap: Option<f64>,
    error: Option<String>,
}

pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let objective = args.objective.objective();
    let maximise = objective.sense() == Sense::Maximise;
    let mut rows = Vec::new();
    for path in &args.problems {
        let problem = read_problem(path)?;
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let first = rows.len();
        for solver in args.solvers.iter().map(|solver| solver.solver()) {
            for limit in &args.time {
                let clock = WallClock::start();
                let mut run = Run::new(&clock, *limit).with_seed(args.seed);
                let solved = solver.solve(&problem, &*objective, &mut run);
                let time = clock.now();
                let mut row = row(&name, solver.name(), *limit, time);
                match solved {
                    Ok(solution) => {
                        verify(&problem, &solution, &*objective)
                            .map_err(|broken| anyhow::anyhow!("{}", broken[0]))
                            .with_context(|| format!("{name}: {} returned a bad solution", solver.name()))?;
                        (row.objective, row.bound) = (Some(solution.objective), solution.bound);
                    }
                    Err(error) => row.error = Some(error.to_string()),
                }
                rows.push(row);
            }
        }
        rate(&mut rows[first..], maximise);
    }
    if args.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        print!("{}", table(&lay_out(&rows)));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(problem: &str, solver: &'static str, limit: Duration, time: Duration) -> Row {
    Row {
        problem: problem.into(),
        solver,
        limit_ms: limit.as_millis(),
        time_ms: time.as_secs_f64() * 1e3,
        objective: None,
        of_best: None,
        bound: None,
        gap: None,
        error: None,
    }
}

/// Compares the rows of one problem with the best value and the tightest bound among them.
fn rate(rows: &mut [Row], maximise: bool) {
    let better = |a: f64, b: f64| if maximise { a.max(b) } else { a.min(b) };
    let best = rows.iter().filter_map(|row| row.objective).reduce(better);
    let tighter = |a: f64, b: f64| if maximise { a.min(b) } else { a.max(b) };
    let bound = rows.iter().filter_map(|row| row.bound).reduce(tighter);
    for row in rows {
        let Some(objective) = row.objective else { continue };
        row.of_best = best.filter(|best| *best != 0.0).map(|best| objective / best);
        row.gap = bound.map(|bound| (bound - objective).abs() / bound.abs().max(1e-12));
    }
}

fn lay_out(rows: &[Row]) -> Vec<Vec<String>> {
    let heading = ["problem", "solver", "limit", "time ms", "objective", "of best", "gap", ""];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for row in rows {
        let figure = |value: Option<f64>, digits: usize| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "-".into(),
        };
        lines.push(vec![
            row.problem.clone(),
            row.solver.into(),
            format!("{} ms", row.limit_ms),
            format!("{:.1}", row.time_ms),
            figure(row.objective, 3),
            figure(row.of_best, 4),
            figure(row.gap, 4),
            row.error.clone().unwrap_or_default(),
        ]);
    }
    lines
}
