//! How one end of a link tries to reach the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vnet_core::LinkKind;
use vnet_core::encap::Kind;

use super::context::{Context, Path};
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
            self.greet(Path::Tcp(connection), cx);
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
                // A peer that has moved may be where it last was, or where it should be.
                let last = self.learned.filter(|_| attempt.step % 2 == 1);
                let address = last.or(self.udp_target());
                attempt.next = cx.now + cx.backoff(attempt.step);
                attempt.step += 1;
                self.attempt = Some(attempt);
                if let Some(address) = address {
                    self.greet(Path::Udp(address), cx);
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

    /// Over TCP the opener dials. The other end does so only if it waits in vain,
    /// so that the two do not cross.
    fn first_pause(&self, cx: &Context<'_>) -> Duration {
        let passive = self.spec.kind == LinkKind::Tcp && self.spec.opener != *cx.host;
        if passive { cx.keepalive } else { Duration::ZERO }
    }

    fn greet(&mut self, path: Path, cx: &mut Context<'_>) {
        let greeting = Greeting {
            incarnations: Incarnations { sender: cx.incarnation, receiver: 0 },
            echo: 0,
            from: cx.host.clone(),
            to: self.peer.clone(),
            features: cx.features,
        };
        cx.send(self, path, Kind::Hello, &greeting.encode());
    }
}
