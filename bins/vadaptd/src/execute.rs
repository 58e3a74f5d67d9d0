//! Carrying a decision out: links and rules, and in the middle the VMs.

use std::time::{Duration, Instant};

use vnet_core::HostName;
use vnet_core::NetworkId;
use vnet_core::control::{InterfaceSpec, Request, Response};
use vnetd::client::{
    Applied, ApplyError, ApplyOptions, Call, Cause, Client, Progress, Rollback, apply, apply_around,
};

use crate::decide::{Decision, Move};
use crate::inventory::Inventory;

/// Moves VMs between hosts at the instant at which the overlay changes over.
pub trait Mover {
    /// Does the overlay follow each VM by itself? Then VMs move first, and links and rules
    /// change when they are there; otherwise VMs move in the middle of that.
    fn follows_itself(&self) -> bool {
        false
    }

    /// Moves all of these VMs. When this returns an error, every VM must be
    /// where it was.
    fn carry_out(&mut self, client: &mut Client, moves: &[Move]) -> Result<(), String>;
}

/// Moves VMs by closing their interfaces at the daemon of one host and
/// opening them at that of another: for VMs whose hardware both hosts reach, as
/// in a laboratory.
#[derive(Debug)]
pub struct Rehome<'a> {
    inventory: &'a Inventory,
    network: NetworkId,
}

impl<'a> Rehome<'a> {
    /// Moves VMs of this inventory.
    pub fn new(inventory: &'a Inventory, network: NetworkId) -> Self {
        Self { inventory, network }
    }

    fn interface(&self, a_move: &Move) -> Result<InterfaceSpec, String> {
        let vm = self.inventory.get(a_move.mac).ok_or_else(|| format!("{} has no interface", a_move.vm))?;
        Ok(InterfaceSpec {
            name: vm.name.clone(),
            network: self.network,
            mac: Some(vm.mac),
            port: vm.port.clone(),
        })
    }
}

impl Mover for Rehome<'_> {
    fn carry_out(&mut self, client: &mut Client, moves: &[Move]) -> Result<(), String> {
        let mut closing = Vec::new();
        let mut opening = Vec::new();
        for a_move in moves {
            let spec = self.interface(a_move)?;
            closing.push((a_move.from.clone(), Request::DeleteInterface(spec.name.clone())));
            opening.push((a_move.to.clone(), Request::AddInterface(spec)));
        }
        // All close before any opens: a device can be open at one daemon only.
        let result = all(client, &closing).and_then(|()| all(client, &opening));
        let Err(why) = result else { return Ok(()) };
        // Back to where they were; an interface that was never closed or
        // opened is found as it should be.
        let undo_open: Vec<_> = opening
            .iter()
            .filter_map(|(host, request)| match request {
                Request::AddInterface(spec) => {
                    Some((host.clone(), Request::DeleteInterface(spec.name.clone())))
                }
                _ => None,
            })
            .collect();
        let _ = all(client, &undo_open);
        let reopen: Vec<_> = moves
            .iter()
            .filter_map(|a_move| {
                Some((a_move.from.clone(), Request::AddInterface(self.interface(a_move).ok()?)))
            })
            .collect();
        match all(client, &reopen) {
            Ok(()) => Err(why),
            Err(also) => Err(format!("{why}; and not every VM could be put back: {also}")),
        }
    }
}

/// Carries out these requests, all at once; the first refusal is the error,
/// after all have been answered.
fn all(client: &mut Client, requests: &[(HostName, Request)]) -> Result<(), String> {
    let calls: Vec<Call> =
        requests.iter().map(|(host, request)| (Some(host.clone()), request.clone())).collect();
    let responses: Vec<Response> = client.call_many(calls).map_err(|error| error.to_string())?;
    for (response, (host, _)) in responses.into_iter().zip(requests) {
        response.map_err(|error| format!("{host}: {error}"))?;
    }
    Ok(())
}

/// What carrying a decision out came to.
#[derive(Clone, Debug)]
pub struct Executed {
    /// Links and rules.
    pub applied: Applied,
    /// How long the VMs moved: from the first that was detached to the last that
    /// was attached again. Those that move live run nearly all of that time.
    pub handover: Duration,
    /// How long all of it took.
    pub took: Duration,
}

/// Carries `decision` out: new links and prepared rules first, then the VMs,
/// then all daemons change over. What fails is rolled back.
pub fn execute(
    client: &mut Client,
    network: NetworkId,
    decision: &Decision,
    mover: &mut dyn Mover,
    progress: impl FnMut(&Progress),
) -> Result<Executed, ApplyError> {
    let started = Instant::now();
    let mut handover = Duration::ZERO;
    let options = ApplyOptions { network, ..ApplyOptions::default() };
    if mover.follows_itself() {
        if !decision.moves.is_empty() {
            let moved = mover.carry_out(client, &decision.moves);
            handover = started.elapsed();
            let failed = |why| ApplyError { cause: Cause::HandOver { why }, rollback: Rollback::NotNeeded };
            moved.map_err(failed)?;
        }
        let applied = apply(client, &decision.desired, &options, progress)?;
        return Ok(Executed { applied, handover, took: started.elapsed() });
    }
    let mut hand_over = |client: &mut Client| {
        if decision.moves.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let result = mover.carry_out(client, &decision.moves);
        handover = begun.elapsed();
        result
    };
    let applied = apply_around(client, &decision.desired, &options, progress, &mut hand_over)?;
    Ok(Executed { applied, handover, took: started.elapsed() })
}
