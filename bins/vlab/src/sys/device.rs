//! Network devices: TAP (tun(4)) and what ethtool sets.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::last_error;

/// The character device behind every TAP.
pub(crate) const TUN: &str = "/dev/net/tun";

/// Opens a TAP of the calling thread's network namespace, making it if need be.
pub(crate) fn open_tap(name: &str) -> io::Result<OwnedFd> {
    let file = open_tun()?;
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes a struct ifreq, which this is.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(last_error());
    }
    Ok(file)
}

/// Opens the device that TAPs are made with, to see whether it can be.
pub(crate) fn open_tun() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(TUN, flags, Mode::empty())?)
}

/// Lets a TAP live on when no process has it open.
pub(crate) fn keep_tap(tap: impl AsFd) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes an integer by value.
    if unsafe { libc::ioctl(tap.as_fd().as_raw_fd(), libc::TUNSETPERSIST, 1) } < 0 {
        return Err(last_error());
    }
    Ok(())
}

/// Turns off what makes a device hand over frames that are not yet as they
/// would be on a wire: larger than the MTU, or without a checksum.
pub(crate) fn disable_offloads(socket: impl AsFd, name: &str) -> io::Result<()> {
    // linux/ethtool.h
    const ETHTOOL_STXCSUM: u32 = 0x17;
    const ETHTOOL_STSO: u32 = 0x1f;
    const ETHTOOL_SGSO: u32 = 0x24;
    const ETHTOOL_SGRO: u32 = 0x2c;
    for command in [ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO] {
        // struct ethtool_value: the command and the new setting, off.
        let mut value = [command, 0];
        let mut request = interface_request(name)?;
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: SIOCETHTOOL reads a struct ifreq that points to a struct
        // ethtool_value; both live until the call returns.
        if unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } < 0 {
            return Err(last_error());
        }
    }
    Ok(())
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zero is a valid ifreq: an empty name and a zero value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}
