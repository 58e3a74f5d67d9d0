//! The checks of live migration.

use super::{Bench, Check, Failure, Outcome, must, must_be};
use crate::driver::{Consent, Driver, Stop};
use crate::id::VmId;
use crate::live::{LiveError, LiveMigration, Sockets};
use crate::state::State;

pub(super) const ALL: &[Check] = &[
    ("a running VM moves and goes on, its disks with it", moves),
    ("a hand-over that is refused leaves it running", refused),
    ("an arrival that is abandoned leaves nothing, and the VM running", abandoned),
    ("it moves back and forth", back_and_forth),
];

type Result = std::result::Result<Outcome, Failure>;

const SKIPPED: Result = Ok(Outcome::Skipped("it can't migrate live"));

fn live(driver: &dyn Driver) -> std::result::Result<&dyn LiveMigration, Failure> {
    Ok(driver.live().ok_or("it has no live migration")?)
}

fn receive(bench: &Bench<'_>, to: &dyn Driver, version: u64) -> std::result::Result<Sockets, Failure> {
    let sockets = live(to)?.receive(&bench.subject.config(&bench.id()), version)?;
    must_be(to, &bench.id(), State::Incoming)?;
    must(to.start(&bench.id()).is_err(), "a VM that is still arriving was started")?;
    Ok(sockets)
}

/// Moves a running VM from one driver to the other.
fn migrate(bench: &Bench<'_>, from: &dyn Driver, to: &dyn Driver) -> std::result::Result<(), Failure> {
    let id = bench.id();
    let version = from.status(&id)?.version;
    let sockets = receive(bench, to, version)?;
    let mut reports = 0;
    let mut has_agreed = false;
    live(from)?.send(&id, &sockets, &mut |_| reports += 1, &mut || {
        has_agreed = true;
        true
    })?;
    must(has_agreed && reports > 0, format!("{reports} reports; was asked: {has_agreed}"))?;
    must_be(from, &id, State::Departed)?;
    must(live(to)?.has_arrived(&id, bench.subject.patience())?, "it has not arrived")?;
    live(to)?.arrive(&id)?;
    must_be(to, &id, State::Running)?;
    must(to.status(&id)?.version > version, "the version has not grown")?;
    from.delete(&id, Consent::Withheld)?;
    Ok(())
}

fn moves(bench: &Bench<'_>) -> Result {
    let from = bench.open()?;
    if from.live().is_none() {
        return SKIPPED;
    }
    let to = bench.open_other()?;
    let id = bench.running(&*from)?;
    let progress = bench.subject.progress(&*from, &id);
    migrate(bench, &*from, &*to)?;
    bench.progresses(&*to, &id, progress)?;
    must(from.list()?.is_empty(), "it is still known where it was")?;
    finish(&*to, &id)
}

fn refused(bench: &Bench<'_>) -> Result {
    let from = bench.open()?;
    if from.live().is_none() {
        return SKIPPED;
    }
    let to = bench.open_other()?;
    let id = bench.running(&*from)?;
    let sockets = receive(bench, &*to, 1)?;
    match live(&*from)?.send(&id, &sockets, &mut |_| {}, &mut || false) {
        Err(LiveError::Refused { .. }) => {}
        other => return Err(format!("the refusal was answered by {other:?}").into()),
    }
    must_be(&*from, &id, State::Running)?;
    let progress = bench.subject.progress(&*from, &id);
    bench.progresses(&*from, &id, progress)?;
    live(&*to)?.abandon(&id)?;
    // The next one succeeds.
    migrate(bench, &*from, &*to)?;
    bench.progresses(&*to, &id, progress)?;
    finish(&*to, &id)
}

fn abandoned(bench: &Bench<'_>) -> Result {
    let from = bench.open()?;
    if from.live().is_none() {
        return SKIPPED;
    }
    let to = bench.open_other()?;
    let id = bench.running(&*from)?;
    let sockets = receive(bench, &*to, 1)?;
    live(&*to)?.abandon(&id)?;
    must(to.list()?.is_empty(), "it is still known")?;
    must(!to.root().join(id.as_str()).exists(), "its folder is still there")?;
    match live(&*from)?.send(&id, &sockets, &mut |_| {}, &mut || true) {
        Err(LiveError::RunsOn(_)) => {}
        other => return Err(format!("sending it to nobody was answered by {other:?}").into()),
    }
    must_be(&*from, &id, State::Running)?;
    let progress = bench.subject.progress(&*from, &id);
    bench.progresses(&*from, &id, progress)?;
    Ok(Outcome::Passed)
}

fn back_and_forth(bench: &Bench<'_>) -> Result {
    let from = bench.open()?;
    if from.live().is_none() {
        return SKIPPED;
    }
    let to = bench.open_other()?;
    let id = bench.running(&*from)?;
    for _ in 0..2 {
        let progress = bench.subject.progress(&*from, &id);
        migrate(bench, &*from, &*to)?;
        let progress = bench.progresses(&*to, &id, progress)?;
        migrate(bench, &*to, &*from)?;
        bench.progresses(&*from, &id, progress)?;
    }
    Ok(Outcome::Passed)
}

fn finish(driver: &dyn Driver, id: &VmId) -> Result {
    driver.stop(id, Stop::Force(Consent::Given))?;
    driver.delete(id, Consent::Given)?;
    Ok(Outcome::Passed)
}
