//! A laboratory as a whole.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, Signal};
use vnet_core::{HostName, InterfaceName};

use crate::control::{self, WanControl};
use crate::emulator::Emulator;
use crate::enter::Inside;
use crate::error::LabError;
use crate::machine::{self, Host, Machine, Vm};
use crate::nic::NicKind;
use crate::spec::LabSpec;

/// Hosts on an emulated network, and VMs. Dropping it removes all of it,
/// with the processes that still run there.
pub struct Lab {
    spec: LabSpec,
    kind: NicKind,
    wan: WanControl,
    // Dropped before the hosts: the thread that has their NICs open.
    emulator: Emulator,
    hosts: Vec<Host>,
    vms: Vec<Vm>,
}

impl Lab {
    /// Builds what `spec` describes.
    ///
    /// The environment variable `VLAB_NICS` (`auto`, `tap`, `veth`) goes
    /// before what the description says about NICs.
    ///
    /// # Errors
    /// This program hasn't [entered](crate::enter()) a laboratory, the
    /// description is wrong, or the kernel refuses something.
    pub fn build(spec: &LabSpec) -> Result<Self, LabError> {
        let inside = Inside::get().ok_or(LabError::NotEntered)?;
        spec.check()?;
        let kind = NicKind::choose(spec.nics)?;

        let host_addresses = spec.host_addresses();
        let (mut hosts, mut nics) = (Vec::new(), Vec::new());
        for (number, address) in host_addresses.iter().enumerate() {
            let (host, nic) = Host::build(inside, spec, kind, number, *address)?;
            hosts.push(host);
            nics.push(nic);
        }
        for host in &hosts {
            machine::add_neighbours(host, &host_addresses)?;
        }
        let mut vms = Vec::new();
        for (number, address) in spec.vm_addresses().into_iter().enumerate() {
            vms.push(Vm::build(inside, spec, kind, number, address)?);
        }

        let (wan, names) = control::network_of(spec);
        let emulator = Emulator::start(wan, nics, spec.mtu).map_err(LabError::Network)?;
        let wan = WanControl::new(emulator.shared().clone(), names);
        Ok(Self { spec: spec.clone(), kind, wan, emulator, hosts, vms })
    }

    /// What it was built from.
    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// What its NICs are made of.
    pub fn nic_kind(&self) -> NicKind {
        self.kind
    }

    /// The emulated network.
    pub fn wan(&self) -> &WanControl {
        &self.wan
    }

    /// Its hosts, in the description's order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Its VMs, in the description's order.
    pub fn vms(&self) -> &[Vm] {
        &self.vms
    }

    /// The host with this name.
    pub fn host(&self, name: &HostName) -> Result<&Host, LabError> {
        let found = self.hosts.iter().find(|host| host.name() == name);
        found.ok_or_else(|| LabError::unknown("host", name, self.hosts.iter().map(Host::name)))
    }

    /// The VM with this name.
    pub fn vm(&self, name: &InterfaceName) -> Result<&Vm, LabError> {
        let found = self.vms.iter().find(|vm| vm.name() == name);
        found.ok_or_else(|| LabError::unknown("VM", name, self.vms.iter().map(Vm::name)))
    }

    /// Frames that hosts have sent and that were lost before they reached the
    /// emulated network, because this machine was too busy to emulate it. When
    /// it rises, what was measured in the meantime is not the network's doing.
    pub fn overruns(&self) -> Result<u64, LabError> {
        let drops = self.hosts.iter().map(machine::nic_drops).sum::<Result<u64, _>>()?;
        Ok(drops + self.emulator.overruns())
    }

    /// Tells every VM the MAC addresses of the others, so that no address
    /// resolution is needed between them. (Hosts know each other's already.)
    pub fn populate_neighbours(&self) -> Result<(), LabError> {
        let addresses: Vec<_> = self.vms.iter().map(Machine::nic).collect();
        self.vms.iter().try_for_each(|vm| machine::add_neighbours(vm, &addresses))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let machines = self.hosts.iter().map(Machine::netns).chain(self.vms.iter().map(Machine::netns));
        let namespaces: HashSet<u64> =
            machines.filter_map(|ns| Some(rustix::fs::fstat(ns.namespace()).ok()?.st_ino)).collect();
        end_processes(&namespaces);
    }
}

/// Ends every process in these network namespaces but this one.
fn end_processes(namespaces: &HashSet<u64>) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse().ok()).and_then(Pid::from_raw) else { continue };
        let Ok(namespace) = fs::metadata(process.path().join("ns/net")) else { continue };
        if pid != rustix::process::getpid() && namespaces.contains(&namespace.ino()) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}
