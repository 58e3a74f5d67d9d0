//! Packet sockets (packet(7)): the frames of a device, many per system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::last_error;

/// The most frames that one call takes or gives.
pub(crate) const BATCH: usize = 32;

/// Opens a socket that gets all frames that the device receives, and sends
/// past the device's queueing discipline.
pub(crate) fn open(index: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is a new descriptor or -1.
    let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if socket < 0 {
        return Err(last_error());
    }
    // SAFETY: a descriptor that the successful call above has just opened.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
    // As much as rmem_max allows to somebody without privileges.
    if set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER).is_err() {
        set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;
    }

    // SAFETY: all zero is a valid socket address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a sockaddr_ll of the given length.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
        return Err(last_error());
    }
    Ok(socket)
}

const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// Takes up to [`BATCH`] waiting frames into `buffers` and says how long each
/// is; a frame longer than its buffer is cut off.
pub(crate) fn receive(
    socket: impl AsFd,
    buffers: &mut [Vec<u8>],
    lengths: &mut [usize; BATCH],
) -> io::Result<usize> {
    let count = buffers.len().min(BATCH);
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: all zero is a valid header: no address, no parts.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for ((buffer, part), header) in buffers.iter_mut().zip(&mut parts).zip(&mut headers) {
        *part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first `count` headers point to parts that point to buffers
    // of the given lengths; all live until the call returns.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    if received < 0 {
        return Err(last_error());
    }
    for (length, header) in lengths.iter_mut().zip(&headers[..received as usize]) {
        *length = header.msg_len as usize;
    }
    Ok(received as usize)
}

/// Sends up to [`BATCH`] frames; returns how many went out.
pub(crate) fn send(socket: impl AsFd, frames: &[&[u8]]) -> io::Result<usize> {
    let count = frames.len().min(BATCH);
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: all zero is a valid header: no address, no parts.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for ((frame, part), header) in frames.iter().zip(&mut parts).zip(&mut headers) {
        *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first `count` headers point to parts that point to frames of
    // the given lengths, which sending only reads; all live until the call returns.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 { Err(last_error()) } else { Ok(sent as usize) }
}

/// Frames that the socket dropped because its buffer was full, since the last
/// call.
pub(crate) fn take_drops(socket: impl AsFd) -> io::Result<u64> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: PACKET_STATISTICS writes a struct tpacket_stats of the given length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(last_error()) } else { Ok(u64::from(statistics.tp_drops)) }
}

fn set(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes an integer of the given length.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result < 0 { Err(last_error()) } else { Ok(()) }
}
