//! Network namespaces with TAP and veth devices, made as root through netlink.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

/// A fresh network namespace, with a path for other threads, that lasts as long
/// as this value.
pub(crate) struct NetNs(File);

impl NetNs {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: unshare takes no pointers, and this thread does nothing else.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().unwrap();
        Self(file.expect("a network namespace: these tests run as root (CAP_SYS_ADMIN, CAP_NET_ADMIN)"))
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs `work` on a thread in the namespace.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: setns takes no pointers, and the thread is this work's own.
                check(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) }).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Makes a TAP device that outlives this call, and takes it up.
    pub(crate) fn add_tap(&self, device: &str) {
        self.run(|| {
            let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("/dev/net/tun");
            let mut request = named(device);
            request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
            ioctl(&tun, libc::TUNSETIFF as libc::Ioctl, &mut request);
            // SAFETY: TUNSETPERSIST takes an integer.
            check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST as libc::Ioctl, 1) }).unwrap();
        });
        self.set_up(device, true);
    }

    /// Makes a veth device here and its other end in `other`, both up.
    pub(crate) fn add_veth(&self, device: &str, other: &Self, other_device: &str) {
        let peer = [
            &[0; 16][..], // struct ifinfomsg
            &attribute(libc::IFLA_IFNAME, &text(other_device)),
            &attribute(libc::IFLA_NET_NS_FD, &other.0.as_raw_fd().to_ne_bytes()),
        ]
        .concat();
        const VETH_INFO_PEER: u16 = 1;
        let data = attribute(libc::IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer));
        let info = [attribute(libc::IFLA_INFO_KIND, b"veth"), data].concat();
        let attributes = [attribute(libc::IFLA_IFNAME, &text(device)), attribute(libc::IFLA_LINKINFO, &info)];
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.run(|| netlink(libc::RTM_NEWLINK, flags, 0, &attributes.concat()).expect("a veth pair"));
        self.set_up(device, true);
        other.set_up(other_device, true);
    }

    pub(crate) fn delete(&self, device: &str) {
        self.run(|| {
            let index = index(device).expect("the device to delete");
            netlink(libc::RTM_DELLINK, 0, index, &[]).expect("deleting the device");
        });
    }

    pub(crate) fn has(&self, device: &str) -> bool {
        self.run(|| index(device).is_some())
    }

    pub(crate) fn set_up(&self, device: &str, up: bool) {
        self.run(|| {
            let (socket, mut request) = flags_of(device);
            // SAFETY: the flags have been set.
            let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
            let flags = if up { flags | libc::IFF_UP } else { flags & !libc::IFF_UP };
            request.ifr_ifru.ifru_flags = flags as i16;
            ioctl(&socket, libc::SIOCSIFFLAGS as libc::Ioctl, &mut request);
        });
    }

    pub(crate) fn set_mtu(&self, device: &str, mtu: i32) {
        self.run(|| {
            let (socket, mut request) = flags_of(device);
            request.ifr_ifru.ifru_mtu = mtu;
            ioctl(&socket, libc::SIOCSIFMTU as libc::Ioctl, &mut request);
        });
    }

    /// Gives the device an address in a network of 2^8 (IPv6: of 2^64; it is used at once).
    pub(crate) fn add_address(&self, device: &str, address: impl Into<IpAddr>) {
        let (family, prefix, octets) = match address.into() {
            IpAddr::V4(address) => (libc::AF_INET, 24, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, 64, address.octets().to_vec()),
        };
        self.run(|| {
            let attributes =
                [attribute(libc::IFA_LOCAL, &octets), attribute(libc::IFA_ADDRESS, &octets)].concat();
            let index = index(device).expect("the device");
            let start = [family as u8, prefix, libc::IFA_F_NODAD as u8, 0];
            let body = [&start[..], &index.to_ne_bytes(), &attributes].concat();
            request(libc::RTM_NEWADDR, libc::NLM_F_CREATE, &body).expect("an address");
        });
    }

    /// A packet socket on the device, for frames as they are; it never blocks.
    pub(crate) fn raw_socket(&self, device: &str) -> File {
        self.run(|| {
            let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
            let socket = socket(libc::AF_PACKET, kind, (libc::ETH_P_ALL as u16).to_be().into());
            // SAFETY: all-zero bytes are a valid `sockaddr_ll`.
            let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = index(device).expect("the device") as i32;
            let length = size_of_val(&address) as u32;
            // SAFETY: `address` has `length` bytes and outlives the call.
            check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) }).unwrap();
            File::from(socket)
        })
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn socket(family: i32, kind: i32, protocol: i32) -> OwnedFd {
    // SAFETY: socket takes no pointers; the descriptor that it returns is ours.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }).expect("a socket");
    // SAFETY: as above.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn named(device: &str) -> libc::ifreq {
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (place, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte as libc::c_char;
    }
    request
}

fn ioctl(fd: &impl AsRawFd, operation: libc::Ioctl, request: &mut libc::ifreq) {
    // SAFETY: these operations read and write one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), operation, request) }).expect("an ioctl on a device");
}

/// A request that holds the flags of the device, and a socket to make it through.
fn flags_of(device: &str) -> (OwnedFd, libc::ifreq) {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
    let mut request = named(device);
    ioctl(&socket, libc::SIOCGIFFLAGS as libc::Ioctl, &mut request);
    (socket, request)
}

fn index(device: &str) -> Option<u32> {
    let name = CString::new(device).unwrap();
    // SAFETY: `name` ends in 0 and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len() as u16;
    let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value, &padding].concat()
}

fn netlink(kind: u16, flags: i32, index: u32, attributes: &[u8]) -> io::Result<()> {
    let body = [&[0; 4][..], &index.to_ne_bytes(), &[0; 8], attributes].concat();
    request(kind, flags, &body)
}

fn request(kind: u16, flags: i32, body: &[u8]) -> io::Result<()> {
    let mut socket = File::from(socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE));
    let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let length = 16 + body.len() as u32;
    let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    socket.write_all(&[&header, body].concat())?;
    let mut answer = [0; 4096];
    let read = socket.read(&mut answer)?;
    assert!(read >= 20, "an acknowledgement");
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
