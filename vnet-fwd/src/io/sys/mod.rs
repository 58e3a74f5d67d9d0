//! The kernel's interfaces that the standard library lacks. All of the crate's
//! unsafe code is here.
#![allow(unsafe_code)]

mod datagrams;
mod device;
mod packet;
mod poll;

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_void, socklen_t};

pub(crate) use datagrams::{
    IcmpError, Incoming, MOST_DATAGRAMS, Outgoing, forbid_fragmentation, keep_icmp_errors, next_icmp_error,
    receive_datagrams, send_datagrams, set_buffers, set_receive_coalescing, stamp_arrivals,
};
pub(crate) use device::{
    DeviceHandle, attach_tap, device_index, enter_network_namespace, is_device_up, limit_super_frames,
    set_device_up, set_tap_offloads,
};
pub(crate) use packet::{packet_socket, receive_packet};
pub(crate) use poll::{Epoll, EventFd, Interest, Ready};

/// `-1` becomes the error in `errno`.
fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes over a descriptor that a system call has just made.
fn owned(result: c_int) -> io::Result<OwnedFd> {
    let fd: RawFd = check(result)?;
    // SAFETY: the call succeeded, so `fd` is open, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_option<T>(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let pointer = std::ptr::from_ref(value).cast::<c_void>();
    let length = size_of_val(value) as socklen_t;
    // SAFETY: `pointer` is to `length` bytes that outlive the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, length) })?;
    Ok(())
}

/// The data of the first control message of one of these levels and types.
fn control_message(message: &libc::msghdr, wanted: &[(c_int, c_int)]) -> Option<*const u8> {
    // SAFETY: recvmsg has filled `message`, so that its control buffer, which is
    // aligned for them, can be walked.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole header.
        let kind = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if wanted.contains(&kind) {
            // SAFETY: as above; the data follow the header.
            return Some(unsafe { libc::CMSG_DATA(header) });
        }
        // SAFETY: as for CMSG_FIRSTHDR above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}
