//! Opening the devices of interfaces, in whatever network namespace they are.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use vnet_core::control::PortKind;

use super::packet::PacketPort;
use super::port::Port;
use super::stream::StreamPort;
use super::sys;
use super::tap::TapPort;

/// Why a device can't be had (now).
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("there is no device {device}")]
    NoDevice { device: String },
    #[error("device {device} is administratively down: `ip link set {device} up` takes it up")]
    DeviceDown { device: String },
    #[error("device {device} is in use by another program")]
    Busy { device: String },
    #[error("device {device} is not a TAP device (or one for several queues)")]
    NotTap { device: String },
    #[error(
        "not permitted to use device {device}: run the daemon as root or with CAP_NET_ADMIN, or have the device made for its user"
    )]
    NotPermitted { device: String },
    #[error(
        "/dev/net/tun can't be opened: {source}; load the tun module, or use a packet port on a veth device"
    )]
    NoTun { source: io::Error },
    #[error("device {device}: {what} failed: {source}")]
    Refused { device: String, what: &'static str, source: io::Error },
    #[error("no socket {} for a virtual machine: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("network namespace {}: {source}", path.display())]
    Namespace { path: PathBuf, source: io::Error },
    #[error("no thread to open the device with: {source}")]
    Thread { source: io::Error },
}

impl OpenError {
    /// What an error of `TUNSETIFF` means.
    pub(crate) fn attaching(device: &str, source: io::Error) -> Self {
        let device = device.to_owned();
        match source.raw_os_error() {
            Some(libc::EBUSY) => Self::Busy { device },
            Some(libc::EINVAL) => Self::NotTap { device },
            Some(libc::EPERM) => Self::NotPermitted { device },
            _ => Self::Refused { device, what: "attaching to it", source },
        }
    }
}

/// Opens a port on a thread of its own, since entering a network namespace
/// changes the thread and the kernel may keep it waiting; hands the outcome to
/// `done` there.
pub(crate) fn open_elsewhere(
    kind: PortKind,
    offload: bool,
    done: impl FnOnce(Result<Box<dyn Port>, OpenError>) + Send + 'static,
) -> Result<(), OpenError> {
    std::thread::Builder::new()
        .name("vnet-open".to_owned())
        .stack_size(128 << 10)
        .spawn(move || done(open_here(&kind, offload)))
        .map(|_| ())
        .map_err(|source| OpenError::Thread { source })
}

fn open_here(kind: &PortKind, offload: bool) -> Result<Box<dyn Port>, OpenError> {
    match kind {
        PortKind::Tap { device, netns, create } => {
            enter(netns.as_deref())?;
            Ok(Box::new(TapPort::open(device, *create, offload)?))
        }
        PortKind::Packet { device, netns } => {
            enter(netns.as_deref())?;
            Ok(Box::new(PacketPort::open(device, offload)?))
        }
        PortKind::Stream { path } => {
            let refused = |source| OpenError::Socket { path: path.clone(), source };
            Ok(Box::new(StreamPort::listen(path).map_err(refused)?))
        }
    }
}

fn enter(namespace: Option<&Path>) -> Result<(), OpenError> {
    let Some(path) = namespace else { return Ok(()) };
    let failed = |source| OpenError::Namespace { path: path.to_owned(), source };
    let namespace = File::open(path).map_err(failed)?;
    sys::enter_network_namespace(namespace.as_fd()).map_err(failed)
}
