//! Real laboratories: as root and as a user without privileges, with TAPs and
//! with veths.
//!
//! Each trial runs one scenario in a process of its own: this program again,
//! which enters a laboratory. A kernel that doesn't allow namespaces makes the
//! trials fail.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cleanup;
mod program;
mod scenarios;
mod traffic;
mod who;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use who::Who;

/// Says which scenario this process is to play.
const SCENARIO: &str = "VLAB_TEST_SCENARIO";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(SCENARIO) {
        return play(&name);
    }
    let mut arguments = Arguments::from_args();
    // Trials measure time, on a network that is emulated by this machine.
    arguments.test_threads.get_or_insert(1);

    let mut trials = Vec::new();
    for who in Who::all() {
        for (name, _) in scenarios::ALL {
            trials.push(Trial::test(format!("{who}::{name}"), move || who.play(name)));
        }
    }
    trials.extend(cleanup::trials());
    trials.extend(program::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn play(name: &str) -> ExitCode {
    let found = scenarios::ALL
        .iter()
        .chain(cleanup::VICTIMS)
        .chain(who::STEPS)
        .chain(program::SCENARIOS)
        .find(|(n, _)| *n == name);
    let Some((_, scenario)) = found else {
        eprintln!("no scenario is named {name}");
        return ExitCode::from(2);
    };
    if let Err(error) = vlab::enter() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    scenario();
    ExitCode::SUCCESS
}
