//! What a link needs to know and may do while it handles an event.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vnet_core::encap::{Header, Kind};
use vnet_core::{HostName, LinkId, NetworkId, RuleVersion};

use super::frames::{Room, SEALED};
use super::machine::Link;
use super::message::{Close, CloseReason, Features, Incarnations};
use super::pacing::Pacing;
use super::set::{Action, ConnectionId};
use super::timing::LinkTiming;
use crate::secure::{Guard, PeerId, SEAL_BACK, SEAL_FRONT};

/// Where a message comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// Datagrams to and from this address.
    Udp(SocketAddr),
    /// A TCP connection.
    Tcp(ConnectionId),
}

impl Path {
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Udp(address) => Some(address),
            Self::Tcp(_) => None,
        }
    }
}

/// Daemons with many links probe each the less often: one probe per 16 ms in all, which
/// keeps the default of 500 ms up to 31 links.
const PROBES_APART: Duration = Duration::from_millis(16);

/// The searches for path MTUs of a daemon with so many links: each is some six datagrams
/// of full size and their answers.
const SEARCHES_APART: Duration = Duration::from_millis(128);

/// What the links of one daemon share.
pub(super) struct Shared {
    pub(super) host: HostName,
    pub(super) incarnation: u64,
    pub(super) timing: LinkTiming,
    /// How many links there are.
    pub(super) links: usize,
    /// What this daemon takes.
    pub(super) features: Features,
    pub(super) origin: Instant,
    pub(super) rng: StdRng,
    pub(super) next_connection: u64,
    pub(super) actions: VecDeque<Action>,
    /// `None`: links are plain.
    pub(super) guard: Option<Box<Guard>>,
    pacing: Pacing,
}

impl Shared {
    pub(super) fn new(host: HostName, incarnation: u64, timing: LinkTiming, now: Instant) -> Self {
        Self {
            host,
            incarnation,
            timing: timing.at_least_a_millisecond(),
            links: 0,
            features: Features::ALL,
            // A second back, so that no message has the timestamp 0, which means none.
            origin: now.checked_sub(Duration::from_secs(1)).unwrap_or(now),
            rng: StdRng::seed_from_u64(incarnation),
            next_connection: 0,
            actions: VecDeque::new(),
            guard: None,
            pacing: Pacing::default(),
        }
    }

    pub(super) fn context(&mut self, now: Instant) -> Context<'_> {
        Context {
            now,
            host: &self.host,
            incarnation: self.incarnation,
            timing: self.timing,
            keepalive: self.timing.keepalive.max(PROBES_APART * self.links as u32),
            features: self.features,
            origin: self.origin,
            rng: &mut self.rng,
            next_connection: &mut self.next_connection,
            actions: &mut self.actions,
            guard: self.guard.as_deref_mut(),
            links: self.links,
            pacing: &mut self.pacing,
        }
    }

    /// What each datagram needs beside header and payload.
    pub(super) fn room(&self) -> Room {
        if self.guard.is_some() { SEALED } else { Room::default() }
    }

    /// Takes over what the encryption wants to have sent.
    pub(super) fn transmit(&mut self) {
        if let Some(guard) = &mut self.guard {
            take_packets(guard, &mut self.actions);
        }
    }
}

/// With which keys a greeting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// With those that there are. The peer may have lost them.
    Present,
    /// With new ones: it begins a handshake.
    New,
}

pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) host: &'a HostName,
    pub(super) incarnation: u64,
    pub(super) timing: LinkTiming,
    /// Time between keepalives, with as many links as there are.
    pub(super) keepalive: Duration,
    pub(super) features: Features,
    origin: Instant,
    rng: &'a mut StdRng,
    next_connection: &'a mut u64,
    actions: &'a mut VecDeque<Action>,
    guard: Option<&'a mut Guard>,
    links: usize,
    pacing: &'a mut Pacing,
}

impl Context<'_> {
    /// Our clock, in nanoseconds: the timestamps of our messages.
    pub(super) fn clock(&self) -> u64 {
        nanoseconds(self.origin, self.now)
    }

    /// What each datagram needs beside header and payload.
    pub(super) fn room(&self) -> Room {
        if self.guard.is_some() { SEALED } else { Room::default() }
    }

    /// Sends a message of `link`. A `Hello` goes in the first message of a handshake.
    pub(super) fn send(&mut self, link: &mut Link, path: Path, kind: Kind, body: &[u8]) {
        self.send_with(link, path, kind, body, Keys::New);
    }

    /// The same, for a `Hello` that may go with the keys that there are.
    pub(super) fn send_with(&mut self, link: &mut Link, path: Path, kind: Kind, body: &[u8], keys: Keys) {
        let message = self.message(kind, link.sequence, body);
        link.sequence += 1;
        if self.guard.is_none() {
            link.counters.sent(message.len());
            self.actions.push_back(Action::Send { path, message });
        } else if let Some(peer) = link.secure {
            link.counters.sent(message.len() + SEAL_FRONT + SEAL_BACK);
            self.send_secretly(peer, path, kind, &message, keys);
        } else {
            let why = format!(
                "no key of {} is known here: `vnet peer add` tells it, or the Proxy, if it introduces daemons",
                link.peer
            );
            link.error = Some((self.now, why));
        }
    }

    /// Sends a message that belongs to no link. Where links are encrypted, it
    /// has to be for a peer: strangers hear nothing.
    pub(super) fn send_alone(&mut self, path: Path, peer: Option<PeerId>, kind: Kind, body: &[u8]) {
        let message = self.message(kind, 0, body);
        match peer {
            Some(peer) => self.send_secretly(peer, path, kind, &message, Keys::New),
            None if self.guard.is_none() => self.actions.push_back(Action::Send { path, message }),
            None => {}
        }
    }

    /// A greeting goes in the first message of a handshake, unless the keys that
    /// there are will do, the answer to one in the second, everything else in a
    /// message of the session.
    fn send_secretly(&mut self, peer: PeerId, path: Path, kind: Kind, message: &[u8], keys: Keys) {
        let Some(guard) = self.guard.as_deref_mut() else { return };
        let begun = match kind {
            Kind::Hello if keys == Keys::Present && guard.is_ready(peer) => false,
            Kind::Hello => guard.greet(peer, path, message, self.now).is_ok(),
            _ => guard.respond(peer, message, self.now).is_ok(),
        };
        if begun {
            return take_packets(guard, self.actions);
        }
        let mut packet = [&[0; SEAL_FRONT], message, &[0; SEAL_BACK]].concat();
        if guard.seal(peer, &mut packet).is_ok() {
            self.actions.push_back(Action::Send { path, message: packet });
        }
    }

    pub(super) fn close(&self, reason: CloseReason, echo: u64, to: &HostName) -> Close {
        let host = self.host;
        let text = match reason {
            CloseReason::NoSuchLink => format!("{host} has no link with {to}"),
            CloseReason::NoSession => format!("{host} knows of no session; it may have restarted"),
            CloseReason::Removed => format!("{host} has removed the link"),
            CloseReason::Duplicate => "another connection serves the link".to_owned(),
            CloseReason::OtherKind => format!("{host} has this link over the other of UDP and TCP"),
            CloseReason::NotEncrypted => format!("{host} has plain links"),
            CloseReason::Stopping => format!("{host} is stopping"),
            CloseReason::Other => String::new(),
        };
        let incarnations = Incarnations { sender: self.incarnation, receiver: 0 };
        Close { incarnations, echo, reason, text }
    }

    pub(super) fn dial(&mut self, address: SocketAddr) -> ConnectionId {
        let connection = ConnectionId(*self.next_connection);
        *self.next_connection += 1;
        self.actions.push_back(Action::Dial { connection, address });
        connection
    }

    /// Closes the connection, if `path` is one.
    pub(super) fn hang_up(&mut self, path: Path) {
        if let Path::Tcp(connection) = path {
            self.actions.push_back(Action::HangUp { connection });
        }
    }

    pub(super) fn up(&mut self, link: LinkId) {
        self.actions.push_back(Action::Up { link });
    }

    pub(super) fn down(&mut self, link: LinkId, why: String) {
        self.actions.push_back(Action::Down { link, why });
    }

    /// The pause after the `step`th try.
    pub(super) fn backoff(&mut self, step: u32) -> Duration {
        let LinkTiming { backoff_first, backoff_last, .. } = self.timing;
        let first = self.time_out(backoff_first);
        let full = first.saturating_mul(1 << step.min(20)).min(backoff_last.max(first));
        self.jittered(full)
    }

    /// Does it take a handshake to say something to this peer?
    pub(super) fn needs_handshake(&self, peer: Option<PeerId>) -> bool {
        self.guard.as_ref().is_some_and(|guard| !peer.is_some_and(|peer| guard.is_ready(peer)))
    }

    /// May a handshake be begun? If not: how long to wait before asking again.
    pub(super) fn admit_handshake(&mut self) -> Result<(), Duration> {
        if self.guard.is_none() {
            return Ok(());
        }
        self.pacing.admit(self.now).map_err(|turn| self.jittered(turn))
    }

    /// A handshake has been begun, and counts as lost at that time.
    pub(super) fn begun(&mut self, lost: Instant) {
        if self.guard.is_some() {
            self.pacing.begun(lost);
        }
    }

    /// The greeting of which the peer repeats the time has been answered.
    pub(super) fn answered(&mut self, echo: u64) {
        let age = Duration::from_nanos(self.clock().saturating_sub(echo));
        if self.guard.is_some() && echo <= self.clock() && age < self.timing.dead_after {
            self.pacing.answered(age);
        }
    }

    /// `configured`, or longer where answers to greetings take longer.
    fn time_out(&self, configured: Duration) -> Duration {
        if self.guard.is_some() { self.pacing.time_out(configured, self.links) } else { configured }
    }

    /// Takes up to a quarter off at random, so that many links do not act in step.
    pub(super) fn jittered(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(self.rng.random_range(0.75..=1.0))
    }

    /// When a link that has come up may do what has time, so that many links that come
    /// up together don't do it together.
    pub(super) fn turn(&mut self) -> Duration {
        if PROBES_APART * self.links as u32 <= self.timing.keepalive {
            return Duration::ZERO;
        }
        (SEARCHES_APART * self.links as u32).mul_f64(self.rng.random_range(0.0..=1.0))
    }

    fn message(&self, kind: Kind, sequence: u64, body: &[u8]) -> Vec<u8> {
        let header = Header {
            kind,
            hop_limit: 0,
            rule_version: RuleVersion::default(),
            network: NetworkId::default(),
            sequence,
            timestamp: self.clock(),
        };
        [&header.encode(), body].concat()
    }
}

fn take_packets(guard: &mut Guard, actions: &mut VecDeque<Action>) {
    while let Some((path, message)) = guard.poll_transmit() {
        actions.push_back(Action::Send { path, message });
    }
}

/// A clock of nanoseconds since `origin`.
pub(super) fn nanoseconds(origin: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(origin).as_nanos() as u64
}
