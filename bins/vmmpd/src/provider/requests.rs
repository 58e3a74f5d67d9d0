//! What the provider's own users ask.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use vm_driver::{Consent, State, Stop, VmConfig, VmId};
use vmmp::MachineId;

use super::behind::{self, OtherEnd};
use super::files::said;
use super::host::{Host, vm_id};
use super::node::Event;
use crate::control::{Machine, ProviderReply, ProviderRequest};

/// Does what a user asks for.
pub(super) fn answer(host: &Arc<Host>, request: ProviderRequest) -> ProviderReply {
    let answered = match request {
        ProviderRequest::Create { config } => create(host, &config),
        ProviderRequest::Start { machine } => with(host, &machine, |host, machine, _| {
            host.running.want(machine, true).map_err(said)?;
            host.let_run(machine);
            let state = host.driver.status(&vm_id(machine).map_err(said)?).map_err(said)?.state;
            match state {
                State::Running => Ok(()),
                state => Err(format!("it is {state}; the daemon's log says why")),
            }
        }),
        ProviderRequest::Stop { machine, within_s, consent } => {
            let how = match within_s {
                Some(seconds) => Stop::Graceful(Duration::from_secs(seconds)),
                None => Stop::Force(consented(consent)),
            };
            with(host, &machine, move |host, machine, vm| {
                let was_wanted = host.running.is_wanted(machine);
                host.running.want(machine, false).map_err(said)?;
                host.driver.stop(vm, how).map_err(|error| {
                    // It runs on, and should.
                    let _ = host.running.want(machine, was_wanted);
                    error.to_string()
                })?;
                host.detach(vm);
                Ok(())
            })
        }
        ProviderRequest::Delete { machine, consent } => with(host, &machine, move |host, machine, vm| {
            let other = OtherEnd::of_behind(&host.folder(machine));
            host.driver.delete(vm, consented(consent)).map_err(said)?;
            behind::close(host, machine);
            if let Some(other) = other
                && let Err(why) = behind::tell_all_is_here(host, &other)
            {
                tracing::warn!(
                    "{} keeps the disks of machine {machine}, which is deleted: {why}",
                    other.peer
                );
            }
            host.running.want(machine, false).map_err(said)?;
            host.tell(Event::Deleted(machine.clone()));
            Ok(())
        }),
        ProviderRequest::List => list(host),
        ProviderRequest::Console { machine } => vm_id(&machine)
            .map_err(said)
            .and_then(|vm| host.driver.console(&vm).map_err(said))
            .map(|address| ProviderReply::Console { address }),
    };
    answered.unwrap_or_else(|message| ProviderReply::Error { message })
}

fn consented(is: bool) -> Consent {
    if is { Consent::Given } else { Consent::Withheld }
}

fn create(host: &Arc<Host>, config: &VmConfig) -> Result<ProviderReply, String> {
    let machine = MachineId::new(config.id.as_str()).map_err(said)?;
    if holdings(host)?.iter().any(|(known, _, _)| *known == machine) {
        return Err(format!("machine {machine} is here already; choose another name, or delete it first"));
    }
    let config = config.clone();
    in_lane(host, &machine, move |host, machine, vm| {
        host.driver.create(&config).map_err(said)?;
        host.tell(Event::Created(machine.clone()));
        host.running.want(machine, true).map_err(said)?;
        host.driver.start(vm).map_err(said)?;
        host.attach(machine);
        Ok(())
    })
}

/// Does something with a machine that is here and doesn't move.
fn with(
    host: &Arc<Host>,
    machine: &MachineId,
    work: impl FnOnce(&Host, &MachineId, &VmId) -> Result<(), String> + Send + 'static,
) -> Result<ProviderReply, String> {
    match holdings(host)?.into_iter().find(|(known, _, _)| known == machine) {
        None => Err(format!("machine {machine} is not here; `vmmp list` says where it is")),
        Some((_, _, true)) => Err(format!("machine {machine} is moving; wait, or cancel its migration")),
        Some(_) => in_lane(host, machine, work),
    }
}

fn in_lane(
    host: &Arc<Host>,
    machine: &MachineId,
    work: impl FnOnce(&Host, &MachineId, &VmId) -> Result<(), String> + Send + 'static,
) -> Result<ProviderReply, String> {
    let vm = vm_id(machine).map_err(said)?;
    let (sender, done) = channel();
    let (shared, name) = (Arc::clone(host), machine.clone());
    host.lanes.push(machine, move || {
        // The user may have gone.
        let _ = sender.send(work(&shared, &name, &vm));
    });
    done.recv().map_err(said)??;
    Ok(ProviderReply::Done)
}

fn holdings(host: &Host) -> Result<Vec<(MachineId, u64, bool)>, String> {
    let (sender, answer) = channel();
    host.tell(Event::List(sender));
    answer.recv().map_err(|_| "the daemon ends".to_owned())
}

fn list(host: &Host) -> Result<ProviderReply, String> {
    let mut machines = Vec::new();
    for (machine, version, is_sending) in holdings(host)? {
        let coming_from = OtherEnd::of_behind(&host.folder(&machine)).map(|other| other.peer);
        let mut shown =
            Machine { machine, version, state: "moving".into(), pid: None, ended: None, coming_from };
        // Whoever moves it keeps others waiting.
        if !is_sending && host.lanes.is_idle_with(&shown.machine) {
            let vm = vm_id(&shown.machine).map_err(said)?;
            match host.driver.status(&vm) {
                Ok(status) => {
                    shown.state = status.state.to_string();
                    (shown.pid, shown.ended) = (status.pid, status.ended);
                }
                Err(error) => shown.state = error.to_string(),
            }
        } else if !is_sending {
            shown.state = "busy".into();
        }
        machines.push(shown);
    }
    Ok(ProviderReply::Machines { machines })
}
