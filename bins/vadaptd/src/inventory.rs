//! Which VMs there are, and where they run now.

use std::collections::BTreeMap;

use vnet_core::control::{DaemonStatus, PortKind};
use vnet_core::{HostName, InterfaceName, MacAddr, NetworkId};

/// A VM as the overlay knows it: an interface behind which one address lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// The interface, which names the VM and moves with it.
    pub name: InterfaceName,
    /// Its address.
    pub mac: MacAddr,
    /// The host where it runs.
    pub host: HostName,
    /// What its interface is made of.
    pub port: PortKind,
}

/// The VMs of one network.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Inventory {
    vms: BTreeMap<MacAddr, Vm>,
}

/// Daemons that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// Two interfaces have the same address.
    #[error(
        "{mac} is on `{first}` at {first_host} and on `{second}` at {second_host}; remove one of the two interfaces"
    )]
    TwoPlaces {
        /// The address.
        mac: MacAddr,
        /// One interface.
        first: InterfaceName,
        /// Its host.
        first_host: HostName,
        /// The other interface.
        second: InterfaceName,
        /// Its host.
        second_host: HostName,
    },
}

impl Inventory {
    /// The VMs of `network` that these daemons have: their interfaces with a
    /// known address.
    pub fn of(network: NetworkId, daemons: &[DaemonStatus]) -> Result<Self, InventoryError> {
        let mut inventory = Self::default();
        for daemon in daemons {
            for interface in &daemon.interfaces {
                let spec = &interface.spec;
                let (Some(mac), true) = (spec.mac, spec.network == network) else { continue };
                let vm =
                    Vm { name: spec.name.clone(), mac, host: daemon.host.clone(), port: spec.port.clone() };
                inventory.add(vm)?;
            }
        }
        Ok(inventory)
    }

    /// Adds a VM.
    pub fn add(&mut self, vm: Vm) -> Result<(), InventoryError> {
        if let Some(first) = self.vms.get(&vm.mac) {
            return Err(InventoryError::TwoPlaces {
                mac: vm.mac,
                first: first.name.clone(),
                first_host: first.host.clone(),
                second: vm.name,
                second_host: vm.host,
            });
        }
        self.vms.insert(vm.mac, vm);
        Ok(())
    }

    /// The VM with this address.
    pub fn get(&self, mac: MacAddr) -> Option<&Vm> {
        self.vms.get(&mac)
    }

    /// All VMs, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Vm> {
        self.vms.values()
    }

    /// How many VMs there are.
    pub fn len(&self) -> usize {
        self.vms.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.vms.is_empty()
    }
}
