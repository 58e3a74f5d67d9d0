//! The ioctls of TAP devices: the only unsafe code here.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use vnet_core::MacAddr;

/// Attaches to the TAP device of this name in this thread's network namespace,
/// and makes it if it isn't there.
pub(super) fn attach_tap(tun: &File, name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    ioctl(tun, libc::TUNSETIFF, &request)
}

/// Lets the device stay when nobody has it open, or not any more.
pub(super) fn keep_tap(tun: &File, keep: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes an integer by value and touches no memory of ours.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST, libc::c_ulong::from(keep)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives a device an address. `socket` is any socket of its namespace.
pub(super) fn set_mac(socket: impl AsFd, name: &str, mac: MacAddr) -> io::Result<()> {
    let mut request = request(name)?;
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip(mac.0) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    ioctl(socket, libc::SIOCSIFHWADDR, &request)
}

/// Brings a device up. `socket` is any socket of its namespace.
pub(super) fn set_up(socket: impl AsFd, name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ioctl(socket, libc::SIOCSIFFLAGS, &request)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: plain integers and arrays of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last octet stays zero.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` can't name a device")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn ioctl(fd: impl AsFd, number: libc::c_ulong, request: &libc::ifreq) -> io::Result<()> {
    // SAFETY: every number passed here takes a pointer to a `struct ifreq`, which
    // lives until the call returns; the kernel writes into it at most.
    let result =
        unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), number, std::ptr::from_ref(request).cast_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
