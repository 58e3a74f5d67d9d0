//! Network devices and namespaces.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libc::c_int;

use super::{check, owned};
use crate::offload::Offloads;

/// Moves this thread into the network namespace that `namespace` is open on.
pub(crate) fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns takes no pointers; a network namespace is a property of the
    // thread alone.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}

/// The index of a network device in this thread's namespace; `None`: there is none.
pub(crate) fn device_index(device: &str) -> Option<u32> {
    let name = CString::new(device).ok()?;
    // SAFETY: `name` is a string that ends in 0 and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The request of an `ioctl` on a device: its name, and flags.
fn device_request(device: &str, flags: i32) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero bytes are a valid `ifreq`: it holds integers and unions of them.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    Ok(request)
}

/// Makes `tun`, open on `/dev/net/tun`, a queue of a TAP device, with an
/// offload header in front of each frame if so asked.
pub(crate) fn attach_tap(tun: &File, device: &str, offload_header: bool) -> io::Result<()> {
    let header = if offload_header { libc::IFF_VNET_HDR } else { 0 };
    let mut request = device_request(device, libc::IFF_TAP | libc::IFF_NO_PI | header)?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &raw mut request) })?;
    Ok(())
}

/// Says which offloads the reader of a TAP device takes; those of its writer are
/// any that the kernel has.
pub(crate) fn set_tap_offloads(tun: &File, offloads: Offloads) -> io::Result<()> {
    // linux/if_tun.h
    const TUN_F_CSUM: libc::c_uint = 0x01;
    const TUN_F_TSO4: libc::c_uint = 0x02;
    const TUN_F_TSO6: libc::c_uint = 0x04;
    const TUN_F_USO4: libc::c_uint = 0x20;
    const TUN_F_USO6: libc::c_uint = 0x40;
    let flag = |wanted: bool, flags: libc::c_uint| if wanted { flags } else { 0 };
    let flags = flag(offloads.checksum, TUN_F_CSUM)
        | flag(offloads.tcp, TUN_F_TSO4 | TUN_F_TSO6)
        | flag(offloads.udp, TUN_F_USO4 | TUN_F_USO6);
    // SAFETY: TUNSETOFFLOAD takes an integer.
    check(unsafe {
        libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD as libc::Ioctl, libc::c_ulong::from(flags))
    })?;
    Ok(())
}

/// Has the kernel make super-frames for a device no longer than `bytes` (with
/// rtnetlink(7), `IFLA_GSO_MAX_SIZE`).
pub(crate) fn limit_super_frames(device: u32, bytes: u32) -> io::Result<()> {
    const IFLA_GSO_MAX_SIZE: u16 = 41; // linux/if_link.h
    const LENGTH: u32 = 40;
    // SAFETY: socket takes no pointers.
    let socket = owned(unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
    })?;
    // struct nlmsghdr, struct ifinfomsg, one attribute
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let request = [
        &LENGTH.to_ne_bytes()[..],
        &libc::RTM_NEWLINK.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 8],
        &[0; 4],
        &device.to_ne_bytes(),
        &[0; 8],
        &8_u16.to_ne_bytes(),
        &IFLA_GSO_MAX_SIZE.to_ne_bytes(),
        &bytes.to_ne_bytes(),
    ]
    .concat();
    let mut socket = File::from(socket);
    socket.write_all(&request)?;
    // struct nlmsghdr, then an error number, which is negative or 0.
    let mut answer = [0_u8; 1024];
    let length = socket.read(&mut answer)?;
    match answer[..length].get(16..20).and_then(|code| code.first_chunk()) {
        Some(code) => match i32::from_ne_bytes(*code) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        },
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Is the device in this thread's namespace administratively up?
pub(crate) fn is_device_up(device: &str) -> io::Result<bool> {
    let socket = any_socket()?;
    let mut request = device_request(device, 0)?;
    // SAFETY: SIOCGIFFLAGS reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as libc::Ioctl, &raw mut request) })?;
    // SAFETY: SIOCGIFFLAGS has set the flags.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(flags & libc::IFF_UP != 0)
}

/// Takes the device in this thread's namespace up.
pub(crate) fn set_device_up(device: &str) -> io::Result<()> {
    let socket = any_socket()?;
    let mut request = device_request(device, 0)?;
    // SAFETY: SIOCGIFFLAGS reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as libc::Ioctl, &raw mut request) })?;
    // SAFETY: SIOCGIFFLAGS has set the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw mut request) })?;
    Ok(())
}

/// A device in the network namespace that the thread was in, for later questions from any other.
pub(crate) struct DeviceHandle {
    socket: OwnedFd,
    name: String,
}

impl DeviceHandle {
    pub(crate) fn new(device: &str) -> io::Result<Self> {
        Ok(Self { socket: any_socket()?, name: device.to_owned() })
    }

    /// The longest packet that the device takes.
    pub(crate) fn mtu(&self) -> io::Result<u32> {
        let mut request = device_request(&self.name, 0)?;
        // SAFETY: SIOCGIFMTU reads and writes one `ifreq`, which outlives the call.
        check(unsafe {
            libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFMTU as libc::Ioctl, &raw mut request)
        })?;
        // SAFETY: SIOCGIFMTU has set the MTU.
        Ok(unsafe { request.ifr_ifru.ifru_mtu }.unsigned_abs())
    }

    pub(crate) fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut request = device_request(&self.name, 0)?;
        request.ifr_ifru.ifru_mtu = mtu.try_into().unwrap_or(i32::MAX);
        // SAFETY: SIOCSIFMTU reads one `ifreq`, which outlives the call.
        check(unsafe {
            libc::ioctl(self.socket.as_raw_fd(), libc::SIOCSIFMTU as libc::Ioctl, &raw mut request)
        })?;
        Ok(())
    }
}

/// A socket to ask for devices through.
fn any_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket takes no pointers.
    owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
}
