//! What every driver must do, as a suite that runs against any of them.
//!
//! ```
//! use std::path::Path;
//! use std::time::Duration;
//! use vm_driver::conformance::{self, Subject};
//! use vm_driver::{Driver, DriverError, VmConfig, VmId, simulated};
//!
//! struct Simulated(simulated::Machine);
//!
//! impl Subject for Simulated {
//!     fn open(&self, root: &Path) -> Result<Box<dyn Driver>, DriverError> {
//!         Ok(Box::new(simulated::open(root, &self.0)?))
//!     }
//!     fn config(&self, id: &VmId) -> VmConfig {
//!         VmConfig::new(id.clone(), 64 << 20)
//!     }
//!     fn progress(&self, _: &dyn Driver, id: &VmId) -> u64 {
//!         self.0.ticks(id).unwrap_or(0)
//!     }
//!     fn pass_time(&self, time: Duration) {
//!         self.0.advance(time);
//!     }
//!     fn kill(&self, _: &dyn Driver, id: &VmId) {
//!         self.0.kill(id);
//!     }
//! }
//!
//! let folder = tempfile::tempdir()?;
//! let report = conformance::run(&Simulated(simulated::Machine::new()), folder.path());
//! assert!(report.passed(), "{report}");
//! # Ok::<(), std::io::Error>(())
//! ```

mod checks;
mod live;
mod screen;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::VmConfig;
use crate::driver::{Consent, Driver, Stop};
use crate::error::DriverError;
use crate::id::VmId;
use crate::live::LiveMigration;
use crate::state::State;

/// A driver to be checked, and what the suite must know of its VMs.
pub trait Subject {
    /// Opens the driver on a folder: another time, as after a restart of the
    /// provider's daemon, when the driver opened before was dropped.
    fn open(&self, root: &Path) -> Result<Box<dyn Driver>, DriverError>;

    /// The configuration of a VM that makes progress as long as it runs.
    fn config(&self, id: &VmId) -> VmConfig;

    /// How far a VM has come since it was turned on. It grows while the VM
    /// runs, stays while it doesn't, and goes on after a resumption.
    fn progress(&self, driver: &dyn Driver, id: &VmId) -> u64;

    /// Lets time pass: really, or on a virtual clock.
    fn pass_time(&self, time: Duration);

    /// Ends the monitor of a running VM, as `kill -9` does.
    fn kill(&self, driver: &dyn Driver, id: &VmId);

    /// What a VM has said last, for the report of a failure.
    fn last_words(&self, _driver: &dyn Driver, _id: &VmId) -> String {
        String::new()
    }

    /// How long a VM may take until it makes progress after it was turned on,
    /// or shuts down after it was asked to.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// What the suite has found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The driver's name.
    pub driver: String,
    /// Every check, in order.
    pub checks: Vec<(&'static str, Outcome)>,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// The driver doesn't claim it.
    Skipped(&'static str),
    /// It does not hold.
    Failed(String),
}

impl Report {
    /// Has no check failed?
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the {} driver:", self.driver)?;
        for (name, outcome) in &self.checks {
            match outcome {
                Outcome::Passed => writeln!(f, "  passed   {name}")?,
                Outcome::Skipped(why) => writeln!(f, "  skipped  {name}: {why}")?,
                Outcome::Failed(why) => writeln!(f, "  FAILED   {name}: {why}")?,
            }
        }
        Ok(())
    }
}

/// Runs the whole suite, with its files in `folder`.
pub fn run(subject: &dyn Subject, folder: &Path) -> Report {
    let mut checks = Vec::new();
    let mut driver = String::new();
    for (number, (name, check)) in checks::ALL.iter().chain(live::ALL).enumerate() {
        // Short: sockets below it have a limited length.
        let bench = Bench { subject, root: folder.join(number.to_string()) };
        let outcome = match check(&bench) {
            Ok(outcome) => outcome,
            Err(why) => Outcome::Failed(why.to_string()),
        };
        if let Ok(opened) = bench.open() {
            driver = opened.name().to_owned();
            clean_up(&*opened);
        }
        checks.push((*name, outcome));
    }
    Report { driver, checks }
}

/// Why a check fails.
type Failure = Box<dyn std::error::Error>;
type Check = (&'static str, fn(&Bench<'_>) -> Result<Outcome, Failure>);

/// Where a check is made.
struct Bench<'a> {
    subject: &'a dyn Subject,
    root: PathBuf,
}

impl Bench<'_> {
    fn open(&self) -> Result<Box<dyn Driver>, DriverError> {
        self.subject.open(&self.root)
    }

    /// The driver of another host, so to speak.
    fn open_other(&self) -> Result<Box<dyn Driver>, DriverError> {
        self.subject.open(&self.root.with_extension("o"))
    }

    fn id(&self) -> VmId {
        // Letters and a digit are a name.
        VmId::new("vm-1").expect("it is a name")
    }

    /// A VM that was made.
    fn created(&self, driver: &dyn Driver) -> Result<VmId, Failure> {
        let id = self.id();
        driver.create(&self.subject.config(&id))?;
        Ok(id)
    }

    /// A VM that runs and has made progress.
    fn running(&self, driver: &dyn Driver) -> Result<VmId, Failure> {
        let id = self.created(driver)?;
        driver.start(&id)?;
        self.progresses(driver, &id, 0)?;
        Ok(id)
    }

    /// Waits until a VM has come further than `from`.
    fn progresses(&self, driver: &dyn Driver, id: &VmId, from: u64) -> Result<u64, Failure> {
        let end = Instant::now() + self.subject.patience();
        loop {
            let progress = self.subject.progress(driver, id);
            if progress > from {
                return Ok(progress);
            }
            if Instant::now() >= end {
                let words = self.subject.last_words(driver, id);
                let state = driver.status(id)?;
                return Err(format!("it does not come further than {from}: {state:?} {words}").into());
            }
            self.subject.pass_time(Duration::from_millis(20));
        }
    }

    /// Sees that a VM stands still.
    fn stands_still(&self, driver: &dyn Driver, id: &VmId) -> Result<u64, Failure> {
        // What was on its way to us may still arrive.
        self.subject.pass_time(Duration::from_millis(100));
        let before = self.subject.progress(driver, id);
        self.subject.pass_time(Duration::from_millis(500));
        let after = self.subject.progress(driver, id);
        if before == after { Ok(after) } else { Err(format!("it goes on: {before}, then {after}").into()) }
    }
}

/// Leaves nothing running, however a check has ended.
fn clean_up(driver: &dyn Driver) {
    let end = |id: &VmId, state: State| -> Result<(), DriverError> {
        match state {
            State::Running => driver.stop(id, Stop::Force(Consent::Given))?,
            State::Incoming => {
                return driver.live().map_or(Ok(()), |live: &dyn LiveMigration| live.abandon(id));
            }
            _ => {}
        }
        driver.delete(id, Consent::Given)
    };
    for status in driver.list().unwrap_or_default() {
        if let Err(error) = end(&status.config.id, status.state) {
            tracing::warn!("conformance: could not clean up: {error}");
        }
    }
}

/// Fails unless `is` holds.
fn must(is: bool, what: impl Into<String>) -> Result<(), Failure> {
    if is { Ok(()) } else { Err(what.into().into()) }
}

fn must_be(driver: &dyn Driver, id: &VmId, state: State) -> Result<(), Failure> {
    let found = driver.status(id)?.state;
    must(found == state, format!("it is {found}, not {state}"))
}
