//! Problems that are nearly nothing, or cut into parts: an answer or an error, never a panic.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use vadapt::verify::verify;
use vadapt::{
    Annealing, Current, Demand, Edge, Exact, GreedyMapping, Host, HostId, Problem, Readapt,
    ResidualBandwidth, Run, Search, SolveError, Solver, StepClock, Vm, VmId,
};

/// Hosts in islands of two, joined within by a link; VMs in a row that talk with the next one.
fn islands(hosts: usize, vms: usize, talks: bool, internal: Option<f64>, bandwidth: f64) -> Problem {
    let mut problem = Problem::new();
    let hosts: Vec<HostId> = (0..hosts)
        .map(|index| {
            let host = Host { internal_bandwidth: internal, ..Host::new(format!("h{index}"), 2.0, 2.0) };
            problem.add_host(host).unwrap()
        })
        .collect();
    for pair in hosts.chunks_exact(2) {
        problem.add_link(pair[0], pair[1], Edge { bandwidth, latency: 1e300 }).unwrap();
    }
    let vms: Vec<VmId> =
        (0..vms).map(|index| problem.add_vm(Vm::new(format!("vm{index}"), 1.0, 0.0)).unwrap()).collect();
    if talks {
        for pair in vms.windows(2) {
            problem.add_demand(Demand { from: pair[0], to: pair[1], bandwidth: 1.0, latency: None }).unwrap();
            problem
                .add_demand(Demand { from: pair[1], to: pair[0], bandwidth: 0.0, latency: Some(0.0) })
                .unwrap();
        }
    }
    problem
}

fn solve(solver: &dyn Solver, problem: &Problem) -> Result<vadapt::Solution, SolveError> {
    let clock = StepClock::default();
    let mut run = Run::new(&clock, Duration::from_micros(400));
    let solved = solver.solve(problem, &ResidualBandwidth, &mut run);
    if let Ok(solution) = &solved {
        verify(problem, solution, &ResidualBandwidth)
            .unwrap_or_else(|broken| panic!("{}: {broken:?}", solver.name()));
    }
    solved
}

#[test]
fn no_solver_panics_and_whatever_is_returned_is_feasible() {
    let solvers: [&dyn Solver; 5] =
        [&GreedyMapping::papers(), &GreedyMapping::repaired(), &Annealing, &Search, &Exact];
    for hosts in [0, 1, 2, 5, 12, 70] {
        for vms in [0, 1, 2, 3, 12] {
            for (talks, internal) in [(false, None), (true, None), (true, Some(0.0)), (true, Some(50.0))] {
                for bandwidth in [0.0, 10.0] {
                    let problem = islands(hosts, vms, talks, internal, bandwidth);
                    for solver in solvers {
                        let solved = solve(solver, &problem);
                        if vms > 2 * hosts {
                            assert!(solved.is_err(), "{}: {hosts} hosts, {vms} VMs", solver.name());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn search_finds_what_is_plainly_there() {
    // Everything on one host, or on the two hosts of one island, is all that connects.
    for (hosts, vms) in [(1, 2), (2, 2), (5, 2), (70, 2)] {
        let solution = solve(&Search, &islands(hosts, vms, true, Some(50.0), 10.0)).unwrap();
        assert_eq!(solution.objective, 100.0, "{hosts} hosts");
    }
    let apart = islands(8, 12, false, None, 10.0);
    assert_eq!(solve(&Search, &apart).unwrap().objective, 0.0);
}

#[test]
fn readapt_leaves_a_state_without_demands_alone() {
    let mut problem = islands(6, 5, false, None, 10.0);
    let mapping: Vec<HostId> = (0..5).map(HostId::new).collect();
    problem.set_current(Current { mapping: mapping.clone(), paths: vec![], links: None }).unwrap();
    assert_eq!(solve(&Readapt::default(), &problem).unwrap().mapping, mapping);
}
