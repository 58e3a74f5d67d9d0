//! Every solver on generated problems: feasible, repeatable, and in the right order.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use vadapt::bound::upper_bound;
use vadapt::generate::{ApplicationShape, Generate, NetworkShape};
use vadapt::verify::verify;
use vadapt::{
    Annealing, Exact, GreedyMapping, Objective, PricedRouting, Problem, ResidualAndLatency,
    ResidualBandwidth, Run, Search, SingleHop, SolveError, Solver, StepClock, TightFit,
};

const SHAPES: [NetworkShape; 4] =
    [NetworkShape::TwoTier, NetworkShape::Waxman, NetworkShape::BarabasiAlbert, NetworkShape::Complete];

fn generated(hosts: usize, vms: usize) -> impl Iterator<Item = Problem> {
    (0..16).map(move |seed| {
        let network = SHAPES[seed as usize % 4];
        let application = ApplicationShape::Random { degree: 3.0 };
        let (internal, latency_bounds) = (seed % 3 != 0, seed % 5 == 4);
        Generate { hosts, vms, network, application, internal, latency_bounds, seed, ..Generate::default() }
            .problem()
            .unwrap()
    })
}

fn solve(
    solver: &dyn Solver,
    problem: &Problem,
    objective: &dyn Objective,
    micros: u64,
) -> Result<vadapt::Solution, SolveError> {
    let clock = StepClock::default();
    let solved =
        solver.solve(problem, objective, &mut Run::new(&clock, Duration::from_micros(micros)).with_seed(3));
    if let Ok(solution) = &solved {
        verify(problem, solution, objective).unwrap_or_else(|broken| panic!("{}: {broken:?}", solver.name()));
    }
    solved
}

#[test]
fn whatever_a_solver_returns_is_verified_and_repeatable() {
    let solvers: [&dyn Solver; 4] =
        [&GreedyMapping::papers(), &GreedyMapping::repaired(), &Annealing, &Search];
    let objectives: [&dyn Objective; 4] =
        [&ResidualBandwidth, &TightFit, &SingleHop, &ResidualAndLatency::default()];
    for problem in generated(12, 8) {
        for solver in solvers {
            for objective in objectives {
                let first = solve(solver, &problem, objective, 150);
                assert_eq!(first, solve(solver, &problem, objective, 150), "{}", solver.name());
            }
        }
    }
}

#[test]
fn search_is_ahead_of_greedy_and_within_the_bound() {
    let mut wins = 0;
    for problem in generated(16, 12) {
        let found = solve(&Search, &problem, &ResidualBandwidth, 1500).unwrap();
        let clock = StepClock::default();
        let mut run = Run::new(&clock, Duration::from_secs(1));
        let bound = upper_bound(&problem, &ResidualBandwidth, &mut run).unwrap();
        assert!(found.objective <= bound * (1.0 + 1e-9), "{} {bound}", found.objective);
        if let Ok(greedy) = solve(&GreedyMapping::papers(), &problem, &ResidualBandwidth, 1) {
            assert!(found.objective >= greedy.objective);
            wins += usize::from(found.objective > greedy.objective);
        }
    }
    assert!(wins > 4, "{wins}");
}

#[test]
fn large_networks_are_solved_within_a_bound_that_needs_no_pairs() {
    for network in [NetworkShape::TwoTier, NetworkShape::BarabasiAlbert] {
        let what = Generate { hosts: 700, vms: 30, network, load: 0.01, seed: 3, ..Generate::default() };
        let problem = what.problem().unwrap();
        for objective in [&ResidualBandwidth as &dyn Objective, &ResidualAndLatency::default()] {
            let found = solve(&Search, &problem, objective, 4_000).unwrap();
            let clock = StepClock::default();
            let bound =
                upper_bound(&problem, objective, &mut Run::new(&clock, Duration::from_secs(1))).unwrap();
            assert!(found.objective <= bound * (1.0 + 1e-9), "{network:?}: {} {bound}", found.objective);
        }
    }
}

#[test]
fn squeezed_problems_have_a_solution_that_is_found() {
    let mut found = 0;
    for seed in 0..10 {
        let network = SHAPES[seed as usize % 4];
        let (fill, latency_bounds) = (if seed % 2 == 0 { 0.5 } else { 0.9 }, seed % 3 == 0);
        let what = Generate {
            hosts: 8,
            vms: 8,
            network,
            fill,
            latency_bounds,
            squeeze: 0.9,
            seed,
            ..Generate::default()
        };
        found += usize::from(solve(&Search, &what.problem().unwrap(), &ResidualBandwidth, 20_000).is_ok());
    }
    assert!(found >= 9, "{found} of 10");
}

/// All mappings and all simple paths, without any bound: for tiny problems.
fn brute_force(problem: &Problem) -> Option<f64> {
    fn paths(
        problem: &Problem,
        walk: &mut Vec<vadapt::HostId>,
        end: vadapt::HostId,
        out: &mut Vec<vadapt::Path>,
    ) {
        let at = walk[walk.len() - 1];
        if at == end {
            out.push(vadapt::Path::new(walk.clone()));
            return;
        }
        for next in problem.graph().neighbors(at) {
            if !walk.contains(&next) {
                walk.push(next);
                paths(problem, walk, end, out);
                walk.pop();
            }
        }
    }
    let hosts: Vec<_> = problem.graph().node_indices().collect();
    let vms = problem.vms().len();
    let mut best: Option<f64> = None;
    for code in 0..hosts.len().pow(vms as u32) {
        let mapping: Vec<_> =
            (0..vms).map(|vm| hosts[code / hosts.len().pow(vm as u32) % hosts.len()]).collect();
        let choices: Vec<Vec<vadapt::Path>> = problem
            .demands()
            .iter()
            .map(|demand| {
                let mut out = Vec::new();
                let mut walk = vec![mapping[demand.from.index()]];
                paths(problem, &mut walk, mapping[demand.to.index()], &mut out);
                out
            })
            .collect();
        let count: usize = choices.iter().map(Vec::len).product();
        for mut pick in 0..count {
            let mut chosen = Vec::new();
            for choice in &choices {
                chosen.push(choice[pick % choice.len()].clone());
                pick /= choice.len();
            }
            let mut solution = vadapt::Solution {
                mapping: mapping.clone(),
                paths: chosen,
                objective: f64::NAN,
                bound: None,
            };
            // The checker computes the value; a wrong statement is all that it may object to.
            let Err(broken) = verify(problem, &solution, &ResidualBandwidth) else { unreachable!() };
            if let [vadapt::verify::Violation::Objective { actual, .. }] = broken[..] {
                solution.objective = actual;
                best = Some(best.map_or(actual, |best| best.max(actual)));
            }
        }
    }
    best
}

#[test]
fn exact_agrees_with_brute_force() {
    for seed in 0..24u64 {
        let network = SHAPES[seed as usize % 4];
        let (internal, load) = (seed % 2 == 0, [0.4, 0.1, 0.8][seed as usize % 3]);
        let (application, latency_bounds) = (ApplicationShape::Bus, seed % 5 > 2);
        let base = Generate { hosts: 4, vms: 3, network, application, seed, ..Generate::default() };
        let what = Generate { internal, load, latency_bounds, ..base };
        let problem = what.problem().unwrap();
        let best = brute_force(&problem);
        match solve(&Exact, &problem, &ResidualBandwidth, 10_000) {
            Ok(solution) => {
                let best = best.unwrap();
                assert!(
                    (solution.objective - best).abs() < 1e-6 * best,
                    "seed {seed}: {} {best}",
                    solution.objective
                );
                assert_eq!(solution.gap(), Some(0.0), "seed {seed}");
            }
            Err(SolveError::Infeasible { .. }) => assert_eq!(best, None, "seed {seed}"),
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
}

#[test]
fn routing_needs_a_mapping_and_search_routes_no_worse() {
    for mut problem in generated(14, 8) {
        let refused = solve(&PricedRouting, &problem, &ResidualBandwidth, 10);
        assert!(matches!(refused, Err(SolveError::Unsupported { .. })));
        let Ok(placed) = solve(&Search, &problem, &ResidualBandwidth, 300) else { continue };
        problem.fix_mapping(&placed.mapping).unwrap();
        let routed = solve(&PricedRouting, &problem, &ResidualBandwidth, 1_000).unwrap();
        let searched = solve(&Search, &problem, &ResidualBandwidth, 1_000).unwrap();
        // Both end in some local optimum.
        assert!(searched.objective >= routed.objective * (1.0 - 1e-3));
        assert_eq!(searched.mapping, placed.mapping);
    }
}

#[test]
fn what_is_impossible_is_reported_with_what_breaks() {
    let problem = Problem::from_json(
        r#"{"hosts": [{"name": "a", "compute": 1, "size": 1}, {"name": "b", "compute": 1, "size": 1}],
            "edges": [{"from": "a", "to": "b", "bandwidth": 10}, {"from": "b", "to": "a", "bandwidth": 10}],
            "vms": [{"name": "x", "compute": 1, "size": 1}, {"name": "y", "compute": 1, "size": 1}],
            "demands": [{"from": "x", "to": "y", "bandwidth": 11}]}"#,
    )
    .unwrap();
    let error = solve(&Search, &problem, &ResidualBandwidth, 100).unwrap_err();
    assert!(error.to_string().contains("carries 11 Mbit/s of 10"), "{error}");
    let error = solve(&Exact, &problem, &ResidualBandwidth, 10_000).unwrap_err();
    assert!(matches!(error, SolveError::Infeasible { .. }), "{error}");
}
