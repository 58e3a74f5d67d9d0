//! The datagrams of all UDP links, over one socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use super::arrivals::Arrivals;
use super::config::OffloadSwitches;
use super::sys::{self, Outgoing};
use crate::stats::DropReason;

/// Room for bursts: some 120 runs of datagrams, or 2,700 of 1500 bytes alone.
const BUFFER: i32 = 8 << 20;

/// A run of at least so many bytes is worth a system call of its own, and what
/// follows it would only push it out of the processor's cache.
const LONG_RUN: usize = 1 << 14;

pub(crate) struct UdpLinks {
    socket: UdpSocket,
    is_v6: bool,
    /// Does the kernel cut runs of datagrams?
    segmentation: bool,
    /// Why the kernel doesn't, though it was asked to.
    no_segmentation: Option<String>,
    /// Why the kernel doesn't put them together, though it was asked to.
    no_coalescing: Option<String>,
    batches: bool,
    /// The next run is probably long.
    alone: bool,
    /// Does the kernel say when datagrams arrive? `None`: nobody wants to know.
    stamped: Option<bool>,
}

/// A datagram that did not arrive.
pub(crate) struct Failure {
    /// Where it was going; our own kernel leaves the port out.
    pub(crate) address: SocketAddr,
    /// What was said of it.
    pub(crate) why: String,
    /// It was too long: packets of so many bytes are not.
    pub(crate) mtu: Option<usize>,
    /// Did somebody on the way say so, rather than our own kernel?
    pub(crate) is_remote: bool,
}

impl UdpLinks {
    /// Takes a socket over. `stamped`: the times of arrival are wanted.
    pub(crate) fn new(socket: UdpSocket, switches: OffloadSwitches, stamped: bool) -> io::Result<Self> {
        let is_v6 = socket.local_addr()?.is_ipv6();
        socket.set_nonblocking(true)?;
        sys::set_buffers(socket.as_fd(), BUFFER);
        sys::keep_icmp_errors(socket.as_fd(), is_v6)?;
        sys::forbid_fragmentation(socket.as_fd(), is_v6)?;
        if stamped {
            sys::stamp_arrivals(socket.as_fd(), true)?;
        }
        // Kernels before 5.0 don't have it.
        let coalescing = switches.udp_coalescing.then(|| sys::set_receive_coalescing(socket.as_fd(), true));
        let no_coalescing =
            coalescing.and_then(Result::err).map(|error| format!("the kernel has no UDP_GRO: {error}"));
        let OffloadSwitches { udp_segmentation: segmentation, batches, .. } = switches;
        let no_segmentation = None;
        Ok(Self {
            socket,
            is_v6,
            segmentation,
            no_segmentation,
            no_coalescing,
            batches,
            alone: true,
            stamped: stamped.then_some(true),
        })
    }

    /// Puts the datagrams that came next into `arrivals`; none: there are none
    /// at present.
    pub(crate) fn receive(&mut self, arrivals: &mut Arrivals) -> io::Result<()> {
        match arrivals.fill(self.receives_alone(), |slots, messages| {
            sys::receive_datagrams(self.socket.as_fd(), slots, messages)
        }) {
            Ok(()) => {
                self.alone = arrivals.messages.iter().any(|message| message.length >= LONG_RUN);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                arrivals.messages.clear();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Says whether anybody wants to know when datagrams arrive.
    pub(crate) fn want_stamps(&mut self, wanted: bool) {
        self.stamp(wanted);
        self.stamped = match wanted {
            true => self.stamped.or(Some(false)),
            false => None,
        };
        self.stamp(wanted);
    }

    /// Why the kernel doesn't cut runs of datagrams, though it was asked to.
    pub(crate) fn no_segmentation(&self) -> Option<&str> {
        self.no_segmentation.as_deref()
    }

    /// Why the kernel doesn't put runs of datagrams together, though it was asked to.
    pub(crate) fn no_coalescing(&self) -> Option<&str> {
        self.no_coalescing.as_deref()
    }

    /// Will the next call give one message at most?
    pub(crate) fn receives_alone(&self) -> bool {
        self.alone || !self.batches
    }

    /// Starts or pauses the stamping of arrivals, if anybody wants it at all.
    pub(crate) fn stamp(&mut self, on: bool) {
        if self.stamped.is_some_and(|stamped| stamped != on) {
            // What worked when the socket was made works now.
            let _ = sys::stamp_arrivals(self.socket.as_fd(), on);
            self.stamped = Some(on);
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
            Err(error) if is_momentary(&error) => Err(error),
            Err(_) => self.socket.send_to(datagram, to).map(|_| ()),
        }
    }

    /// Sends runs of datagrams, each of its `segment` bytes but perhaps the last,
    /// in order. `done` is told for each of them, or several parts of each, how many
    /// datagrams went, or that they did not.
    pub(crate) fn send_runs<'a>(
        &mut self,
        runs: &[Outgoing<'a>],
        mut done: impl FnMut(usize, usize, io::Result<()>),
    ) {
        let mut next = 0;
        while next < runs.len() {
            if self.segmentation {
                let outgoing = |run: &Outgoing<'a>| {
                    let segment = if run.datagrams() > 1 { run.segment } else { 0 };
                    Outgoing { to: self.native(run.to), segment, bytes: run.bytes }
                };
                let most = if self.batches { sys::MOST_DATAGRAMS } else { 1 };
                let messages: smallvec::SmallVec<[Outgoing<'_>; 8]> =
                    runs[next..].iter().take(most).map(outgoing).collect();
                match sys::send_datagrams(self.socket.as_fd(), &messages) {
                    Ok(sent) => {
                        for (n, run) in runs[next..next + sent].iter().enumerate() {
                            done(next + n, run.datagrams(), Ok(()));
                        }
                        next += sent;
                        continue;
                    }
                    // The device under the route can't complete checksums.
                    Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                        tracing::info!("the kernel does not cut runs of datagrams: UDP_SEGMENT is off");
                        self.segmentation = false;
                        let device = "the device of a link's route can't complete checksums";
                        self.no_segmentation = Some(format!("{device} (UDP_SEGMENT: {error})"));
                    }
                    // It may be of one datagram of the run, or an earlier one.
                    Err(_) => {}
                }
            }
            self.send_one_by_one(&runs[next], |sent, result| done(next, sent, result));
            next += 1;
        }
    }

    fn send_one_by_one(&self, run: &Outgoing<'_>, mut done: impl FnMut(usize, io::Result<()>)) {
        let to = self.native(run.to);
        let mut rest = run.bytes.chunks(run.segment.into()).peekable();
        let mut tried_again = false;
        while rest.peek().is_some() {
            let most = if self.batches { sys::MOST_DATAGRAMS } else { 1 };
            let messages: smallvec::SmallVec<[Outgoing<'_>; 8]> =
                rest.clone().take(most).map(|bytes| Outgoing { to, bytes, segment: 0 }).collect();
            match sys::send_datagrams(self.socket.as_fd(), &messages) {
                Ok(sent) => {
                    done(sent, Ok(()));
                    rest.by_ref().take(sent).for_each(|_| ());
                    tried_again = false;
                }
                Err(error) if is_momentary(&error) => {
                    done(rest.count(), Err(error));
                    return;
                }
                Err(error) if tried_again => {
                    done(1, Err(error));
                    rest.next();
                    tried_again = false;
                }
                // Of an earlier datagram, as for `send`.
                Err(_) => tried_again = true,
            }
        }
    }

    /// The next datagram that did not arrive, as far as anybody says.
    pub(crate) fn next_failure(&self) -> Option<Failure> {
        let sys::IcmpError { destination, errno, is_remote, mtu } =
            sys::next_icmp_error(self.socket.as_fd())?;
        let text = io::Error::from_raw_os_error(errno);
        let why = if is_remote { format!("ICMP: {text}") } else { text.to_string() };
        let mtu = (errno == libc::EMSGSIZE && mtu > 0).then_some(mtu as usize);
        Some(Failure { address: canonical(destination), why, mtu, is_remote })
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

/// Is the datagram longer than the device takes?
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// An IPv4 address that a socket for both families gives as IPv6, as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
