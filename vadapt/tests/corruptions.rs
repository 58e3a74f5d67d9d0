//! The checker rejects every kind of corrupted solution and problem, and names the place.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use vadapt::verify::{Violation, verify};
use vadapt::{HostId, Objective, Path, Problem, ProblemError, ResidualBandwidth, Solution, TightFit};

/// A ring of four hosts with a chord; `a` is pinned to h0; `c` and `d` share h2.
const PROBLEM: &str = r#"{
    "hosts": [
        {"name": "h0", "compute": 10, "size": 8, "uplink": 120},
        {"name": "h1", "compute": 10, "size": 8, "internal_bandwidth": 500},
        {"name": "h2", "compute": 20, "size": 8, "internal_bandwidth": 500, "downlink": 110},
        {"name": "h3", "compute": 5, "size": 2}],
    "edges": [
        {"from": "h0", "to": "h1", "bandwidth": 100, "latency": 10},
        {"from": "h1", "to": "h2", "bandwidth": 90, "latency": 10},
        {"from": "h2", "to": "h3", "bandwidth": 80, "latency": 10},
        {"from": "h3", "to": "h0", "bandwidth": 70, "latency": 10},
        {"from": "h0", "to": "h2", "bandwidth": 60, "latency": 500}],
    "vms": [
        {"name": "a", "compute": 8, "size": 4}, {"name": "b", "compute": 8, "size": 4},
        {"name": "c", "compute": 8, "size": 4}, {"name": "d", "compute": 8, "size": 4}],
    "demands": [
        {"from": "a", "to": "b", "bandwidth": 50, "latency": 20},
        {"from": "a", "to": "c", "bandwidth": 40, "latency": 100},
        {"from": "c", "to": "d", "bandwidth": 300},
        {"from": "d", "to": "a", "bandwidth": 20}],
    "pins": {"a": "h0"}
}"#;

fn problem() -> Problem {
    Problem::from_json(PROBLEM).unwrap()
}

fn h(index: usize) -> HostId {
    HostId::new(index)
}

fn path(hosts: &[usize]) -> Path {
    Path::new(hosts.iter().map(|host| h(*host)).collect())
}

/// Feasible: loads h0->h1 90, h1->h2 40, h2->h3 20, h3->h0 20; residuals 10, 10, 500, 50.
fn good() -> Solution {
    Solution {
        mapping: vec![h(0), h(1), h(2), h(2)],
        paths: vec![path(&[0, 1]), path(&[0, 1, 2]), path(&[2]), path(&[2, 3, 0])],
        objective: 570.0,
        bound: Some(600.0),
    }
}

/// What the checker says first about a solution that `change` has corrupted.
fn first(change: impl FnOnce(&mut Solution)) -> Violation {
    first_of(&problem(), change)
}

fn first_of(problem: &Problem, change: impl FnOnce(&mut Solution)) -> Violation {
    let mut solution = good();
    change(&mut solution);
    verify(problem, &solution, &ResidualBandwidth).unwrap_err().remove(0)
}

/// The problem with a part of its text replaced.
fn altered(from: &str, to: &str) -> Problem {
    assert!(PROBLEM.contains(from), "{from}");
    Problem::from_json(&PROBLEM.replacen(from, to, 1)).unwrap()
}

macro_rules! rejects {
    ($($name:ident: $change:expr => $pattern:pat,)*) => {
        $(#[test]
        fn $name() {
            let violation = first($change);
            assert!(matches!(violation, $pattern), "{violation}");
            assert!(!violation.to_string().is_empty());
        })*
    };
}

#[test]
fn the_untouched_solution_is_accepted() {
    let verified = verify(&problem(), &good(), &ResidualBandwidth).unwrap();
    assert_eq!(verified.objective, 570.0);
    assert_eq!(verified.services.iter().map(|s| s.hops).collect::<Vec<_>>(), [1, 2, 0, 2]);
}

rejects! {
    mapping_too_short: |s| { s.mapping.pop(); } => Violation::MappingLength { found: 3, expected: 4 },
    mapping_too_long: |s| s.mapping.push(h(0)) => Violation::MappingLength { found: 5, expected: 4 },
    mapping_empty: |s| s.mapping.clear() => Violation::MappingLength { found: 0, .. },
    vm_on_unknown_host: |s| s.mapping[1] = h(9) => Violation::UnknownHost { host: 9, .. },
    pinned_vm_elsewhere: |s| { s.mapping[0] = h(1); s.mapping[1] = h(0); } => Violation::Pin { .. },
    compute_exceeded: |s| s.mapping[2] = h(1) => Violation::Compute { used: 16.0, capacity: 10.0, .. },
    host_too_small_for_one: |s| s.mapping[1] = h(3) => Violation::Compute { used: 8.0, capacity: 5.0, .. },
    too_few_paths: |s| { s.paths.pop(); } => Violation::PathCount { found: 3, expected: 4 },
    too_many_paths: |s| s.paths.push(path(&[0])) => Violation::PathCount { found: 5, expected: 4 },
    path_with_unknown_host: |s| s.paths[0] = path(&[0, 7]) => Violation::UnknownPathHost { demand: 0, host: 7 },
    path_empty_between_hosts: |s| s.paths[0] = path(&[]) => Violation::EmptyPath { demand: 0, .. },
    path_starts_elsewhere: |s| s.paths[0] = path(&[3, 0, 1]) => Violation::PathStart { demand: 0, .. },
    path_ends_too_early: |s| s.paths[1] = path(&[0, 1]) => Violation::PathEnd { demand: 1, .. },
    path_ends_too_late: |s| s.paths[0] = path(&[0, 1, 2]) => Violation::PathEnd { demand: 0, .. },
    path_of_one_host_between_hosts: |s| s.paths[0] = path(&[0]) => Violation::PathEnd { demand: 0, .. },
    path_backwards: |s| s.paths[0] = path(&[1, 0]) => Violation::PathStart { demand: 0, .. },
    path_over_no_edge: |s| s.paths[3] = path(&[2, 0]) => Violation::NoEdge { demand: 3, .. },
    path_against_an_edge: |s| s.paths[3] = path(&[2, 1, 0]) => Violation::NoEdge { demand: 3, .. },
    path_with_a_cycle: |s| s.paths[1] = path(&[0, 1, 2, 3, 0, 2]) => Violation::Cycle { demand: 1, .. },
    path_that_stands_still: |s| s.paths[0] = path(&[0, 0, 1]) => Violation::Cycle { demand: 0, .. },
    path_that_leaves_and_returns: |s| s.paths[2] = path(&[2, 3, 0, 2]) => Violation::Cycle { demand: 2, .. },
    path_swapped_with_another: |s| s.paths.swap(0, 3) => Violation::PathStart { demand: 0, .. },
    path_too_slow: |s| s.paths[1] = path(&[0, 2]) => Violation::Latency { demand: 1, latency: 500.0, limit: 100.0 },
    objective_too_high: |s| s.objective = 571.0 => Violation::Objective { stated: 571.0, actual: 570.0 },
    objective_too_low: |s| s.objective = 569.0 => Violation::Objective { .. },
    objective_not_a_number: |s| s.objective = f64::NAN => Violation::Objective { .. },
    objective_infinite: |s| s.objective = f64::INFINITY => Violation::Objective { .. },
    bound_below_the_objective: |s| s.bound = Some(569.0) => Violation::Bound { bound: 569.0, .. },
    bound_not_a_number: |s| s.bound = Some(f64::NAN) => Violation::Bound { .. },
}

#[test]
fn size_exceeded() {
    let problem = altered(r#""h2", "compute": 20, "size": 8"#, r#""h2", "compute": 20, "size": 7"#);
    assert!(matches!(first_of(&problem, |_| ()), Violation::Size { used: 8.0, capacity: 7.0, .. }));
}

#[test]
fn talking_vms_share_a_host_without_internal_bandwidth() {
    let problem = altered(r#""size": 8, "internal_bandwidth": 500, "downlink""#, r#""size": 8, "downlink""#);
    assert!(matches!(first_of(&problem, |_| ()), Violation::Internal { demand: 2, .. }));
}

#[test]
fn edge_overloaded() {
    let problem = altered(r#""bandwidth": 50"#, r#""bandwidth": 61"#);
    let violation = first_of(&problem, |_| ());
    assert!(matches!(violation, Violation::Bandwidth { load: 101.0, capacity: 100.0, .. }), "{violation}");
}

#[test]
fn uplink_overloaded() {
    let problem = altered(r#""uplink": 120"#, r#""uplink": 89"#);
    assert!(matches!(first_of(&problem, |_| ()), Violation::Uplink { load: 90.0, capacity: 89.0, .. }));
}

#[test]
fn downlink_overloaded() {
    let problem = altered(r#""downlink": 110"#, r#""downlink": 39"#);
    assert!(matches!(first_of(&problem, |_| ()), Violation::Downlink { load: 40.0, capacity: 39.0, .. }));
}

#[test]
fn a_bound_of_a_minimised_objective_lies_below() {
    assert!(matches!(TightFit.sense(), vadapt::Sense::Minimise));
    let broken = verify(&problem(), &good(), &TightFit).unwrap_err();
    assert_eq!(broken, [Violation::Bound { bound: 600.0, objective: 570.0 }]);
}

#[test]
fn several_violations_are_all_named() {
    let mut solution = good();
    (solution.objective, solution.bound) = (1.0, Some(2.0));
    assert_eq!(verify(&problem(), &solution, &ResidualBandwidth).unwrap_err().len(), 2);
}

#[test]
fn bad_json_names_the_place() {
    let cases = [
        (r#""name": "h3""#, r#""name": "h0""#, "hosts[3] (`h0`): the name `h0` is taken by hosts[0]"),
        (r#""name": "h3""#, r#""name": """#, "hosts[3] (``): the name is empty"),
        (r#""compute": 5"#, r#""compute": -5"#, "hosts[3] (`h3`): compute is -5"),
        (r#""uplink": 120"#, r#""uplink": -1"#, "hosts[0] (`h0`): uplink is -1"),
        (r#""to": "h3""#, r#""to": "h9""#, "edges[2]: there is no host `h9`"),
        (r#""from": "h2", "to": "h3""#, r#""from": "h3", "to": "h3""#, "edges[2]: starts and ends at `h3`"),
        (
            r#""from": "h2", "to": "h3""#,
            r#""from": "h0", "to": "h1""#,
            "edges[2]: there is an edge from `h0`",
        ),
        (r#""bandwidth": 80"#, r#""bandwidth": -80"#, "edges[2]: bandwidth is -80"),
        (r#""bandwidth": 80"#, r#""bandwidth": 1e999"#, "number out of range"),
        (r#""latency": 500"#, r#""latency": -1"#, "edges[4]: latency is -1"),
        (r#""name": "d""#, r#""name": "a""#, "vms[3] (`a`): the name `a` is taken"),
        (r#""from": "d", "to": "a""#, r#""from": "d", "to": "x""#, "demands[3]: there is no VM `x`"),
        (r#""from": "d", "to": "a""#, r#""from": "a", "to": "a""#, "demands[3]: starts and ends at `a`"),
        (r#""bandwidth": 20"#, r#""bandwidth": -20"#, "demands[3]: bandwidth is -20"),
        (r#""pins": {"a": "h0"}"#, r#""pins": {"a": "h7"}"#, "pins[`a`]: there is no host `h7`"),
        (r#""pins": {"a": "h0"}"#, r#""pins": {"z": "h0"}"#, "pins[`z`]: there is no VM `z`"),
        (r#""pins""#, r#""mapping": {"a": "h0"}, "pins""#, "mapping: has no host for `b`"),
        (r#""vms": ["#, r#""vms": [["#, "line "),
        (r#""size": 2"#, r#""size": "two""#, "invalid type: string"),
    ];
    for (from, to, message) in cases {
        assert!(PROBLEM.contains(from), "{from}");
        let text = PROBLEM.replacen(from, to, 1);
        let error = Problem::from_json(&text).unwrap_err().to_string();
        assert!(error.contains(message), "{from} -> {to}: {error}");
    }
    let problem = problem();
    let error = Solution::from_json(&problem, r#"{"mapping": {"a": "h0"}, "paths": [], "objective": 0}"#);
    assert!(matches!(error, Err(ProblemError::Incomplete { vm, .. }) if vm == "b"));
    let text = good().to_json(&problem).replace(r#"["h0","h1"]"#, r#"["h0","nowhere"]"#);
    let error = Solution::from_json(&problem, &text).unwrap_err().to_string();
    assert_eq!(error, "paths[0]: there is no host `nowhere`");
}

#[test]
fn a_solution_survives_its_json_form() {
    let problem = problem();
    assert_eq!(Solution::from_json(&problem, &good().to_json(&problem)).unwrap(), good());
}
