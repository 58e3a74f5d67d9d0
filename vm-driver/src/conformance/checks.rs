//! The checks of VMs that stay where they are, or move while they don't run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Bench, Check, Failure, Outcome, must, must_be, screen};
use crate::config::VmConfig;
use crate::driver::{Consent, CpuShare, Driver, FileKind, Stop, SuspendKind, VmFile};
use crate::error::{DriverError, Loss};
use crate::id::VmId;
use crate::state::{Operation, State};

pub(super) const ALL: &[Check] = &[
    ("a VM is created stopped, and listed", created_stopped),
    ("impossible configurations are refused and leave nothing", bad_configurations),
    ("what a state forbids is refused and changes nothing", illegal_operations),
    ("a VM that was started makes progress, stopped it is off", start_and_stop),
    ("a VM shuts down when it is asked to", graceful_stop),
    ("a suspended VM stands still and goes on where it was", suspend_and_resume),
    ("stop and delete ask for what would be lost", asking),
    ("a deleted VM leaves nothing", delete_leaves_nothing),
    ("running VMs are found after a restart", adoption),
    ("suspended VMs are found after a restart", adoption_of_suspended),
    ("a VM that ends by itself is found stopped, with the reason", sudden_end),
    ("its share of the processors can be changed", cpu_share),
    ("its memory can be changed", memory),
    ("its screen can be reached", console),
    ("what daemons open for its network cards is told", ports),
    ("a stopped VM moves to another host", move_stopped),
    ("a suspended VM moves to another host and goes on", move_suspended),
    ("a VM handed over can't run until it is taken back", hand_over),
    ("versions grow and are never the same for different contents", versions),
];

type Result = std::result::Result<Outcome, Failure>;

fn created_stopped(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    must(driver.list()?.is_empty(), "a new folder has VMs")?;
    let id = bench.created(&*driver)?;
    must_be(&*driver, &id, State::Stopped)?;
    let listed: Vec<VmId> = driver.list()?.into_iter().map(|status| status.config.id).collect();
    must(listed == [id.clone()], format!("{listed:?} are listed"))?;
    must(driver.status(&id)?.config == bench.subject.config(&id), "its configuration is another one")?;
    Ok(Outcome::Passed)
}

fn bad_configurations(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let good = bench.subject.config(&bench.id());
    let without_memory = VmConfig { memory_bytes: 0, ..good.clone() };
    let without_cpus = VmConfig { cpus: 0, ..good };
    for bad in [without_memory, without_cpus] {
        match driver.create(&bad) {
            Err(DriverError::Config { .. }) => {}
            other => return Err(format!("{bad:?}: {other:?}").into()),
        }
    }
    must(driver.list()?.is_empty(), "a refused VM is listed")?;
    must(!driver.root().join(bench.id().as_str()).exists(), "a refused VM has a folder")?;
    Ok(Outcome::Passed)
}

/// Tries every operation that this state forbids.
fn try_forbidden(
    bench: &Bench<'_>,
    driver: &dyn Driver,
    state: Option<State>,
) -> std::result::Result<(), Failure> {
    let id = bench.id();
    let config = bench.subject.config(&id);
    for operation in Operation::ALL.into_iter().filter(|operation| !operation.is_legal(state)) {
        let answer = match operation {
            Operation::Create => driver.create(&config),
            Operation::Register => driver.register(&config, State::Stopped, 1),
            Operation::Unregister => driver.unregister(&id),
            Operation::Start => driver.start(&id),
            Operation::Stop => driver.stop(&id, Stop::Force(Consent::Given)),
            Operation::Suspend => driver.suspend(&id),
            Operation::Resume => driver.resume(&id),
            Operation::Delete => driver.delete(&id, Consent::Given),
            Operation::HandOver => driver.hand_over(&id),
            Operation::TakeBack => driver.take_back(&id).map(|_| ()),
            Operation::Receive | Operation::Arrive | Operation::Abandon => continue,
        };
        match answer {
            Err(DriverError::Illegal { .. }) => {}
            other => return Err(format!("{operation}, {state:?}: {other:?}").into()),
        }
        let now = driver.status(&id).ok().map(|status| status.state);
        must(now == state, format!("a refused {operation} made it {now:?}"))?;
    }
    Ok(())
}

fn illegal_operations(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    try_forbidden(bench, &*driver, None)?;
    let id = bench.created(&*driver)?;
    try_forbidden(bench, &*driver, Some(State::Stopped))?;
    driver.start(&id)?;
    try_forbidden(bench, &*driver, Some(State::Running))?;
    driver.suspend(&id)?;
    try_forbidden(bench, &*driver, Some(State::Suspended))?;
    driver.stop(&id, Stop::Force(Consent::Given))?;
    driver.hand_over(&id)?;
    try_forbidden(bench, &*driver, Some(State::Departed))?;
    Ok(Outcome::Passed)
}

fn start_and_stop(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.running(&*driver)?;
    must_be(&*driver, &id, State::Running)?;
    driver.stop(&id, Stop::Force(Consent::Given))?;
    must_be(&*driver, &id, State::Stopped)?;
    must(driver.status(&id)?.ended.is_none(), "it is said to have ended by itself")?;
    // And once more, from the beginning.
    driver.start(&id)?;
    bench.progresses(&*driver, &id, 0)?;
    Ok(Outcome::Passed)
}

fn graceful_stop(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    if !driver.capabilities().graceful_stop {
        return Ok(Outcome::Skipped("it can't ask a VM"));
    }
    let id = bench.running(&*driver)?;
    driver.stop(&id, Stop::Graceful(bench.subject.patience()))?;
    must_be(&*driver, &id, State::Stopped)?;
    Ok(Outcome::Passed)
}

fn suspend_and_resume(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.running(&*driver)?;
    for _ in 0..2 {
        driver.suspend(&id)?;
        must_be(&*driver, &id, State::Suspended)?;
        // Some drivers keep the memory in a file alone.
        let before = bench.stands_still(&*driver, &id)?;
        driver.resume(&id)?;
        must_be(&*driver, &id, State::Running)?;
        let after = bench.progresses(&*driver, &id, before)?;
        must(after > before, format!("it was at {before} and is at {after}"))?;
    }
    Ok(Outcome::Passed)
}

fn asking(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.running(&*driver)?;
    match driver.stop(&id, Stop::Force(Consent::Withheld)) {
        Err(DriverError::WouldLose { losses, .. }) if losses == [Loss::RunningPrograms] => {}
        other => return Err(format!("stopping it without consent: {other:?}").into()),
    }
    must_be(&*driver, &id, State::Running)?;
    driver.stop(&id, Stop::Force(Consent::Given))?;
    let disks = bench.subject.config(&id).disks.len();
    let losses = driver.losses(&id, Operation::Delete)?;
    must(losses.len() == disks, format!("it has {disks} disks, and would lose {losses:?}"))?;
    match driver.delete(&id, Consent::Withheld) {
        Err(DriverError::WouldLose { .. }) if disks > 0 => must_be(&*driver, &id, State::Stopped)?,
        Ok(()) if disks == 0 => {}
        other => return Err(format!("deleting it without consent: {other:?}").into()),
    }
    Ok(Outcome::Passed)
}

fn delete_leaves_nothing(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.running(&*driver)?;
    driver.suspend(&id)?;
    driver.delete(&id, Consent::Given)?;
    must(driver.list()?.is_empty(), "it is still listed")?;
    must(!driver.root().join(id.as_str()).exists(), "its folder is still there")?;
    // The name is free again.
    bench.created(&*driver)?;
    Ok(Outcome::Passed)
}

fn adoption(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    if !driver.capabilities().adopts {
        return Ok(Outcome::Skipped("its VMs end with it"));
    }
    let id = bench.running(&*driver)?;
    let before = driver.status(&id)?;
    let progress = bench.subject.progress(&*driver, &id);
    drop(driver);
    let driver = bench.open()?;
    let after = driver.status(&id)?;
    must(before == after, format!("it was {before:?} and is {after:?}"))?;
    bench.progresses(&*driver, &id, progress)?;
    driver.stop(&id, Stop::Force(Consent::Given))?;
    must_be(&*driver, &id, State::Stopped)?;
    Ok(Outcome::Passed)
}

fn adoption_of_suspended(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.running(&*driver)?;
    driver.suspend(&id)?;
    let progress = bench.stands_still(&*driver, &id)?;
    drop(driver);
    let driver = bench.open()?;
    must_be(&*driver, &id, State::Suspended)?;
    driver.resume(&id)?;
    bench.progresses(&*driver, &id, progress)?;
    Ok(Outcome::Passed)
}

fn sudden_end(bench: &Bench<'_>) -> Result {
    let mut driver = bench.open()?;
    let id = bench.running(&*driver)?;
    // Seen by the driver that started it, and by one that finds it.
    for is_restarted in [false, true] {
        bench.subject.kill(&*driver, &id);
        if is_restarted {
            drop(driver);
            driver = bench.open()?;
        }
        let status = driver.status(&id)?;
        must(status.state == State::Stopped, format!("it is {}", status.state))?;
        must(status.ended.is_some_and(|why| !why.is_empty()), "no reason is given")?;
        driver.start(&id)?;
        bench.progresses(&*driver, &id, 0)?;
    }
    Ok(Outcome::Passed)
}

fn cpu_share(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.running(&*driver)?;
    let share = CpuShare::new(20);
    if !driver.capabilities().cpu_share {
        return refused(driver.set_cpu_share(&id, share));
    }
    driver.set_cpu_share(&id, share)?;
    must(driver.status(&id)?.cpu_share == share, "the share is another one")?;
    let progress = bench.subject.progress(&*driver, &id);
    bench.progresses(&*driver, &id, progress)?;
    Ok(Outcome::Passed)
}

fn memory(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.running(&*driver)?;
    let all = bench.subject.config(&id).memory_bytes;
    let less = all * 3 / 4;
    if !driver.capabilities().memory {
        return refused(driver.set_memory(&id, less));
    }
    must(driver.set_memory(&id, all + (1 << 20)).is_err(), "it can have more than it was made with")?;
    for wanted in [less, all] {
        driver.set_memory(&id, wanted)?;
        let mut has = 0;
        // The guest gives memory back as fast as it can.
        for _ in 0..500 {
            has = driver.status(&id)?.memory_bytes;
            if has.abs_diff(wanted) <= 1 << 20 {
                break;
            }
            bench.subject.pass_time(Duration::from_millis(20));
        }
        must(has.abs_diff(wanted) <= 1 << 20, format!("it has {has} bytes, not {wanted}"))?;
    }
    Ok(Outcome::Passed)
}

fn console(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    if !driver.capabilities().console {
        return Ok(Outcome::Skipped("its VMs have no screen"));
    }
    let id = bench.id();
    driver.create(&VmConfig { console: true, ..bench.subject.config(&id) })?;
    driver.start(&id)?;
    let address = driver.console(&id)?.ok_or("it has no screen")?;
    let screen = screen::look(address, bench.subject.patience())?;
    must(screen.width > 0 && screen.height > 0 && screen.picture_bytes > 0, format!("it shows {screen:?}"))?;
    must(screen.name.contains(id.as_str()), format!("its screen is called `{}`", screen.name))?;
    Ok(Outcome::Passed)
}

fn ports(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.running(&*driver)?;
    let (ports, nics) = (driver.ports(&id)?.len(), bench.subject.config(&id).nics.len());
    must(ports == nics, format!("{nics} cards have {ports} ports"))?;
    Ok(Outcome::Passed)
}

/// Moves a VM that is `state` to another folder, as a migration by copying does.
fn move_files(
    bench: &Bench<'_>,
    from: &dyn Driver,
    to: &dyn Driver,
    state: State,
) -> std::result::Result<(), Failure> {
    let id = bench.id();
    from.hand_over(&id)?;
    copy_files(&from.files(&id)?, &to.root().join(id.as_str()))?;
    to.register(&bench.subject.config(&id), state, from.status(&id)?.version + 1)?;
    from.unregister(&id)?;
    must(from.list()?.is_empty(), "it is still known where it was")?;
    must(from.start(&id).is_err(), "it can be started where it was")
}

fn move_stopped(bench: &Bench<'_>) -> Result {
    let (from, to) = (bench.open()?, bench.open_other()?);
    let id = bench.created(&*from)?;
    for file in from.files(&id)?.iter().filter(|file| file.name.ends_with(".raw")) {
        let mut content = fs::read(&file.path)?;
        let end = content.len() - 6;
        content[end..].copy_from_slice(b"marked");
        fs::write(&file.path, content)?;
    }
    move_files(bench, &*from, &*to, State::Stopped)?;
    must_be(&*to, &id, State::Stopped)?;
    for file in to.files(&id)?.iter().filter(|file| file.name.ends_with(".raw")) {
        must(fs::read(&file.path)?.ends_with(b"marked"), format!("{} is another one", file.name))?;
    }
    to.start(&id)?;
    bench.progresses(&*to, &id, 0)?;
    to.stop(&id, Stop::Force(Consent::Given))?;
    to.delete(&id, Consent::Given)?;
    Ok(Outcome::Passed)
}

fn move_suspended(bench: &Bench<'_>) -> Result {
    let (from, to) = (bench.open()?, bench.open_other()?);
    let id = bench.running(&*from)?;
    from.suspend(&id)?;
    if from.capabilities().suspend == SuspendKind::InPlace {
        must(from.hand_over(&id).is_err(), "a VM suspended in place was handed over")?;
        return Ok(Outcome::Skipped("it suspends in place"));
    }
    let files = from.files(&id)?;
    must(files.iter().any(|file| file.kind == FileKind::Memory), "no file has its memory")?;
    let progress = bench.stands_still(&*from, &id)?;
    move_files(bench, &*from, &*to, State::Suspended)?;
    to.resume(&id)?;
    bench.progresses(&*to, &id, progress)?;
    to.stop(&id, Stop::Force(Consent::Given))?;
    to.delete(&id, Consent::Given)?;
    Ok(Outcome::Passed)
}

fn hand_over(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.created(&*driver)?;
    driver.hand_over(&id)?;
    drop(driver);
    let driver = bench.open()?;
    must_be(&*driver, &id, State::Departed)?;
    must(driver.start(&id).is_err(), "it was started")?;
    let state = driver.take_back(&id)?;
    must(state == State::Stopped, format!("it came back {state}"))?;
    driver.start(&id)?;
    bench.progresses(&*driver, &id, 0)?;
    Ok(Outcome::Passed)
}

fn versions(bench: &Bench<'_>) -> Result {
    let driver = bench.open()?;
    let id = bench.created(&*driver)?;
    let version = || driver.status(&id).map(|status| status.version);
    let created = version()?;
    driver.start(&id)?;
    driver.suspend(&id)?;
    let suspended = version()?;
    driver.resume(&id)?;
    driver.stop(&id, Stop::Force(Consent::Given))?;
    let stopped = version()?;
    must(created < suspended && suspended < stopped, format!("{created}, {suspended}, {stopped}"))?;
    driver.hand_over(&id)?;
    must(version()? == stopped, "handing it over made another version of the same contents")?;
    driver.take_back(&id)?;
    driver.unregister(&id)?;
    driver.register(&bench.subject.config(&id), State::Stopped, stopped + 1)?;
    must(version()? == stopped + 1, "it was registered with another version")?;
    Ok(Outcome::Passed)
}

/// What a driver can't do, it refuses.
fn refused(answer: std::result::Result<(), DriverError>) -> Result {
    match answer {
        Err(DriverError::Unsupported { .. }) => Ok(Outcome::Skipped("it doesn't claim it, and refuses it")),
        other => Err(format!("it doesn't claim it, but answers {other:?}").into()),
    }
}

fn copy_files(files: &[VmFile], folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|file| fs::copy(&file.path, folder.join(&file.name)).map(|_| ()))
}
