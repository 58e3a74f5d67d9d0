//! Packet sockets (`packet(7)`).

use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, socklen_t};

use super::{check, control_message, owned, set_option};
use crate::offload::OFFLOAD_HEADER;

/// A packet socket for all frames that come in at the device with this index,
/// with the frame's offload header in front (`PACKET_VNET_HDR`).
pub(crate) fn packet_socket(index: u32) -> io::Result<File> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Protocol 0 takes in nothing until the socket is bound to its device.
    // SAFETY: socket takes no pointers.
    let socket = owned(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1_i32)?;
    set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
    set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
    let membership = libc::packet_mreq {
        mr_ifindex: index as c_int,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
    // SAFETY: all-zero bytes are a valid `sockaddr_ll`: it holds integers alone.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as c_int;
    let length = size_of::<libc::sockaddr_ll>() as socklen_t;
    // SAFETY: `address` has `length` bytes and outlives the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(File::from(socket))
}

/// Reads the next frame of a [`packet_socket`] into `buffer` and its offload
/// header into `offload`: the frame's length, and the VLAN tag (type and
/// control) that the kernel has taken out of it.
pub(crate) fn receive_packet(
    socket: &File,
    offload: &mut [u8; OFFLOAD_HEADER],
    buffer: &mut [u8],
) -> io::Result<(usize, Option<[u8; 4]>)> {
    let mut parts = [
        libc::iovec { iov_base: offload.as_mut_ptr().cast(), iov_len: offload.len() },
        libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() },
    ];
    // Room for one `tpacket_auxdata`.
    let mut control = [0_u64; 8];
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: all pointers in `message` are to buffers of the stated lengths that
    // outlive the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    let auxiliary = control_message(&message, &[(libc::SOL_PACKET, libc::PACKET_AUXDATA)]).map(|data| {
        // SAFETY: the kernel gives a message of this type a whole `tpacket_auxdata`.
        unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() }
    });
    let vlan = auxiliary.filter(|a| a.tp_status & libc::TP_STATUS_VLAN_VALID != 0).map(|a| {
        let given = a.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        let kind = if given { a.tp_vlan_tpid } else { 0x8100 };
        let ([k0, k1], [t0, t1]) = (kind.to_be_bytes(), a.tp_vlan_tci.to_be_bytes());
        [k0, k1, t0, t1]
    });
    Ok((received.saturating_sub(OFFLOAD_HEADER), vlan))
}
