//! The datagrams of all UDP links, over one socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use super::sys;
use crate::stats::DropReason;

/// Room for bursts: some 2,700 frames of 1500 bytes.
const BUFFER: i32 = 4 << 20;

/// A datagram that came.
pub(crate) struct Datagram {
    pub(crate) length: usize,
    pub(crate) from: SocketAddr,
    /// When it came, in nanoseconds of the time of day; `None`: nobody asked.
    pub(crate) arrived_ns: Option<u64>,
}

pub(crate) struct UdpLinks {
    socket: UdpSocket,
    is_v6: bool,
    /// Does the kernel say when datagrams arrive?
    is_stamped: bool,
}

impl UdpLinks {
    /// Takes a socket over. `stamped`: the times of arrival are wanted.
    pub(crate) fn new(socket: UdpSocket, stamped: bool) -> io::Result<Self> {
        let is_v6 = socket.local_addr()?.is_ipv6();
        socket.set_nonblocking(true)?;
        sys::set_buffers(socket.as_fd(), BUFFER);
        sys::keep_icmp_errors(socket.as_fd(), is_v6)?;
        if stamped {
            sys::stamp_arrivals(socket.as_fd())?;
        }
        Ok(Self { socket, is_v6, is_stamped: stamped })
    }

    /// Puts the next datagram into `buffer`; `None`: there is none at present.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
        let received = match self.is_stamped {
            true => sys::receive_datagram(self.socket.as_fd(), buffer),
            false => self.socket.recv_from(buffer).map(|(length, from)| (length, from, None)),
        };
        match received {
            Ok((length, from, arrived_ns)) => {
                Ok(Some(Datagram { length, from: canonical(from), arrived_ns }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends one datagram.
    ///
    /// An error that the kernel has kept for an earlier datagram comes up in
    /// this call, too. It has nothing to do with this one, which is tried again.
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = self.native(to);
        match self.socket.send_to(datagram, to) {
            Ok(_) => Ok(()),
            Err(error) if is_momentary(&error) || error.raw_os_error() == Some(libc::EMSGSIZE) => Err(error),
            Err(_) => self.socket.send_to(datagram, to).map(|_| ()),
        }
    }

    /// The next datagram that did not arrive, as far as anybody says: where it
    /// was going, and why.
    pub(crate) fn next_failure(&self) -> Option<(SocketAddr, String)> {
        let failure = sys::next_icmp_error(self.socket.as_fd())?;
        let text = io::Error::from_raw_os_error(failure.errno);
        let text = if failure.is_remote { format!("ICMP: {text}") } else { text.to_string() };
        Some((canonical(failure.destination), text))
    }

    /// The address as the socket's family has it.
    fn native(&self, address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(ip) if self.is_v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            _ => address,
        }
    }
}

impl AsFd for UdpLinks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why a datagram could not be sent.
pub(crate) fn drop_reason(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        _ if is_momentary(error) => DropReason::LinkFull,
        Some(libc::EMSGSIZE) => DropReason::TooLong,
        _ => DropReason::SendFailed,
    }
}

fn is_momentary(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// An IPv4 address that a socket for both families gives as IPv6, as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
