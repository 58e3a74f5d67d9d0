//! Hosts and VMs: namespaces in which real processes run.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use vnet_core::control::PortKind;
use vnet_core::{HostName, InterfaceName, MacAddr};

use crate::enter::{Inside, LOG_DIR, NETWORK};
use crate::error::{Context, LabError};
use crate::netlink::Netlink;
use crate::netns::NetNs;
use crate::nic::{NIC, Nic, NicKind, NicPlan};
use crate::process::Process;
use crate::spec::{HostSpec, LabSpec, NicAddress, VmSpec};
use crate::sys::packet::BATCH;

/// What hosts and VMs have in common: processes run in both.
///
/// All see the same files, so that a Unix socket made in one can be reached
/// from any other.
pub trait Machine: Send + Sync {
    /// Its name as text.
    fn label(&self) -> &str;

    /// Its network namespace.
    fn netns(&self) -> &NetNs;

    /// Where its NIC stands: address, subnet, MAC address.
    fn nic(&self) -> NicAddress;

    /// Its IPv4 address.
    fn ip(&self) -> Ipv4Addr {
        self.nic().address
    }

    /// The address of its NIC.
    fn mac(&self) -> MacAddr {
        self.nic().mac
    }

    /// A command that will run in it.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.netns().place(&mut command);
        command
    }

    /// Starts a process in it, with the standard streams that the command has.
    fn spawn(&self, command: &mut Command) -> Result<Process, LabError> {
        self.netns().place(command);
        let program = command.get_program().to_owned();
        Process::spawn(command, None).at(self.label(), format!("start {}", program.display()))
    }

    /// Starts a process in it, and adds its output to the file
    /// `/run/vlab/log/MACHINE-NAME.log`.
    fn spawn_logged(&self, command: &mut Command, name: &str) -> Result<Process, LabError> {
        self.netns().place(command);
        let log = Path::new(LOG_DIR).join(format!("{}-{name}.log", self.label()));
        let program = command.get_program().to_owned();
        Process::spawn(command, Some(log)).at(self.label(), format!("start {}", program.display()))
    }

    /// Runs `work` on a thread in it, and waits. Sockets that it opens stay in
    /// the machine, so they may be returned and used anywhere.
    ///
    /// # Panics
    /// When `work` panics.
    fn run_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        self.netns().run(work).at(self.label(), "run something in its network namespace")
    }
}

/// A host: a namespace with a NIC on the emulated network.
#[derive(Debug)]
pub struct Host {
    spec: HostSpec,
    nic: NicAddress,
    netns: NetNs,
}

/// A VM: a namespace with a NIC whose other end an overlay's daemon opens.
#[derive(Debug)]
pub struct Vm {
    spec: VmSpec,
    nic: NicAddress,
    netns: NetNs,
    kind: NicKind,
    mtu: u32,
    /// The other end of its NIC, if that is a veth.
    peer: String,
    inside: Inside,
}

impl Machine for Host {
    fn label(&self) -> &str {
        self.spec.name.as_str()
    }

    fn netns(&self) -> &NetNs {
        &self.netns
    }

    fn nic(&self) -> NicAddress {
        self.nic
    }
}

impl Machine for Vm {
    fn label(&self) -> &str {
        self.spec.name.as_str()
    }

    fn netns(&self) -> &NetNs {
        &self.netns
    }

    fn nic(&self) -> NicAddress {
        self.nic
    }
}

impl Host {
    pub(crate) fn build(
        inside: &Inside,
        lab: &LabSpec,
        kind: NicKind,
        number: usize,
        nic: NicAddress,
    ) -> Result<(Self, Nic), LabError> {
        let spec = lab.hosts[number].clone();
        let netns = make_namespace(spec.name.as_str(), false)?;
        let plan = NicPlan {
            kind,
            namespace: &netns,
            laboratory: inside.network().as_fd(),
            peer: &new_peer_name(),
            address: nic,
            mtu: lab.mtu,
        };
        let end = plan.make().at(spec.name.as_str(), "make its NIC")?;
        Ok((Self { spec, nic, netns }, end))
    }

    /// Its name.
    pub fn name(&self) -> &HostName {
        &self.spec.name
    }

    /// What the description says about it.
    pub fn spec(&self) -> &HostSpec {
        &self.spec
    }
}

impl Vm {
    pub(crate) fn build(
        inside: &Inside,
        lab: &LabSpec,
        kind: NicKind,
        number: usize,
        nic: NicAddress,
    ) -> Result<Self, LabError> {
        let spec = lab.vms[number].clone();
        let netns = make_namespace(spec.name.as_str(), lab.vm_ipv6)?;
        let (mtu, peer) = (lab.vm_mtu, new_peer_name());
        let vm = Self { spec, nic, netns, kind, mtu, peer, inside: inside.clone() };
        vm.plug()?;
        Ok(vm)
    }

    /// Its name, also that of its port at a daemon.
    pub fn name(&self) -> &InterfaceName {
        &self.spec.name
    }

    /// What the description says about it.
    pub fn spec(&self) -> &VmSpec {
        &self.spec
    }

    /// The other end of its NIC, for a daemon to open.
    ///
    /// It is the same on every host: the daemon of one host closes it, that
    /// of another opens it, and the VM has moved with all its sockets.
    pub fn attachment(&self) -> PortKind {
        match self.kind {
            NicKind::Tap => PortKind::Tap {
                device: NIC.to_owned(),
                netns: Some(self.netns.path().to_owned()),
                create: false,
            },
            NicKind::Veth => {
                PortKind::Packet { device: self.peer.clone(), netns: Some(PathBuf::from(NETWORK)) }
            }
        }
    }

    /// Takes its NIC away, under whatever daemon has it open. Its processes
    /// and sockets stay.
    pub fn unplug(&self) -> Result<(), LabError> {
        let delete = || {
            let mut netlink = Netlink::open()?;
            netlink.delete_link(netlink.index(NIC)?)
        };
        self.run_in(delete)?.at(self.label(), "take its NIC away")
    }

    /// Gives it its NIC back, with the same addresses and the same
    /// [`Vm::attachment`].
    pub fn plug(&self) -> Result<(), LabError> {
        self.nic_plan().make_loose().at(self.label(), "make its NIC")
    }

    /// Opens the other end of its NIC here, to play the daemon's part.
    pub fn open(&self) -> Result<VmPort, LabError> {
        self.nic_plan().open().map(VmPort).at(self.label(), "open its NIC")
    }

    fn nic_plan(&self) -> NicPlan<'_> {
        NicPlan {
            kind: self.kind,
            namespace: &self.netns,
            laboratory: self.inside.network().as_fd(),
            peer: &self.peer,
            address: self.nic,
            mtu: self.mtu,
        }
    }
}

/// The other end of a VM's NIC. Dropping it closes it.
pub struct VmPort(Nic);

impl VmPort {
    /// Takes the next frame that the VM has sent, and returns its length.
    /// `None`: there's none now; the descriptor tells when there is.
    pub fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let mut lengths = [0; BATCH];
        let count = self.0.receive(std::slice::from_mut(buffer), &mut lengths)?;
        Ok((count > 0).then_some(lengths[0]))
    }

    /// Gives the VM a frame. False: its device did not take it.
    pub fn send(&self, frame: &[u8]) -> bool {
        self.0.send(&[frame]) == 0
    }
}

impl AsFd for VmPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Tells a machine the MAC addresses of others on its segment.
pub(crate) fn add_neighbours(machine: &impl Machine, others: &[NicAddress]) -> Result<(), LabError> {
    let own = machine.nic();
    let add = || -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let index = netlink.index(NIC)?;
        let others = others.iter().filter(|other| **other != own);
        netlink.add_neighbours(index, others.map(|other| (other.address, other.mac)))
    };
    machine.run_in(add)?.at(machine.label(), "tell it its neighbours' addresses")
}

/// Frames that the NIC of a machine could not hand over.
pub(crate) fn nic_drops(machine: &impl Machine) -> Result<u64, LabError> {
    let read = || std::fs::read_to_string("/proc/thread-self/net/dev");
    let devices = machine.run_in(read)?.at(machine.label(), "read the counters of its NIC")?;
    Ok(transmit_drops(&devices).unwrap_or(0))
}

/// The twelfth counter of a device in /proc/net/dev: eight of what it has
/// received, then packets, bytes, errors and drops of what it has sent.
fn transmit_drops(devices: &str) -> Option<u64> {
    let line = devices.lines().find_map(|line| line.trim().strip_prefix(NIC)?.strip_prefix(':'))?;
    line.split_whitespace().nth(11)?.parse().ok()
}

/// A name for a veth in the laboratory's own namespace. Each is used once, as
/// the kernel takes its time to remove those of a laboratory that was dropped.
fn new_peer_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("veth{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn make_namespace(name: &str, ipv6: bool) -> Result<NetNs, LabError> {
    NetNs::create(name, ipv6).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => LabError::NameInUse { name: name.to_owned() },
        _ => LabError::Machine {
            machine: name.to_owned(),
            action: "make its network namespace".to_owned(),
            source,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_found_among_the_counters() {
        let text = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth0: 1500000    1000    1    2    0     0          0         0  3000000    2000    3   44    0     0       0          0
";
        assert_eq!(transmit_drops(text), Some(44));
        assert_eq!(transmit_drops("eth1: 1"), None);
    }
}
