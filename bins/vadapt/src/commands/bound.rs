//! `vadapt bound`.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use vadapt::bound::upper_bound;
use vadapt::io::WallClock;
use vadapt::{Clock, Run};

use crate::args::BoundArgs;
use crate::commands::read_problem;

pub(crate) fn run(args: &BoundArgs) -> anyhow::Result<ExitCode> {
    let problem = read_problem(&args.problem)?;
    let objective = args.objective.objective();
    let clock = WallClock::start();
    let bound = upper_bound(&problem, &*objective, &mut Run::new(&clock, args.time)).with_context(|| {
        let why = if objective.is_monotone() { "more time is needed" } else { "it isn't monotone" };
        format!("no limit of `{}` is known: {why}", objective.name())
    })?;
    if args.json {
        println!("{}", json!({"bound": bound, "time_ms": clock.now().as_secs_f64() * 1e3}));
    } else {
        println!("{} can't be better than {bound:.3}", objective.name());
    }
    Ok(ExitCode::SUCCESS)
}
