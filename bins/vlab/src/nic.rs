//! Network cards of hosts and VMs: TAP devices, or veth pairs with a packet
//! socket at the laboratory's end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;

use crate::error::LabError;
use crate::netlink::{LinkSettings, Netlink};
use crate::netns::NetNs;
use crate::spec::{NicAddress, NicChoice};
use crate::sys::{device, packet};

/// The name of the NIC inside every host and VM.
pub const NIC: &str = "eth0";

/// How many frames wait in the kernel for us, at a TAP.
const TAP_QUEUE_FRAMES: u32 = 2000;

/// What the NICs of a laboratory are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NicKind {
    /// TAP devices.
    Tap,
    /// veth pairs.
    Veth,
}

impl NicKind {
    /// Decides: the environment variable `VLAB_NICS` goes before `choice`.
    pub(crate) fn choose(choice: NicChoice) -> Result<Self, LabError> {
        let choice = match std::env::var_os("VLAB_NICS") {
            None => choice,
            Some(value) => match value.to_str() {
                Some("auto") => NicChoice::Auto,
                Some("tap") => NicChoice::Tap,
                Some("veth") => NicChoice::Veth,
                _ => return Err(LabError::NicsVariable { value: value.to_string_lossy().into_owned() }),
            },
        };
        match (choice, device::open_tun()) {
            (NicChoice::Veth, _) => Ok(Self::Veth),
            (_, Ok(_)) => Ok(Self::Tap),
            (NicChoice::Auto, Err(error)) => {
                tracing::info!("NICs are veth pairs, as {} can't be opened: {error}", device::TUN);
                Ok(Self::Veth)
            }
            (NicChoice::Tap, Err(source)) => Err(no_tun(source)),
        }
    }
}

fn no_tun(source: io::Error) -> LabError {
    let remedy = match source.kind() {
        io::ErrorKind::PermissionDenied => "run `sudo chmod 0666 /dev/net/tun`",
        _ => "run `sudo modprobe tun` (and see that /dev/net/tun exists)",
    };
    LabError::Tun { source, remedy }
}

/// How a NIC is to be made.
pub(crate) struct NicPlan<'a> {
    pub(crate) kind: NicKind,
    pub(crate) namespace: &'a NetNs,
    /// The laboratory's own namespace, and the veth's name there.
    pub(crate) laboratory: BorrowedFd<'a>,
    pub(crate) peer: &'a str,
    pub(crate) address: NicAddress,
    pub(crate) mtu: u32,
}

impl NicPlan<'_> {
    /// Makes a NIC whose other end is the emulated network.
    pub(crate) fn make(&self) -> io::Result<Nic> {
        match self.kind {
            NicKind::Tap => {
                let tap = self.namespace.run(|| {
                    let tap = device::open_tap(NIC)?;
                    self.configure()?;
                    Ok::<_, io::Error>(tap)
                })??;
                Ok(Nic::Tap(tap))
            }
            NicKind::Veth => {
                self.make_veth()?;
                self.open()
            }
        }
    }

    /// Makes a NIC whose other end waits for somebody to open it.
    pub(crate) fn make_loose(&self) -> io::Result<()> {
        match self.kind {
            NicKind::Tap => self.namespace.run(|| {
                let tap = device::open_tap(NIC)?;
                device::keep_tap(&tap)?;
                self.configure()
            })?,
            NicKind::Veth => self.make_veth(),
        }
    }

    /// Opens what [`NicPlan::make_loose`] has made, as a daemon does.
    pub(crate) fn open(&self) -> io::Result<Nic> {
        match self.kind {
            NicKind::Tap => Ok(Nic::Tap(self.namespace.run(|| device::open_tap(NIC))??)),
            NicKind::Veth => Ok(Nic::Packet(packet::open(Netlink::open()?.index(self.peer)?)?)),
        }
    }

    fn make_veth(&self) -> io::Result<()> {
        self.namespace.run(|| {
            let mut netlink = Netlink::open()?;
            netlink.add_veth(NIC, self.peer, self.laboratory)?;
            device::disable_offloads(netlink.socket(), NIC)?;
            self.configure()
        })??;
        // Threads of this program are in the laboratory's own namespace.
        let mut netlink = Netlink::open()?;
        let index = netlink.index(self.peer)?;
        netlink.link_up(index, &LinkSettings { mtu: Some(self.mtu), ..LinkSettings::default() })
    }

    fn configure(&self) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let index = netlink.index(NIC)?;
        let queue_frames = (self.kind == NicKind::Tap).then_some(TAP_QUEUE_FRAMES);
        let NicAddress { address, prefix, mac } = self.address;
        netlink.link_up(index, &LinkSettings { mac: Some(mac), mtu: Some(self.mtu), queue_frames })?;
        netlink.add_address(index, address, prefix)
    }
}

/// The end of a NIC that takes and gives frames.
pub(crate) enum Nic {
    Tap(OwnedFd),
    Packet(OwnedFd),
}

impl Nic {
    /// Takes up to [`packet::BATCH`] waiting frames; none is not an error.
    pub(crate) fn receive(
        &self,
        buffers: &mut [Vec<u8>],
        lengths: &mut [usize; packet::BATCH],
    ) -> io::Result<usize> {
        let result = match self {
            Self::Packet(socket) => packet::receive(socket, buffers, lengths),
            Self::Tap(tap) => {
                let mut count = 0;
                loop {
                    if count == buffers.len().min(lengths.len()) {
                        break Ok(count);
                    }
                    match rustix::io::read(tap, &mut buffers[count][..]) {
                        Ok(length) => lengths[count] = length,
                        Err(_) if count > 0 => break Ok(count),
                        Err(error) => break Err(error.into()),
                    }
                    count += 1;
                }
            }
        };
        match result {
            // The device is down for now; there's nothing to take.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(0),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(0)
            }
            result => result,
        }
    }

    /// Gives frames to the device; returns how many it did not take.
    pub(crate) fn send(&self, frames: &[&[u8]]) -> u64 {
        match self {
            Self::Tap(tap) => {
                frames.iter().map(|frame| u64::from(rustix::io::write(tap, frame).is_err())).sum()
            }
            Self::Packet(socket) => {
                let mut rest = frames;
                let mut lost = 0;
                while !rest.is_empty() {
                    // An error is about the first frame; the others may do better.
                    let sent = packet::send(socket, rest).unwrap_or_else(|_| {
                        lost += 1;
                        1
                    });
                    rest = &rest[sent.max(1)..];
                }
                lost
            }
        }
    }

    /// Frames that the kernel could not keep for us since the last call.
    pub(crate) fn take_overruns(&self) -> u64 {
        match self {
            Self::Tap(_) => 0,
            Self::Packet(socket) => packet::take_drops(socket).unwrap_or(0),
        }
    }
}

impl AsFd for Nic {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tap(fd) | Self::Packet(fd) => fd.as_fd(),
        }
    }
}
