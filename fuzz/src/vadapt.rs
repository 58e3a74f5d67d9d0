//! The parsers of `vadapt`: problems and solutions as JSON.

use std::time::Duration;

use ::vadapt::verify::verify;
use ::vadapt::{Problem, ResidualBandwidth, Run, Search, Solution, Solver, StepClock};

/// A problem, and after the first line break a solution of it. What can be read can be written and read
/// again, solved and judged.
pub fn problem(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (problem, solution) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(problem) = Problem::from_json(problem) else { return };
    let written = problem.to_json();
    let again = Problem::from_json(&written).expect("what was written can be read");
    assert_eq!(again.to_json(), written);
    if let Ok(solution) = Solution::from_json(&problem, solution) {
        let written = solution.to_json(&problem);
        assert_eq!(Solution::from_json(&problem, &written).as_ref(), Ok(&solution));
        // Any verdict will do.
        let _ = verify(&problem, &solution, &ResidualBandwidth);
    }
    if problem.graph().node_count() <= 8 && problem.vms().len() <= 6 && problem.demands().len() <= 12 {
        let clock = StepClock::default();
        let mut run = Run::new(&clock, Duration::from_micros(200));
        if let Ok(solution) = Search.solve(&problem, &ResidualBandwidth, &mut run) {
            assert!(verify(&problem, &solution, &ResidualBandwidth).is_ok());
        }
    }
}
