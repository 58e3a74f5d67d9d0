//! The datagrams of all UDP links, over one socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use super::config::OffloadSwitches;
use super::sys::{self, Incoming, Outgoing};
use crate::stats::DropReason;

/// Room for bursts: some 120 runs of datagrams, or 2,700 of 1500 bytes alone.
const BUFFER: i32 = 8 << 20;

/// Room for one datagram, or a run of them.
const SLOT: usize = 1 << 16;

/// How many datagrams are received at once where they come one by one.
const RECEIVED_AT_ONCE: usize = 32;

/// A run of at least so many bytes is worth a system call of its own, and what
/// follows it would only push it out of the processor's cache.
const LONG_RUN: usize = SLOT / 4;

pub(crate) struct UdpLinks {
    socket: UdpSocket,
    is_v6: bool,
    /// Does the kernel cut runs of datagrams?
    segmentation: bool,
    batches: bool,
    /// What to ask for next.
    at_once: usize,
    /// Does the kernel say when datagrams arrive? `None`: nobody wants to know.
    stamped: Option<bool>,
}

/// Room for what [`UdpLinks::receive`] gives.
pub(crate) struct Arrivals {
    pub(crate) buffer: Box<[u8]>,
    pub(crate) messages: Vec<Incoming>,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; SLOT * RECEIVED_AT_ONCE].into(), messages: Vec::new() }
    }

    /// Where in the buffer the message `n` starts.
    pub(crate) fn start(n: usize) -> usize {
        n * SLOT
    }
}

impl UdpLinks {
    /// Takes a socket over. `stamped`: the times of arrival are wanted.
    pub(crate) fn new(socket: UdpSocket, switches: OffloadSwitches, stamped: bool) -> io::Result<Self> {
        let is_v6 = socket.local_addr()?.is_ipv6();
        socket.set_nonblocking(true)?;
        sys::set_buffers(socket.as_fd(), BUFFER);
        sys::keep_icmp_errors(socket.as_fd(), is_v6)?;
        if stamped {
            sys::stamp_arrivals(socket.as_fd(), true)?;
        }
        // Kernels before 5.0 don't have it.
        let coalescing = switches.udp_coalescing && sys::set_receive_coalescing(socket.as_fd(), true).is_ok();
        tracing::debug!(coalescing, "the kernel puts runs of datagrams together");
        let OffloadSwitches { udp_segmentation: segmentation, batches, .. } = switches;
        Ok(Self { socket, is_v6, segmentation, batches, at_once: 1, stamped: stamped.then_some(true) })
    }

    /// Puts the datagrams that came next into `arrivals`; none: there are none
    /// at present.
    pub(crate) fn receive(&mut self, arrivals: &mut Arrivals) -> io::Result<()> {
        let Arrivals { buffer, messages } = arrivals;
        match sys::receive_datagrams(self.socket.as_fd(), buffer, SLOT, self.at_once, messages) {
            Ok(()) => {
                for message in messages.iter_mut() {
                    message.from = canonical(message.from);
                }
                let long = messages.iter().any(|message| message.length >= LONG_RUN);
                self.at_once = if long || !self.batches { 1 } else { RECEIVED_AT_ONCE };
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                messages.clear();
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
            Err(error) if is_lasting(&error) => Err(error),
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
                Err(error) if is_lasting(&error) || tried_again => {
                    done(1, Err(error));
                    rest.next();
                    tried_again = false;
                }
                // Of an earlier datagram, as for `send`.
                Err(_) => tried_again = true,
            }
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

/// Would trying again end in the same way?
fn is_lasting(error: &io::Error) -> bool {
    is_momentary(error) || error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// An IPv4 address that a socket for both families gives as IPv6, as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
