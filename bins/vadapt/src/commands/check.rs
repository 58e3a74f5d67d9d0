//! `vadapt check`.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use vadapt::Solution;
use vadapt::verify::verify;

use crate::args::CheckArgs;
use crate::commands::{read, read_problem};

pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let problem = read_problem(&args.problem)?;
    let text = read(&args.solution)?;
    let solution =
        Solution::from_json(&problem, &text).with_context(|| args.solution.display().to_string())?;
    let objective = args.objective.objective();
    let verdict = verify(&problem, &solution, &*objective);
    if args.json {
        let report = match &verdict {
            Ok(verified) => json!({"feasible": true, "objective": verified.objective, "gap": solution.gap()}),
            Err(broken) => {
                let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
                json!({"feasible": false, "broken": broken})
            }
        };
        println!("{report}");
    } else {
        match &verdict {
            Ok(verified) => println!("feasible, {} is {}", objective.name(), verified.objective),
            Err(broken) => broken.iter().for_each(|violation| println!("{violation}")),
        }
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
