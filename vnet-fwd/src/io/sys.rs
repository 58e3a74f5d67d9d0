//! The kernel's interfaces that the standard library lacks. All of the crate's
//! unsafe code is here.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};

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

/// A counter that wakes whoever polls it (`eventfd(2)`).
pub(crate) struct EventFd(File);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        Ok(Self(File::from(fd)))
    }

    /// Another handle of the same counter.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Makes it readable.
    pub(crate) fn notify(&self) {
        // Fails only when the counter is full: then it is readable as it is.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Makes it unreadable until the next `notify`.
    pub(crate) fn clear(&self) {
        // Fails only when it is unreadable already.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What to watch a descriptor for; errors and hang-ups are always watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    ReadableAndWritable,
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) writable: bool,
    pub(crate) error: bool,
}

/// How many descriptors one wait reports at most; the others come next time.
const EVENTS: usize = 64;

/// Waits for many descriptors at once (`epoll(7)`, level-triggered).
pub(crate) struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self { fd })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::Readable)
    }

    /// Waits until something is ready or the time is up (rounded up to
    /// milliseconds), and puts what is ready into `ready`.
    pub(crate) fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let milliseconds = timeout.map_or(-1, |t| t.as_nanos().div_ceil(1_000_000).min(60_000) as c_int);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: `events` has room for `EVENTS` events, and the kernel writes no more.
        let result = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), EVENTS as c_int, milliseconds)
        };
        ready.clear();
        let count = match check(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other? as usize,
        };
        ready.extend(events[..count].iter().map(|event| {
            let has = |flags: c_int| event.events & flags as u32 != 0;
            Ready {
                token: event.u64,
                writable: has(libc::EPOLLOUT),
                error: has(libc::EPOLLERR | libc::EPOLLHUP),
            }
        }));
        Ok(())
    }

    fn control(
        &self,
        operation: c_int,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let flags = match interest {
            Interest::Readable => libc::EPOLLIN,
            Interest::ReadableAndWritable => libc::EPOLLIN | libc::EPOLLOUT,
        };
        let mut event = libc::epoll_event { events: flags as u32, u64: token };
        // SAFETY: both descriptors are open, and `event` outlives the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }
}

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

/// Makes `tun`, open on `/dev/net/tun`, a queue of a TAP device.
pub(crate) fn attach_tap(tun: &File, device: &str) -> io::Result<()> {
    let mut request = device_request(device, libc::IFF_TAP | libc::IFF_NO_PI)?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &raw mut request) })?;
    Ok(())
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

/// A socket to ask for devices through.
fn any_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket takes no pointers.
    owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
}

fn set_option<T>(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let pointer = std::ptr::from_ref(value).cast::<c_void>();
    let length = size_of_val(value) as socklen_t;
    // SAFETY: `pointer` is to `length` bytes that outlive the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, length) })?;
    Ok(())
}

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

/// Length of the offload header that [`packet_socket`] puts in front of a frame
/// (`struct virtio_net_hdr`).
pub(crate) const OFFLOAD_HEADER: usize = 10;

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

/// Has the kernel say when each datagram arrived (`SO_TIMESTAMPNS`).
pub(crate) fn stamp_arrivals(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)
}

/// Receives a datagram into `buffer`: its length, where it came from, and when
/// it arrived, in nanoseconds of the time of day, if [`stamp_arrivals`] asked for that.
pub(crate) fn receive_datagram(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<u64>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Room for the time and for what else the kernel may want to say.
    let mut control = [0_u64; 16];
    let mut source: MaybeUninit<libc::sockaddr_storage> = MaybeUninit::uninit();
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = source.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: all pointers in `message` are to buffers of the stated lengths that
    // outlive the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let arrived = control_message(&message, &[(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)]).map(|data| {
        // SAFETY: the kernel gives a message of this type a whole `timespec`.
        let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    });
    // SAFETY: a UDP socket gives every datagram a source address, and the length
    // says that it is whole.
    let source = (message.msg_namelen > 0).then(|| unsafe { source.assume_init_ref() });
    let source = source.and_then(address_of).ok_or(io::ErrorKind::InvalidData)?;
    Ok((received, source, arrived))
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

/// An error that the kernel kept for a UDP socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IcmpError {
    /// Where the datagram was going.
    pub(crate) destination: SocketAddr,
    /// What it means.
    pub(crate) errno: i32,
    /// Did a host or router on the way say so, rather than our own kernel?
    pub(crate) is_remote: bool,
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
    Some(IcmpError { destination: address_of(&destination)?, errno: error.ee_errno as i32, is_remote })
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
