//! The program from outside: what it prints and how it exits.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn vadapt(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vadapt"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends before it has read everything closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn generate_solve_check_bound_and_draw() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (problem, solution) = (file("problem.json"), file("solution.json"));
    let made = vadapt(&["generate", "waxman", "--hosts", "10", "--vms", "6", "-o", &problem], "");
    assert!(made.status.success(), "{}", stderr(&made));
    let solved = vadapt(&["solve", &problem, "-o", &solution, "-t", "50ms", "--bound", "--threads", "2"], "");
    assert!(solved.status.success(), "{}", stderr(&solved));
    let checked = vadapt(&["check", &problem, &solution, "--json"], "");
    let verdict: serde_json::Value = serde_json::from_str(&stdout(&checked)).unwrap();
    assert_eq!(verdict["feasible"], true);
    let bound = vadapt(&["bound", &problem, "--json"], "");
    let bound: serde_json::Value = serde_json::from_str(&stdout(&bound)).unwrap();
    assert!(bound["bound"].as_f64() >= verdict["objective"].as_f64());
    let drawn = vadapt(&["draw", &problem, &solution], "");
    assert!(stdout(&drawn).starts_with("<svg"));
    let text = std::fs::read_to_string(&solution).unwrap();
    let mut spoilt: serde_json::Value = serde_json::from_str(&text).unwrap();
    spoilt["objective"] = 1e9.into();
    std::fs::write(&solution, spoilt.to_string()).unwrap();
    let refused = vadapt(&["check", &problem, &solution], "");
    assert_eq!(refused.status.code(), Some(1), "{}", stdout(&refused));
    assert!(stdout(&refused).contains("objective: 1000000000 is stated"), "{}", stdout(&refused));
}

#[test]
fn compare_prints_a_table_and_json() {
    let directory = tempfile::tempdir().unwrap();
    let problem = directory.path().join("p.json");
    let problem = problem.to_str().unwrap();
    vadapt(&["generate", "two-tier", "--hosts", "9", "--vms", "5", "-o", problem], "");
    let args = ["compare", problem, "--time", "20ms", "--solvers", "greedy,search,exact"];
    let table = stdout(&vadapt(&args, ""));
    assert_eq!(table.lines().count(), 4, "{table}");
    let rows = stdout(&vadapt(&[&args[..], &["--json"]].concat(), ""));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows[1]["objective"].as_f64() >= rows[0]["objective"].as_f64());
}

#[test]
fn serve_answers_arrivals() {
    let lines = [
        r#"{"type":"init","nodes":[10,10,10],"links":[[0,1,50],[1,2,50]]}"#,
        r#"{"type":"arrive","id":7,"cpu":[8,8],"links":[[0,1,40]],"life":5.5}"#,
        r#"{"type":"arrive","id":8,"cpu":[8,8],"links":[[0,1,40]],"life":5.5}"#,
        r#"{"type":"depart","id":7}"#,
        r#"{"type":"arrive","id":9,"cpu":[8,8],"links":[[0,1,40]],"life":5.5}"#,
    ];
    let answers = stdout(&vadapt(&["serve"], &lines.join("\n")));
    let accepted: Vec<bool> = answers
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["accept"].as_bool().unwrap())
        .collect();
    assert_eq!(accepted, [true, false, true], "{answers}");
    let bad = vadapt(&["serve"], r#"{"type":"arrive","id":7,"cpu":[8],"links":[]}"#);
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).contains("the first message must be of type `init`"), "{}", stderr(&bad));
}

#[test]
fn errors_name_the_place_and_exit_codes_tell_usage_from_failure() {
    let bad = vadapt(&["solve", "-"], r#"{"hosts": [{"name": "a", "compute": -1, "size": 0}]}"#);
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).contains("missing field `edges`"), "{}", stderr(&bad));
    let negative =
        r#"{"hosts": [{"name": "a", "compute": -1, "size": 0}], "edges": [], "vms": [], "demands": []}"#;
    let bad = vadapt(&["solve", "-"], negative);
    assert!(stderr(&bad).contains("hosts[0] (`a`): compute is -1"), "{}", stderr(&bad));
    assert_eq!(vadapt(&["solve", "-", "--time", "soon"], "").status.code(), Some(2));
    assert_eq!(vadapt(&["nonsense"], "").status.code(), Some(2));
}
