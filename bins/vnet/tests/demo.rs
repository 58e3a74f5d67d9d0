//! The demonstration, as a newcomer runs it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// An account without any privileges, on every Debian.
const NOBODY: u32 = 65_534;

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnet"));
    command.arg("demo").arg("--json").args(arguments);
    command
}

/// As the unprivileged user, from a copy of the program that it can read.
fn as_nobody(mut command: Command) -> (Command, tempfile::TempDir) {
    let folder = tempfile::Builder::new().prefix("vnet-demo-").tempdir().unwrap();
    let program = folder.path().join("vnet");
    std::fs::copy(command.get_program(), &program).unwrap();
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut copy = Command::new(program);
    copy.args(command.get_args())
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .uid(NOBODY)
        .gid(NOBODY);
    command = copy;
    (command, folder)
}

fn outcome(command: Command) -> Value {
    outcome_within(command, Duration::from_secs(60))
}

fn outcome_within(mut command: Command, most: Duration) -> Value {
    let begun = Instant::now();
    let Output { status, stdout, stderr } = command.output().unwrap();
    let took = begun.elapsed();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{status}\n{stderr}");
    assert!(took < most, "the demonstration took {took:?}\n{stderr}");
    let stdout = String::from_utf8(stdout).unwrap();
    let last = stdout.lines().last().unwrap_or_default();
    println!("{stderr}");
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in the last line, {last:?}"))
}

fn check(outcome: &Value, name: &str) {
    let number = |key: &str| outcome[key].as_f64().unwrap_or_else(|| panic!("no number `{key}`"));
    assert_eq!(outcome["inferred_topology"], name);
    assert!(number("detect_ms") <= 1000.0, "detected after {} ms", number("detect_ms"));
    assert!(number("decide_ms") > 0.0 && number("execute_ms") > 0.0);
    assert!(number("speedup_over_star") >= 3.0, "{} over the star", number("speedup_over_star"));
    assert!(number("speedup_over_mesh") >= 1.5, "{} over the mesh", number("speedup_over_mesh"));
    assert_eq!(number("connections_lost"), 0.0);
    for part in ["migrations", "links", "rules"] {
        assert!(!outcome["plan"][part].as_array().unwrap().is_empty(), "no {part} in the plan");
    }
    for phase in ["star", "mesh", "adapted"] {
        for rate in ["iterations_per_s", "mbit_per_s"] {
            assert!(outcome[phase][rate].as_f64().unwrap() > 0.0, "{phase} {rate}");
        }
    }
}

#[test]
fn all_to_all_gets_faster() {
    check(&outcome(demo(&[])), "all-to-all");
}

#[test]
fn a_ring_gets_faster_and_the_page_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    check(&outcome(demo(&["--shape", "ring", "--report", page.to_str().unwrap()])), "ring");
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("ring"));
}

/// The application runs in real guests, and the plan moves them live, through VMMP.
#[test]
fn real_guests_move_live_and_it_gets_faster() {
    let demo = demo(&["--vms", "qemu", "--phase", "6"]);
    // Guests that are translated, on a machine with other work.
    let outcome = outcome_within(demo, Duration::from_secs(500));
    assert_eq!(outcome["inferred_topology"], "all-to-all");
    assert_eq!(outcome["connections_lost"], 0);
    let migrations = outcome["plan"]["migrations"].as_array().unwrap();
    assert!(!migrations.is_empty(), "nothing has moved");
    let fast = |migration: &Value| migration["to"].as_str().unwrap().starts_with("fast");
    assert!(migrations.iter().all(fast), "{migrations:?}");
    let speedup = outcome["speedup_over_star"].as_f64().unwrap();
    assert!(speedup > 1.5, "{speedup} over the star");
}

#[test]
fn an_ordinary_user_can_run_it() {
    let (command, _folder) = as_nobody(demo(&[]));
    check(&outcome(command), "all-to-all");
}

#[test]
fn an_ordinary_user_can_run_it_without_tap_devices() {
    let (mut command, _folder) = as_nobody(demo(&["--shape", "ring"]));
    command.env("VLAB_NICS", "veth");
    check(&outcome(command), "ring");
}

#[test]
fn estimates_alone_make_a_good_plan() {
    let measured = outcome(demo(&["--measured"]));
    check(&measured, "all-to-all");
    let placed = |outcome: &Value| outcome["after"]["placement"].as_array().unwrap().len();
    assert_eq!(placed(&measured), 8);
    // The plan that the true figures give; `vnet demo` beside it shows the gain.
    let fast = |host: &Value| host.as_str().unwrap().starts_with("fast");
    let migrations = measured["plan"]["migrations"].as_array().unwrap();
    assert!(migrations.iter().all(|migration| fast(&migration["to"])), "{migrations:?}");
}

#[test]
fn estimates_alone_reach_nine_tenths_of_the_gain_of_the_true_figures() {
    // The star and the mesh are the same in both; what the plan made of them is not.
    let gain = |arguments: &[&str]| {
        let outcome = outcome(demo(arguments));
        let number = |key: &str| outcome[key].as_f64().unwrap();
        println!(
            "{arguments:?}: {} times the star, {} times the mesh",
            number("speedup_over_star"),
            number("speedup_over_mesh")
        );
        outcome["adapted"]["iterations_per_s"].as_f64().unwrap()
    };
    let (truth, measured) = (gain(&[]), gain(&["--measured"]));
    println!("estimates reach {:.0} % of the rate that the true figures do", 100.0 * measured / truth);
    // Another program on this machine may slow down the one or the other.
    assert!(measured >= 0.9 * truth || gain(&["--measured"]) >= 0.9 * truth, "{measured} of {truth}");
}
