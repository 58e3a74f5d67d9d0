//! TAP devices of VMs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketType};
use rustix::thread::LinkNameSpaceType;
use vnet_core::MacAddr;

use super::sys;

/// The name of the TAP device of a VM's network card: not longer than a device's
/// may be, and different for cards of different VMs and for VMs of different
/// folders (two of which may be the two ends of a migration).
#[cfg(feature = "qemu")]
pub(crate) fn device_name(folder: &Path, mac: MacAddr) -> String {
    use std::os::unix::ffi::OsStrExt;
    // FNV-1a, which stays the same in later versions of this program.
    let bytes = folder.as_os_str().as_bytes().iter().chain(&mac.0);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("vm{:012x}", hash >> 16)
}

/// Makes a TAP device that stays, and brings it up: in the network namespace that
/// a file names, or in this one.
pub(crate) fn make(name: &str, mac: Option<MacAddr>, namespace: Option<&Path>) -> io::Result<()> {
    within(namespace, || {
        let tun = open()?;
        sys::attach_tap(&tun, name)?;
        sys::keep_tap(&tun, true)?;
        let socket = any_socket()?;
        if let Some(mac) = mac {
            sys::set_mac(&socket, name, mac)?;
        }
        sys::set_up(&socket, name)
    })
}

/// Removes a TAP device of this network namespace, if it is there.
#[cfg(feature = "qemu")]
pub(crate) fn remove(name: &str) -> io::Result<()> {
    if !Path::new("/sys/class/net").join(name).exists() && rustix_index(name).is_none() {
        return Ok(());
    }
    let tun = open()?;
    sys::attach_tap(&tun, name)?;
    sys::keep_tap(&tun, false)
}

/// /sys shows the devices of the namespace in which it was mounted.
#[cfg(feature = "qemu")]
fn rustix_index(name: &str) -> Option<u32> {
    rustix::net::netdevice::name_to_index(any_socket().ok()?, name).ok()
}

/// Brings `lo` up in a network namespace.
#[cfg(feature = "namespace")]
pub(crate) fn loopback_up(namespace: &Path) -> io::Result<()> {
    within(Some(namespace), || sys::set_up(any_socket()?, "lo"))
}

/// Runs `work` on a thread inside the namespace.
fn within(namespace: Option<&Path>, work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    let Some(path) = namespace else { return work() };
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("vm-driver-netns".into()).spawn_scoped(scope, || {
                let namespace = File::open(path)?;
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&namespace),
                    Some(LinkNameSpaceType::Network),
                )?;
                work()
            })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/net/tun")
}

fn any_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?)
}
