//! The VMs of the demonstration: namespaces, or real guests.

use patterns::report::Throughput;
use testbed::{Application, NETWORK, Testbed};
use vadaptd::decide::Decision;
use vadaptd::execute::{Executed, Rehome, execute};
use vadaptd::inventory::Inventory;
use vnet_core::generate::VmSpec;
use vnet_core::shape::Shape;
use vnetd::client::Client;

use super::clock::Clock;

/// The VMs, and how the application runs in them and they move.
pub(crate) trait Machines {
    /// The VMs and the hosts that they are at now.
    fn vms(&self, bed: &Testbed) -> Vec<VmSpec>;

    /// Starts the application, whose messages have so many bytes.
    fn start(
        &self,
        bed: &Testbed,
        clock: Clock,
        shape: &Shape,
        message: u64,
    ) -> anyhow::Result<Box<dyn Work>>;

    /// Carries a decision out.
    fn execute(
        &mut self,
        bed: &mut Testbed,
        client: &mut Client,
        decision: &Decision,
        inventory: &Inventory,
    ) -> anyhow::Result<Executed>;

    /// Turns all VMs off.
    fn end(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The application that runs in the VMs.
pub(crate) trait Work {
    /// Takes in what it has reported since.
    fn poll(&mut self) -> anyhow::Result<()>;

    /// When all of it ran, by `CLOCK_MONOTONIC`, in nanoseconds.
    fn started_ns(&self) -> Option<u64>;

    /// When the first part of it ran.
    fn first_started_ns(&self) -> Option<u64>;

    /// How fast it is.
    fn throughput(&self) -> &Throughput;

    /// Connections that broke, a sentence each.
    fn failures(&self) -> &[String];

    /// Ends it, and takes its last reports in.
    fn stop(&mut self) -> anyhow::Result<()>;
}

/// The namespaces of the laboratory, which move by opening their interfaces elsewhere.
pub(crate) struct Namespaces;

impl Machines for Namespaces {
    fn vms(&self, bed: &Testbed) -> Vec<VmSpec> {
        bed.vms()
    }

    fn start(&self, bed: &Testbed, _: Clock, shape: &Shape, message: u64) -> anyhow::Result<Box<dyn Work>> {
        let vms: Vec<_> = bed.vms().into_iter().map(|vm| vm.interface).collect();
        let application = Application::start(bed, &vms, shape, message, &["--interval", "50ms"])?;
        Ok(Box::new(application))
    }

    fn execute(
        &mut self,
        bed: &mut Testbed,
        client: &mut Client,
        decision: &Decision,
        inventory: &Inventory,
    ) -> anyhow::Result<Executed> {
        let mut mover = Rehome::new(inventory, NETWORK);
        let executed = execute(client, NETWORK, decision, &mut mover, |_| {})?;
        for a_move in &decision.moves {
            if let Some(vm) = inventory.get(a_move.mac) {
                bed.moved(&vm.name, &a_move.to);
            }
        }
        Ok(executed)
    }
}

impl Work for Application {
    fn poll(&mut self) -> anyhow::Result<()> {
        Ok(Self::poll(self)?)
    }

    fn started_ns(&self) -> Option<u64> {
        Self::started_ns(self)
    }

    fn first_started_ns(&self) -> Option<u64> {
        Self::first_started_ns(self)
    }

    fn throughput(&self) -> &Throughput {
        Self::throughput(self)
    }

    fn failures(&self) -> &[String] {
        Self::failures(self)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        Ok(Self::stop(self)?)
    }
}
