//! Re-adaptation over drifting demands and bandwidths.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use vadapt::generate::{Generate, NetworkShape};
use vadapt::{
    Current, Edge, Plan, Problem, Readapt, ResidualBandwidth, Run, Search, Solution, Solver, StepClock,
};

const STEPS: usize = 20;

fn solve(solver: &dyn Solver, problem: &Problem, micros: u64, seed: u64) -> Solution {
    let clock = StepClock::default();
    let mut run = Run::new(&clock, Duration::from_micros(micros)).with_seed(seed);
    solver.solve(problem, &ResidualBandwidth, &mut run).unwrap()
}

fn adopt(problem: &mut Problem, solution: &Solution) {
    let paths = solution.paths.iter().cloned().map(Some).collect();
    problem.set_current(Current { mapping: solution.mapping.clone(), paths, links: None }).unwrap();
}

fn drift(problem: &mut Problem, rng: &mut Xoshiro256PlusPlus) {
    for demand in 0..problem.demands().len() {
        let bandwidth = problem.demands()[demand].bandwidth * rng.random_range(0.93..1.07);
        problem.set_demand_bandwidth(demand, bandwidth).unwrap();
    }
    for edge in problem.graph().edge_indices() {
        let Edge { bandwidth, latency } = problem.graph()[edge];
        problem
            .set_edge(edge, Edge { bandwidth: bandwidth * rng.random_range(0.97..1.03), latency })
            .unwrap();
    }
}

#[test]
fn drift_is_followed_with_few_migrations_and_without_oscillation() {
    for network in [NetworkShape::TwoTier, NetworkShape::Waxman] {
        let mut problem =
            Generate { hosts: 32, vms: 20, network, load: 0.02, seed: 5, ..Generate::default() }
                .problem()
                .unwrap();
        let first = solve(&Search, &problem, 6_000, 1);
        adopt(&mut problem, &first);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
        let (mut migrations, mut scratch_migrations, mut quality) = (0, 0, 0.0);
        let mut before = problem.current().unwrap().mapping.clone();
        let mut history = vec![before.clone()];
        for step in 0..STEPS as u64 {
            drift(&mut problem, &mut rng);
            let scratch = solve(&Search, &problem, 3_000, 100 + step);
            scratch_migrations += before.iter().zip(&scratch.mapping).filter(|(a, b)| a != b).count();
            before.clone_from(&scratch.mapping);
            let adapted = solve(&Readapt::default(), &problem, 1_000, step);
            migrations += Plan::new(&problem, &adapted, &ResidualBandwidth).migrations.len();
            quality += adapted.objective / scratch.objective / STEPS as f64;
            adopt(&mut problem, &adapted);
            history.push(adapted.mapping);
        }
        println!(
            "{network:?}: quality {quality:.4}, {migrations} migrations, from scratch {scratch_migrations}"
        );
        assert!(quality >= 0.97, "{network:?}: {quality}");
        assert!(migrations * 10 <= scratch_migrations, "{network:?}: {migrations} of {scratch_migrations}");
        for vm in 0..20 {
            let hosts: Vec<_> = history.iter().map(|mapping| mapping[vm]).collect();
            let returns = hosts.windows(3).filter(|w| w[0] != w[1] && w[0] == w[2]).count();
            assert_eq!(returns, 0, "{network:?}: vm{vm} moves there and back");
        }
    }
}

#[test]
fn nothing_changed_nothing_to_do() {
    let mut problem = Generate { hosts: 16, vms: 10, ..Generate::default() }.problem().unwrap();
    let first = solve(&Search, &problem, 4_000, 1);
    adopt(&mut problem, &first);
    for seed in 0..5 {
        let plan = Plan::new(&problem, &solve(&Readapt::default(), &problem, 800, seed), &ResidualBandwidth);
        assert!(plan.is_empty(), "{}", plan.reason);
    }
}
