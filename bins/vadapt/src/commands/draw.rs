//! `vadapt draw`.

use std::process::ExitCode;

use anyhow::Context;
use vadapt::Solution;

use crate::args::DrawArgs;
use crate::commands::{read, read_problem, write};
use crate::svg::draw;

pub(crate) fn run(args: &DrawArgs) -> anyhow::Result<ExitCode> {
    let problem = read_problem(&args.problem)?;
    let solution = match &args.solution {
        Some(path) => {
            let text = read(path)?;
            Some(Solution::from_json(&problem, &text).with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    write(&args.output, &draw(&problem, solution.as_ref()))?;
    Ok(ExitCode::SUCCESS)
}
