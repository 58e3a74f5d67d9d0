//! Tests that run in a laboratory each.
//!
//! A laboratory is entered by a whole process, so every test is one: the test
//! program starts itself again for each.

use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::role::dispatch;

const TEST: &str = "VIRTUOSO_TEST";

/// A test: its name and what it does. An error or a panic fails it.
pub type Test = (&'static str, fn() -> Result<(), Box<dyn std::error::Error>>);

/// The `main` of a test program without the usual harness. It takes the usual arguments.
pub fn harness(tests: &'static [Test]) -> ExitCode {
    if let Some(code) = dispatch() {
        return code;
    }
    if let Ok(name) = std::env::var(TEST) {
        return run(tests, &name);
    }
    let mut arguments = Arguments::from_args();
    // They load the machine, and each other's timing.
    arguments.test_threads = Some(1);
    let trials = tests.iter().map(|(name, _)| Trial::test(*name, move || start(name)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn start(name: &str) -> Result<(), Failed> {
    let output = Command::new("/proc/self/exe").env(TEST, name).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)).into())
}

fn run(tests: &[Test], name: &str) -> ExitCode {
    let Some((_, test)) = tests.iter().find(|(known, _)| *known == name) else {
        eprintln!("there is no test `{name}`");
        return ExitCode::FAILURE;
    };
    let result = vlab::enter().map_err(Into::into).and_then(|_| test());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
