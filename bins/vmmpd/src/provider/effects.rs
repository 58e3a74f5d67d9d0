//! What the state machine asks for, done with the driver.

use std::fs;
use std::io;
use std::sync::Arc;

use vm_driver::{Consent, DriverError, State, VmId};
use vmmp::delta::receive::{index, recover};
use vmmp::io::greeting::Purpose;
use vmmp::{Effect, MachineId, MigrationId, Outcome};

use super::behind::{self, OtherEnd};
use super::host::{Host, vm_id};
use super::manifest::Manifest;
use super::method::{Leaves, find, kind};
use super::visitors::{Hello, Part};
use crate::links::connect;

/// The record in a machine's folder by which a driver knows it.
const KNOWN: &str = "vm.json";

/// Begins an effect; outcomes come as events.
pub(super) fn begin(host: &Arc<Host>, effect: Effect) {
    let shared = Arc::clone(host);
    match effect {
        Effect::Hold { id, machine, method } => match host.begin_outgoing(id, &machine, &method) {
            Err(why) => host.outcome(id, Outcome::Held(Err(why))),
            Ok(outgoing) => host.lanes.push(&machine, move || {
                let held = match OtherEnd::of_behind(&shared.folder(&outgoing.machine)) {
                    Some(other) => Err(format!(
                        "its disks are still coming from {}: try again when they are here",
                        other.peer
                    )),
                    None => outgoing.method.hold(&shared, &outgoing),
                };
                shared.outcome(id, Outcome::Held(held));
            }),
        },
        Effect::Restore { machine } => {
            if let Some(outgoing) = host.outgoing_of(&machine) {
                outgoing.live.decide(false);
                outgoing.connections.end();
            }
            host.lanes.push(&machine.clone(), move || restore(&shared, &machine));
        }
        Effect::HandOver { id, machine } => host.lanes.push(&machine, move || {
            let handed_over = match shared.outgoing(id) {
                Some(outgoing) => hand_over(&shared, &outgoing),
                None => Err("it is not being sent".into()),
            };
            shared.outcome(id, Outcome::HandedOver(handed_over));
        }),
        Effect::Forget { machine } => {
            host.lanes.push(&machine.clone(), move || forget(&shared, &machine));
        }
        Effect::Fetch { id, ticket, machine, origin, method } => {
            match host.begin_incoming(id, ticket, &machine, &origin, &method) {
                Err(why) => host.outcome(id, Outcome::Fetched(Err(why))),
                Ok(incoming) => host.lanes.push(&machine, move || {
                    let fetched = fetch(&shared, id);
                    let stands_still = fetched.is_ok() && incoming.method.is_live();
                    shared.outcome(id, Outcome::Fetched(fetched));
                    // Beside what the parties say to each other before the hand-over. No rule
                    // points here yet.
                    if stands_still {
                        shared.attach(&incoming.machine);
                    }
                }),
            }
        }
        Effect::Discard { id, machine } => {
            host.abort_incoming(id);
            host.lanes.push(&machine.clone(), move || {
                shared.end_incoming(id);
                discard(&shared, &machine);
            });
        }
        Effect::Complete { id, machine } => host.lanes.push(&machine, move || {
            complete(&shared, id);
        }),
        // Done at once, by `own`.
        Effect::Own { id, machine, version } => own(host, id, &machine, version),
    }
}

fn hand_over(host: &Host, outgoing: &super::host::Outgoing) -> Result<(), String> {
    outgoing.method.hand_over(host, outgoing)?;
    // From here on nothing may be forwarded to the old place.
    if !outgoing.method.is_live() {
        host.detach(&outgoing.vm);
    }
    Ok(())
}

/// Lets a machine be as it was before it was held.
fn restore(host: &Host, machine: &MachineId) {
    if let Some(outgoing) = host.end_outgoing(machine) {
        // A monitor that sends stops when its connections have ended.
        let _ = outgoing.live.wait_for_end();
    }
    let Ok(vm) = vm_id(machine) else { return };
    let put_back = || -> Result<(), DriverError> {
        if host.driver.status(&vm)?.state == State::Departed {
            behind::take_back(host, &vm);
            host.driver.take_back(&vm)?;
            host.follow(&vm);
        }
        Ok(())
    };
    if let Err(error) = put_back() {
        tracing::error!("machine {machine} should be as it was, and isn't: {error}");
    }
    if host.running.is_wanted(machine) {
        host.let_run(machine);
    }
    if host.driver.status(&vm).is_ok_and(|status| status.state == State::Running) {
        host.attach(machine);
    }
}

/// The machine is at another provider. What is kept of it helps when it comes back.
fn forget(host: &Host, machine: &MachineId) {
    let leaves = host.end_outgoing(machine).map(|outgoing| {
        let _ = outgoing.live.wait_for_end();
        outgoing.method.leaves()
    });
    // After a restart nothing but what was noted tells by which method it has left.
    let leaves = match OtherEnd::of_serving(&host.folder(machine)) {
        Some(_) => Leaves::Disks,
        None => leaves.unwrap_or(Leaves::OldVersion),
    };
    let Ok(vm) = vm_id(machine) else { return };
    if let Err(error) = host.running.want(machine, false) {
        tracing::warn!("machine {machine} has gone, and is still noted as one that should run: {error}");
    }
    let result = match host.driver.status(&vm).map(|status| status.state) {
        Ok(State::Departed) => match leaves {
            Leaves::Nothing => host.driver.delete(&vm, Consent::Withheld),
            Leaves::Disks => host.driver.unregister(&vm),
            Leaves::OldVersion => host.driver.unregister(&vm).map(|()| index_disks(host, &vm)),
        },
        // It has been done before.
        Ok(_) | Err(DriverError::Illegal { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::warn!("what is left of machine {machine} could not be removed: {error}");
    }
}

/// Works out what makes the next transfer short, while nobody waits for it.
fn index_disks(host: &Host, vm: &VmId) {
    let folder = host.driver.root().join(vm.as_str());
    let Ok(entries) = fs::read_dir(&folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_disk = path.extension().is_some_and(|extension| extension == "raw" || extension == "qcow2");
        if is_disk && let Err(error) = index(&path) {
            tracing::warn!("the next transfer of it will take longer: {error}");
        }
    }
}

fn fetch(host: &Arc<Host>, id: MigrationId) -> Result<(), String> {
    let incoming = host.incoming(id).ok_or("it is not being fetched")?;
    let contact = host.contact(&incoming.from)?;
    let said = |error: vmmp::delta::DeltaError| error.to_string();
    let mut channel = connect(&host.keys, &contact, Purpose::Data).map_err(said)?;
    incoming.connections.add(channel.closer().map_err(said)?);
    let hello = Hello { id, ticket: incoming.ticket, part: Part::Machine };
    channel.writer.send(kind::HELLO, &hello.to_bytes()).map_err(said)?;
    let fetched = incoming.method.fetch(host, &incoming, channel);
    match fetched {
        Err(_) if incoming.connections.is_over() => Err("it was given up".into()),
        fetched => fetched,
    }
}

/// Sees that everything is there. The origin has closed its network cards already, so that
/// the overlay changes over beside that: every step in between is time without service.
fn complete(host: &Host, id: MigrationId) {
    let Some(incoming) = host.incoming(id) else {
        return host.outcome(id, Outcome::Completed(Err("it is not being fetched".into())));
    };
    std::thread::scope(|scope| {
        if incoming.method.is_live() {
            scope.spawn(|| host.switch(&incoming));
        }
        host.outcome(id, Outcome::Completed(incoming.method.complete(host, &incoming)));
    });
}

/// Opens a machine's network cards here, and points all rules to them.
fn follow(host: &Host, machine: &MachineId) {
    host.attach(machine);
    if let Ok(vm) = vm_id(machine) {
        host.follow(&vm);
    }
}

/// The machine is ours: the driver gets it, and it runs if it should.
pub(super) fn own(host: &Arc<Host>, id: MigrationId, machine: &MachineId, version: u64) {
    let Some(manifest) = host.manifest(machine) else {
        // Everything was done before a restart.
        return;
    };
    let result = find(&manifest.method).and_then(|method| {
        host.running.want(machine, manifest.run).map_err(|error| error.to_string())?;
        method.own(host, &manifest)?;
        Manifest::remove(&host.folder(machine)).map_err(|error| error.to_string())
    });
    match result {
        Ok(()) => tracing::info!("machine {machine} is here, as version {version}"),
        Err(why) => tracing::error!(
            "machine {machine} is ours, and the driver does not take it: {why}; \
             its files are in {}, and a restart of this daemon tries again",
            host.folder(machine).display()
        ),
    }
    let (host, name) = (Arc::clone(host), machine.clone());
    host.clone().lanes.push(machine, move || {
        if host.running.is_wanted(&name) {
            host.let_run(&name);
        }
        follow(&host, &name);
        host.end_incoming(id);
    });
}

/// Is what the driver has of a machine that isn't here only what a crash has left?
pub(super) fn is_leftover(host: &Host, machine: &MachineId, state: State) -> bool {
    matches!(state, State::Departed | State::Incoming) || host.manifest(machine).is_some()
}

/// Removes what has come of a machine that isn't here. An older version of its disks
/// stays, as it was.
pub(super) fn discard(host: &Host, machine: &MachineId) {
    let Ok(vm) = vm_id(machine) else { return };
    let folder = host.folder(machine);
    behind::close(host, machine);
    // Both may have been done for a hand-over that did not come to its end.
    host.detach(&vm);
    if let Err(error) = host.running.want(machine, false) {
        tracing::warn!("machine {machine} has not come, and is still noted as one that should run: {error}");
    }
    let remove = || -> Result<(), DriverError> {
        match host.driver.status(&vm).map(|status| status.state) {
            Ok(State::Incoming) => match host.driver.live() {
                Some(live) => live.abandon(&vm),
                None => Ok(()),
            },
            Ok(State::Departed) => host.driver.unregister(&vm),
            // It had arrived, and its monitor has ended.
            Ok(_) if host.manifest(machine).is_some() => host.driver.delete(&vm, Consent::Given),
            Ok(_) => Ok(()),
            Err(DriverError::Illegal { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    };
    if let Err(error) = remove() {
        tracing::warn!("what has come of machine {machine} could not be removed: {error}");
    }
    let tidy = || -> io::Result<()> {
        if !folder.exists() {
            return Ok(());
        }
        if !folder.join(KNOWN).exists() {
            return fs::remove_dir_all(&folder);
        }
        if let Some(manifest) = host.manifest(machine) {
            for part in &manifest.files {
                recover(&folder.join(&part.name)).map_err(io::Error::other)?;
            }
        }
        Manifest::remove(&folder)
    };
    if let Err(error) = tidy() {
        tracing::warn!("what has come of machine {machine} could not be removed: {error}");
    }
}
