//! The program from outside.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fs;
use std::process::{Command, Output};

fn vsched(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vsched")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SET: &str = r#"
cores = 2
[[task]]
name = "web"
period = "10ms"
slice = "5ms"
[[task]]
name = "batch"
period = "100ms"
slice = "80ms"
"#;

#[test]
fn a_file_is_checked_and_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.toml");
    fs::write(&file, SET).unwrap();
    let file = file.to_str().unwrap();
    let checked = vsched(&["check", file]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let simulated = vsched(&["simulate", file, "--duration", "10s", "--json"]);
    let reports: serde_json::Value = serde_json::from_slice(&simulated.stdout).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 2);
    for report in reports.as_array().unwrap() {
        assert_eq!(report["misses"], 0, "{report}");
    }
}

#[test]
fn what_does_not_fit_is_named_and_the_exit_status_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.toml");
    fs::write(&file, format!("{SET}[[task]]\nname = \"late\"\nperiod = \"20ms\"\nslice = \"16ms\"\n"))
        .unwrap();
    let checked = vsched(&["check", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(1));
    let said = text(&checked.stdout);
    assert!(said.contains("late") && said.contains("a slice of up to 9ms would fit"), "{said}");
    fs::write(&file, "[[task]]\nperiod = 5\n").unwrap();
    let checked = vsched(&["check", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(text(&checked.stderr).contains("line 2"), "{}", text(&checked.stderr));
    assert_eq!(vsched(&["check"]).status.code(), Some(2));
}

#[test]
fn a_command_runs_alone_and_gives_its_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let socket = folder.path().join("socket");
    let run = |command: &str| {
        let arguments = ["run", "--period", "20ms", "--slice", "5ms"];
        let mut vsched = Command::new(env!("CARGO_BIN_EXE_vsched"));
        vsched.arg("--socket").arg(&socket).args(arguments).arg("--state").arg(&state);
        vsched.args(["--", "sh", "-c", command]).output().unwrap()
    };
    let done = run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7");
    assert_eq!(done.status.code(), Some(7), "{}", text(&done.stderr));
    let killed = run("kill -TERM $$");
    assert_eq!(killed.status.code(), Some(128 + 15), "{}", text(&killed.stderr));
    let missing = Command::new(env!("CARGO_BIN_EXE_vsched"))
        .arg("--socket")
        .arg(&socket)
        .args(["run", "--period", "20ms", "--slice", "5ms", "--state"])
        .arg(&state)
        .args(["--", "/no/such/program"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/no/such/program"), "{}", text(&missing.stderr));
}

#[test]
fn without_a_daemon_the_message_says_what_to_do() {
    let listed = vsched(&["--socket", "/no/such/socket", "list"]);
    assert_eq!(listed.status.code(), Some(1));
    assert!(text(&listed.stderr).contains("start `vschedd`"), "{}", text(&listed.stderr));
}

#[test]
fn mechanisms_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let listed = vsched(&["mechanisms", "--json", "--state", folder.path().to_str().unwrap()]);
    let list: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|m| m["mechanism"].as_str().unwrap()).collect();
    assert_eq!(names, ["signal", "deadline", "cgroup"]);
}
