//! Many datagrams at once, and what ICMP says of them.

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, socklen_t};
use smallvec::{SmallVec, smallvec};
use socket2::SockAddr;

use super::{check, control_message, set_option};

/// How many datagrams (or runs of datagrams) one call takes or gives at most.
pub(crate) const MOST_DATAGRAMS: usize = 64;

/// Room for the control messages with the length of segments and the time of arrival.
type Control = [u64; 8];

/// One datagram to send, or a run of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: &'a [u8],
    /// Cut into datagrams of so many bytes (`UDP_SEGMENT`); 0: it is one.
    pub(crate) segment: u16,
}

impl Outgoing<'_> {
    /// How many datagrams it is.
    pub(crate) fn datagrams(&self) -> usize {
        if self.segment == 0 { 1 } else { self.bytes.len().div_ceil(self.segment.into()) }
    }
}

/// One datagram that came, or a run of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) from: SocketAddr,
    /// Where it is, for whoever has put the slots into one buffer.
    pub(crate) start: usize,
    pub(crate) length: usize,
    /// The length of each datagram in it, but perhaps the last.
    pub(crate) segment: usize,
    /// When it came, in nanoseconds of the time of day, if [`stamp_arrivals`]
    /// asked for that.
    pub(crate) arrived_ns: Option<u64>,
}

/// Has the kernel say, or no longer say, when each datagram arrived (`SO_TIMESTAMPNS`).
pub(crate) fn stamp_arrivals(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &i32::from(on))
}

/// Has the kernel hand over runs of datagrams that came together as one
/// (`UDP_GRO`).
pub(crate) fn set_receive_coalescing(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, &i32::from(on))
}

/// Sends up to [`MOST_DATAGRAMS`] messages, in order, and says how many went. An
/// error is that of the first.
pub(crate) fn send_datagrams(socket: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    let messages = &messages[..messages.len().min(MOST_DATAGRAMS)];
    let addresses: SmallVec<[SockAddr; MOST_DATAGRAMS]> =
        messages.iter().map(|message| SockAddr::from(message.to)).collect();
    let mut parts: SmallVec<[libc::iovec; MOST_DATAGRAMS]> = messages
        .iter()
        .map(|message| libc::iovec {
            iov_base: message.bytes.as_ptr().cast_mut().cast(),
            iov_len: message.bytes.len(),
        })
        .collect();
    let mut controls: SmallVec<[Control; MOST_DATAGRAMS]> = smallvec![[0; 8]; messages.len()];
    let mut headers: SmallVec<[libc::mmsghdr; MOST_DATAGRAMS]> = SmallVec::new();
    for (((message, address), part), control) in
        messages.iter().zip(&addresses).zip(&mut parts).zip(&mut controls)
    {
        // SAFETY: all-zero bytes are a valid `msghdr`: null pointers with zero lengths.
        let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len();
        header.msg_iov = part;
        header.msg_iovlen = 1;
        if message.segment > 0 {
            header.msg_control = control.as_mut_ptr().cast();
            // SAFETY: CMSG_SPACE computes a length.
            header.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as _;
            // SAFETY: the control buffer is aligned for a header and has room for
            // it and two bytes, so that CMSG_FIRSTHDR and CMSG_DATA are inside.
            unsafe {
                let control = libc::CMSG_FIRSTHDR(&raw const header);
                (*control).cmsg_level = libc::SOL_UDP;
                (*control).cmsg_type = libc::UDP_SEGMENT;
                (*control).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
                libc::CMSG_DATA(control).cast::<u16>().write_unaligned(message.segment);
            }
        }
        headers.push(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
    }
    // SAFETY: all pointers in `headers` are to buffers of the stated lengths that
    // outlive the call, which only reads them.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, libc::MSG_DONTWAIT)
    };
    check(sent).map(|sent| sent as usize)
}

/// Receives datagrams, or runs of them, each into the next of `slots`, up to [`MOST_DATAGRAMS`]:
/// its first part, and what that has no room for, its second. What came is put into
/// `incoming`; a message that does not fit its slot is left out (its length is 0).
pub(crate) fn receive_datagrams<'a>(
    socket: BorrowedFd<'_>,
    slots: impl Iterator<Item = [&'a mut [u8]; 2]>,
    incoming: &mut Vec<Incoming>,
) -> io::Result<()> {
    incoming.clear();
    let mut parts: SmallVec<[[libc::iovec; 2]; MOST_DATAGRAMS]> = slots
        .take(MOST_DATAGRAMS)
        .map(|slot| slot.map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() }))
        .collect();
    let most = parts.len();
    // SAFETY: all-zero bytes are a valid `sockaddr_storage`: it holds integers alone.
    let nobody: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut addresses: SmallVec<[libc::sockaddr_storage; MOST_DATAGRAMS]> = smallvec![nobody; most];
    let mut controls: SmallVec<[Control; MOST_DATAGRAMS]> = smallvec![[0; 8]; most];
    let mut headers: SmallVec<[libc::mmsghdr; MOST_DATAGRAMS]> = SmallVec::new();
    for ((address, part), control) in addresses.iter_mut().zip(&mut parts).zip(&mut controls) {
        // SAFETY: all-zero bytes are a valid `msghdr`: null pointers with zero lengths.
        let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        header.msg_name = (&raw mut *address).cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as socklen_t;
        header.msg_iov = part.as_mut_ptr();
        header.msg_iovlen = part.len() as _;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(control) as _;
        headers.push(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
    }
    let (flags, no_timeout) = (libc::MSG_DONTWAIT, std::ptr::null_mut());
    // SAFETY: all pointers in `headers` are to distinct buffers of the stated
    // lengths that outlive the call.
    let received = unsafe {
        libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, flags as _, no_timeout)
    };
    let received = check(received)? as usize;
    for (header, address) in headers[..received].iter().zip(&addresses) {
        // (It has one: the socket's family.)
        let from = address_of(address).unwrap_or(SocketAddr::from(([0; 4], 0)));
        let cut_off = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let length = if cut_off { 0 } else { header.msg_len as usize };
        let segment = control_message(&header.msg_hdr, &[(libc::SOL_UDP, libc::UDP_GRO)]).map(|data| {
            // SAFETY: the kernel gives a message of this type an `int`.
            unsafe { data.cast::<c_int>().read_unaligned() }
        });
        let segment = segment.and_then(|s| usize::try_from(s).ok()).filter(|s| *s > 0).unwrap_or(length);
        let arrived_ns =
            control_message(&header.msg_hdr, &[(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)]).map(|data| {
                // SAFETY: the kernel gives a message of this type a whole `timespec`.
                let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
            });
        incoming.push(Incoming { from, start: 0, length, segment, arrived_ns });
    }
    Ok(())
}

/// Asks for room in a socket's buffers, past the system's limit where this
/// process may.
pub(crate) fn set_buffers(socket: BorrowedFd<'_>, bytes: i32) {
    for (force, option) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        if set_option(socket, libc::SOL_SOCKET, force, &bytes).is_err() {
            // Always succeeds, with the system's limit; bursts then overrun it sooner.
            let _ = set_option(socket, libc::SOL_SOCKET, option, &bytes);
        }
    }
}

/// Has the kernel keep what ICMP says of a UDP socket's datagrams.
pub(crate) fn keep_icmp_errors(socket: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    if is_v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &1_i32)?;
    }
    // A socket for both families needs both.
    match set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &1_i32) {
        Err(_) if is_v6 => Ok(()),
        other => other,
    }
}

/// Has the kernel send datagrams whole or not at all, whatever it thinks of the
/// path's MTU: finding that out is our affair (RFC 8899, section 4.5).
pub(crate) fn forbid_fragmentation(socket: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    if is_v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_PROBE)?;
    }
    // A socket for both families needs both.
    match set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE) {
        Err(_) if is_v6 => Ok(()),
        other => other,
    }
}

/// An error that the kernel kept for a UDP socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IcmpError {
    /// Where the datagram was going.
    pub(crate) destination: SocketAddr,
    /// What it means.
    pub(crate) errno: i32,
    /// Did a host or router on the way say so, rather than our own kernel?
    pub(crate) is_remote: bool,
    /// With `EMSGSIZE`: the longest packet that would have been taken.
    pub(crate) mtu: u32,
}

/// The next of the errors that [`keep_icmp_errors`] asked for.
pub(crate) fn next_icmp_error(socket: BorrowedFd<'_>) -> Option<IcmpError> {
    // SAFETY: all-zero bytes are a valid `sockaddr_storage`: it holds integers alone.
    let mut destination: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    // Room for one `sock_extended_err` and the address of who reported it.
    let mut control = [0_u64; 32];
    let mut payload = [0_u8; 0];
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: 0 };
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = (&raw mut destination).cast();
    message.msg_namelen = size_of_val(&destination) as socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: all pointers in `message` are to buffers of the stated lengths that
    // outlive the call.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    if result < 0 {
        return None;
    }
    let wanted = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
    let data = control_message(&message, &wanted)?;
    // SAFETY: the kernel gives a message of these types a whole `sock_extended_err`.
    let error = unsafe { data.cast::<libc::sock_extended_err>().read_unaligned() };
    let is_remote = matches!(error.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
    let (errno, mtu) = (error.ee_errno as i32, error.ee_info);
    Some(IcmpError { destination: address_of(&destination)?, errno, is_remote, mtu })
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: an address of this family is a `sockaddr_in`, which fits the storage.
            let v4 = unsafe { (&raw const *storage).cast::<libc::sockaddr_in>().read() };
            let ip = IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(ip, u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: an address of this family is a `sockaddr_in6`, which fits the storage.
            let v6 = unsafe { (&raw const *storage).cast::<libc::sockaddr_in6>().read() };
            let ip = IpAddr::from(v6.sin6_addr.s6_addr).to_canonical();
            Some(SocketAddr::new(ip, u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}
