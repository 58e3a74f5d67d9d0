//! How one end of a link tries to reach the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vnet_core::encap::Kind;
use vnet_core::{HostName, LinkKind};

use super::context::{Context, Keys, Path};
use super::machine::Link;
use super::message::{Greeting, Incarnations};
use super::set::ConnectionId;

/// Our own try to reach the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// How many have failed since the link went down.
    step: u32,
    /// When to go on: to the next try, or to giving this one up.
    pub(super) next: Instant,
    /// TCP: the connection of this try, and whether it is open.
    pub(super) connection: Option<(ConnectionId, bool)>,
}

impl Link {
    /// The operator says where the peer is: goes there. A session is kept until
    /// the peer answers from the new place.
    pub(super) fn set_target(&mut self, target: SocketAddr, cx: &mut Context<'_>) {
        let known = self.target == Some(target) && (self.session.is_some() || self.attempt.is_some());
        self.target = Some(target);
        if !known && self.path() != Some(Path::Udp(target)) {
            self.begin_attempt(Duration::ZERO, cx);
        }
    }

    /// The peer's key is known now, or is another.
    pub(super) fn on_key(&mut self, cx: &mut Context<'_>) {
        if self.session.is_none() {
            self.error = None;
            self.begin_attempt(Duration::ZERO, cx);
        }
    }

    /// The connection that a try had dialled is open.
    pub(super) fn on_connected(&mut self, connection: ConnectionId, cx: &mut Context<'_>) {
        if let Some(Attempt { connection: Some((own, open)), .. }) = &mut self.attempt
            && *own == connection
        {
            *open = true;
            self.greet(Path::Tcp(connection), Keys::New, cx);
        }
    }

    /// The connection of a try failed.
    pub(super) fn on_failed(&mut self, connection: ConnectionId, why: &str, cx: &mut Context<'_>) {
        if let Some(attempt) = &mut self.attempt
            && attempt.connection.is_some_and(|(own, _)| own == connection)
        {
            attempt.connection = None;
            attempt.next = cx.now + cx.backoff(attempt.step);
            attempt.step += 1;
            self.error = Some((cx.now, why.to_owned()));
        }
    }

    /// Starts to try after `pause`, if it is known where.
    pub(super) fn begin_attempt(&mut self, pause: Duration, cx: &mut Context<'_>) {
        self.end_attempt(None, cx);
        let place = if self.spec.kind == LinkKind::Udp { self.udp_target() } else { self.target };
        if place.is_some() {
            let next = cx.now + pause.max(self.first_pause(cx));
            self.attempt = Some(Attempt { step: 0, next, connection: None });
        }
    }

    /// The next try, or the end of one that took too long.
    pub(super) fn try_now(&mut self, mut attempt: Attempt, cx: &mut Context<'_>) {
        self.trying_since.get_or_insert(cx.now);
        match self.spec.kind {
            LinkKind::Udp => {
                // The peer may have lost the keys that there are: with them only once, and
                // not at all after a silence.
                let doubtful = attempt.step > 0 || self.fell.is_some();
                let new_keys = doubtful || cx.needs_handshake(self.secure);
                if new_keys && let Err(turn) = cx.admit_handshake() {
                    attempt.next = cx.now + turn;
                    self.attempt = Some(attempt);
                    return;
                }
                // A peer that has moved may be where it last was, or where it should be.
                let last = self.learned.filter(|_| attempt.step % 2 == 1);
                let address = last.or(self.udp_target());
                attempt.next = cx.now + cx.backoff(attempt.step);
                attempt.step += 1;
                self.attempt = Some(attempt);
                let Some(address) = address else { return };
                if new_keys {
                    self.greet(Path::Udp(address), Keys::New, cx);
                    cx.begun(attempt.next);
                } else {
                    self.greet(Path::Udp(address), Keys::Present, cx);
                }
            }
            LinkKind::Tcp => {
                if let Some((connection, open)) = attempt.connection.take() {
                    cx.hang_up(Path::Tcp(connection));
                    let what = if open { "greeting" } else { "connection request" };
                    self.error = Some((cx.now, format!("no answer to the {what}")));
                }
                if let Some(address) = self.target {
                    attempt.connection = Some((cx.dial(address), false));
                }
                attempt.next = cx.now + cx.timing.backoff_last;
                self.attempt = Some(attempt);
            }
        }
    }

    /// Ends our own try, and its connection unless that is the one to `keep`.
    pub(super) fn end_attempt(&mut self, keep: Option<Path>, cx: &mut Context<'_>) {
        if let Some(Attempt { connection: Some((connection, _)), .. }) = self.attempt.take()
            && keep != Some(Path::Tcp(connection))
        {
            cx.hang_up(Path::Tcp(connection));
        }
    }

    /// The peer's connection has come first: ours waits whether that works out.
    pub(super) fn yield_dialling(&mut self, path: Path, cx: &mut Context<'_>) {
        if let (Path::Tcp(connection), Some(attempt)) = (path, &mut self.attempt)
            && attempt.connection.is_none_or(|(own, _)| own != connection)
        {
            attempt.next = cx.now + cx.timing.dead_after;
            if let Some((own, _)) = attempt.connection.take() {
                cx.hang_up(Path::Tcp(own));
            }
        }
    }

    /// The peer has greeted, and may be about to prove that it hears us: our own
    /// try over UDP waits for that, where it would cost another handshake.
    pub(super) fn yield_greeting(&mut self, cx: &mut Context<'_>) {
        if cx.needs_handshake(self.secure)
            && let Some(attempt) = self.attempt.filter(|attempt| attempt.connection.is_none())
        {
            let next = attempt.next.max(cx.now + cx.backoff(attempt.step));
            self.attempt = Some(Attempt { next, ..attempt });
        }
    }

    /// Where it is dear that two tries cross, one end waits whether that of the other
    /// comes. Over TCP the opener dials; greetings are shared out evenly, since an
    /// opener may be that of all its links.
    fn first_pause(&self, cx: &mut Context<'_>) -> Duration {
        match self.spec.kind {
            LinkKind::Tcp if self.spec.opener != *cx.host => cx.keepalive,
            LinkKind::Udp if cx.needs_handshake(self.secure) && !greets_first(cx.host, &self.peer) => {
                cx.backoff(1)
            }
            LinkKind::Tcp | LinkKind::Udp => Duration::ZERO,
        }
    }

    fn greet(&mut self, path: Path, keys: Keys, cx: &mut Context<'_>) {
        let greeting = Greeting {
            incarnations: Incarnations { sender: cx.incarnation, receiver: 0 },
            echo: 0,
            from: cx.host.clone(),
            to: self.peer.clone(),
            features: cx.features,
        };
        cx.send_with(self, path, Kind::Hello, &greeting.encode(), keys);
    }
}

/// Is it `own`, of the two, that greets first? The two ends agree on that.
fn greets_first(own: &HostName, peer: &HostName) -> bool {
    let bytes = own.as_str().bytes().chain(peer.as_str().bytes());
    let is_even = bytes.fold(0, |all, byte| all ^ byte) % 2 == 0;
    (own < peer) == is_even
}
