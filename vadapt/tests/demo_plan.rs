//! The situation of the demo: eight VMs that talk all to all, spread over a fast cluster, a slow
//! cluster and a far host, with a star through a proxy behind a slow link.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use vadapt::elastic::elastic;
use vadapt::{
    Current, Demand, Edge, GreedyMapping, Host, HostId, Path, Plan, Problem, Readapt, ResidualBandwidth, Run,
    Solver, StepClock, Vm, verify,
};

/// Mbit/s of the access links.
const FAST: f64 = 100.0;
const SLOW: f64 = 20.0;
const FAR: f64 = 8.0;
const PROXY: f64 = 10.0;

fn situation() -> Problem {
    let mut problem = Problem::new();
    let mut add = |name: String, room: f64, nic: f64| {
        let host = Host::new(name, room, room).with_nic(nic).with_internal_bandwidth(2000.0);
        problem.add_host(host).unwrap()
    };
    let fast: Vec<HostId> = (0..4).map(|i| add(format!("fast{i}"), 2.0, FAST)).collect();
    let slow: Vec<HostId> = (0..3).map(|i| add(format!("slow{i}"), 1.0, SLOW)).collect();
    let far = add("far".into(), 1.0, FAR);
    let proxy = add("proxy".into(), 0.0, PROXY);
    let hosts: Vec<HostId> = problem.graph().node_indices().collect();
    for a in &hosts {
        for b in &hosts {
            if a != b {
                let same = (fast.contains(a) && fast.contains(b)) || (slow.contains(a) && slow.contains(b));
                let latency = if same { 100.0 } else { 20_000.0 };
                problem.add_edge(*a, *b, Edge { bandwidth: 1000.0, latency }).unwrap();
            }
        }
    }
    let vms: Vec<_> = (0..8).map(|i| problem.add_vm(Vm::new(format!("vm{i}"), 1.0, 1.0)).unwrap()).collect();
    let mapping = [fast, slow, vec![far]].concat();
    let mut paths = Vec::new();
    for a in &vms {
        for b in &vms {
            if a != b {
                // What a star through a 10 Mbit/s proxy lets through.
                problem
                    .add_demand(Demand { from: *a, to: *b, bandwidth: 10.0 / 56.0, latency: None })
                    .unwrap();
                paths.push(Some(Path::new(vec![mapping[a.index()], proxy, mapping[b.index()]])));
            }
        }
    }
    let links = Some(hosts.iter().filter(|host| **host != proxy).map(|host| (proxy, *host)).collect());
    problem.set_current(Current { mapping, paths, links }).unwrap();
    problem
}

#[test]
fn all_vms_move_to_the_fast_cluster_and_get_direct_links() {
    let problem = situation();
    let solver = GreedyMapping::repaired();
    let clock = StepClock::default();
    let mut run = Run::new(&clock, Duration::from_secs(1));
    let (scaled, factor) = elastic(&problem, 0.5, &solver, &ResidualBandwidth, &mut run).unwrap();
    assert!(factor > 10.0, "the star shows a small part of what the application wants: {factor}");

    let solution = solver.solve(&scaled, &ResidualBandwidth, &mut run).unwrap();
    verify::verify(&scaled, &solution, &ResidualBandwidth).unwrap();
    for host in &solution.mapping {
        assert!(scaled.host(*host).name.starts_with("fast"), "{:?}", scaled.host(*host).name);
    }
    assert!(solution.paths.iter().all(|path| path.len() <= 1));

    let plan = Plan::new(&scaled, &solution, &ResidualBandwidth);
    assert!(plan.is_worthwhile(), "{}", plan.reason);
    assert!(plan.migrations.iter().all(|migration| migration.has_room));
    assert!((4..=7).contains(&plan.migrations.len()), "{}", plan.migrations.len());
    assert_eq!(plan.links.len(), 6, "a mesh of the four fast hosts");
    assert_eq!(plan.idle_links.len(), 8, "the star carries nothing of it");
    let speedup = plan.growth_after / plan.growth_before;
    assert!(speedup > 30.0, "the shares of 100 Mbit/s against those of 10: {speedup}");
    let shared: f64 = plan.migrations.iter().map(|m| m.gain).chain(plan.links.iter().map(|l| l.gain)).sum();
    assert!((shared - plan.gain).abs() < 1e-6 * plan.gain, "every demand changes here");
}

#[test]
fn readaptation_moves_only_the_four_that_are_elsewhere() {
    let problem = situation();
    let clock = StepClock::default();
    let mut run = Run::new(&clock, Duration::from_secs(1));
    let (scaled, _) =
        elastic(&problem, 0.5, &GreedyMapping::repaired(), &ResidualBandwidth, &mut run).unwrap();
    for seed in 0..5 {
        let mut run = Run::new(&clock, Duration::from_millis(2)).with_seed(seed);
        let solution = Readapt::default().solve(&scaled, &ResidualBandwidth, &mut run).unwrap();
        let plan = Plan::new(&scaled, &solution, &ResidualBandwidth);
        assert!(plan.is_worthwhile(), "{}", plan.reason);
        let moved: Vec<_> = plan.migrations.iter().map(|migration| migration.vm.index()).collect();
        assert_eq!(moved.len(), 4, "{moved:?}");
        assert!(solution.mapping.iter().all(|host| scaled.host(*host).name.starts_with("fast")));
        assert!(plan.growth_after > 30.0 * plan.growth_before);
    }
}

#[test]
fn costs_beyond_the_gain_keep_everything_as_it_is() {
    let mut problem = situation();
    problem.set_costs(vadapt::Costs { migration: 1e9, link: 0.0, rule: 0.0 }).unwrap();
    let clock = StepClock::default();
    let mut run = Run::new(&clock, Duration::from_secs(1));
    let solution = GreedyMapping::repaired().solve(&problem, &ResidualBandwidth, &mut run).unwrap();
    assert!(!Plan::new(&problem, &solution, &ResidualBandwidth).is_worthwhile());
}

#[test]
fn the_problem_survives_its_json_form() {
    let problem = situation();
    let text = problem.to_json();
    assert_eq!(Problem::from_json(&text).unwrap().to_json(), text);
}
