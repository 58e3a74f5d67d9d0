//! `vadapt solve`.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Context;
use vadapt::bound::upper_bound;
use vadapt::io::{Portfolio, WallClock};
use vadapt::{Progress, Run, Solver};

use crate::args::SolveArgs;
use crate::commands::{read_problem, write};

pub(crate) fn run(args: &SolveArgs) -> anyhow::Result<ExitCode> {
    let clock = WallClock::start();
    let problem = read_problem(&args.problem)?;
    let objective = args.objective.objective();
    let portfolio = Portfolio::new(args.solver.solver(), usize::from(args.threads));
    let shown = !args.quiet && std::io::stderr().is_terminal();
    let mut run = Run::new(&clock, args.time).with_seed(args.seed);
    if shown {
        run = run.with_progress(show);
    }
    let solution = portfolio.solve(&problem, &*objective, &mut run);
    if shown {
        eprint!("\r\x1b[K");
    }
    let mut solution = solution.with_context(|| {
        format!("{} has no answer to {} within {:?}", portfolio.name(), args.problem.display(), args.time)
    })?;
    if args.bound && solution.bound.is_none() {
        solution.bound = upper_bound(&problem, &*objective, &mut Run::new(&clock, args.time));
    }
    write(&args.output, &solution.to_json(&problem))?;
    Ok(ExitCode::SUCCESS)
}

fn show(progress: Progress) -> ControlFlow<()> {
    let best = progress.best.map_or("nothing feasible yet".to_owned(), |best| format!("best {best:.3}"));
    eprint!("\r\x1b[K{:6.1} s  {} moves  {best}", progress.elapsed.as_secs_f64(), progress.moves);
    // Progress that can't be shown is no reason to stop.
    let _ = std::io::stderr().flush();
    ControlFlow::Continue(())
}
