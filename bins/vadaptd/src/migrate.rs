//! Migrations of a plan through VMMP: the migration agent moves the VMs, each with the
//! overlay following it.
//!
//! A VM's interface is named as its machine, and a host as its provider: that is how
//! `vmmpd` names what it opens.

use std::thread;

use vmmp::{MachineId, PeerName};
use vmmpd::client::{Agent, Target};
use vnet_core::HostName;
use vnetd::client::Client;

use crate::decide::Move;
use crate::execute::Mover;

/// Moves VMs through a migration agent.
#[derive(Debug)]
pub struct Vmmp {
    agent: Target,
}

impl Vmmp {
    /// Moves VMs through this agent.
    pub fn new(agent: Target) -> Self {
        Self { agent }
    }

    /// Moves a VM, and waits until it is there.
    fn migrate(&self, vm: &str, to: &HostName) -> Result<(), String> {
        let failed = |why: String| format!("{vm} could not move to {to}: {why}");
        let machine: MachineId = vm.parse().map_err(|error: vmmp::NameError| failed(error.to_string()))?;
        let provider: PeerName =
            to.as_str().parse().map_err(|error: vmmp::NameError| failed(error.to_string()))?;
        let agent = Agent::connect(&self.agent).map_err(|error| failed(error.to_string()))?;
        agent.migrate(machine, provider, None, |_| {}).map(drop).map_err(|error| failed(error.to_string()))
    }
}

impl Mover for Vmmp {
    fn follows_itself(&self) -> bool {
        true
    }

    fn carry_out(&mut self, _: &mut Client, moves: &[Move]) -> Result<(), String> {
        let mover: &Self = self;
        let results: Vec<(&Move, Result<(), String>)> = thread::scope(|scope| {
            let running: Vec<_> = moves
                .iter()
                .map(|a_move| (a_move, scope.spawn(|| mover.migrate(&a_move.vm, &a_move.to))))
                .collect();
            running
                .into_iter()
                .map(|(a_move, thread)| {
                    (a_move, thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                })
                .collect()
        });
        let failures: Vec<String> = results.iter().filter_map(|(_, result)| result.clone().err()).collect();
        if failures.is_empty() {
            return Ok(());
        }
        let mut why = failures.join("; ");
        for (a_move, _) in results.iter().filter(|(_, result)| result.is_ok()) {
            if let Err(also) = mover.migrate(&a_move.vm, &a_move.from) {
                why = format!("{why}; and not every VM is back where it was: {also}");
            }
        }
        Err(why)
    }
}
