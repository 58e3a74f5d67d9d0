//! One link: how its end here comes up, stays up, moves and goes down.
//!
//! An end that knows where its peer is sends `Hello`, again and again with
//! growing pauses, until a `HelloAck` proves that the peer hears it: then it is
//! up. The peer, which has only been spoken to so far, keeps the other end as a
//! *candidate* and is up with the first message that proves that its `HelloAck`
//! was heard. A session is replaced only by a candidate that has proved itself,
//! so no stray or delayed `Hello` can take a link down.
//!
//! While up, the opener probes with `Keepalive`s and the other end answers; a
//! probe that stays unanswered is repeated four times as fast. Each message
//! echoes the last one heard, so both ends have proof. Without proof for
//! [`dead_after`](super::LinkTiming::dead_after) the link is down.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vnet_core::HostName;
use vnet_core::encap::Kind;

use super::arrivals::Log;
use super::attempt::Attempt;
use super::context::{Context, Path};
use super::fragments::Rejoiner;
use super::loss::Loss;
use super::message::{Close, CloseReason, Features, Greeting, Incarnations, Pulse};
use super::path_mtu::PathMtu;
use super::set::ConnectionId;
use crate::secure::PeerId;
use crate::stats::PortCounters;

/// A peer that has proved that it hears us.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) path: Path,
    pub(super) incarnation: u64,
    /// What the peer takes.
    pub(super) features: Features,
    /// Our clock when it began, in nanoseconds.
    started: u64,
    /// When the peer's last message that we know to be heard was sent by us.
    proven: Instant,
    /// When to probe, unless there is proof before.
    probe: Instant,
    /// The first probe since there was proof.
    asked: Option<Instant>,
    /// The last message with a time to echo: the peer's clock, and when it came.
    heard: Option<(u64, Instant)>,
    /// Which of the peer's messages came.
    pub(super) loss: Loss,
}

/// A peer that has greeted us and not proved anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) path: Path,
    incarnation: u64,
    features: Features,
    since: Instant,
}

/// One end of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) spec: vnet_core::Link,
    pub(super) peer: HostName,
    /// The peer's key, as the encryption knows it.
    pub(super) secure: Option<PeerId>,
    /// Where the operator says the peer is.
    pub(super) target: Option<SocketAddr>,
    /// Where a UDP peer was last, for when nobody says.
    pub(super) learned: Option<SocketAddr>,
    pub(super) session: Option<Session>,
    pub(super) candidate: Option<Candidate>,
    pub(super) attempt: Option<Attempt>,
    /// Counts our messages.
    pub(super) sequence: u64,
    pub(super) counters: PortCounters,
    pub(super) arrivals: Log,
    pub(super) mtu: PathMtu,
    pub(super) rejoiner: Rejoiner,
    /// Frames that went in pieces.
    pub(super) split_frames: u64,
    /// Frames that were too long, and dropped.
    pub(super) not_fitting: u64,
    pub(super) times_up: u64,
    pub(super) round_trip: Option<Duration>,
    /// When the link last came up or went down.
    pub(super) changed: Instant,
    /// Why it went down.
    pub(super) fell: Option<String>,
    /// When the first try since then was made.
    pub(super) trying_since: Option<Instant>,
    /// What the kernel last said of a try, and when.
    pub(super) error: Option<(Instant, String)>,
    /// That the peer encrypts and this end doesn't, or the other way round, and
    /// when that was last seen.
    pub(super) mismatch: Option<(Instant, String)>,
    /// What the peer last said against it, and when.
    pub(super) refusal: Option<(Instant, String)>,
}

impl Session {
    /// When the peer is given up. It has half of the time to answer in any case:
    /// a daemon that did not get to run for long has asked nobody meanwhile.
    fn dead_at(&self, dead_after: Duration) -> Option<Instant> {
        self.asked.map(|asked| (self.proven + dead_after).max(asked + dead_after / 2))
    }
}

impl Link {
    pub(super) fn new(spec: vnet_core::Link, peer: HostName, now: Instant) -> Self {
        Self {
            spec,
            peer,
            secure: None,
            target: None,
            learned: None,
            session: None,
            candidate: None,
            attempt: None,
            sequence: 0,
            counters: PortCounters::default(),
            arrivals: Log::default(),
            mtu: PathMtu::new(now),
            rejoiner: Rejoiner::default(),
            split_frames: 0,
            not_fitting: 0,
            times_up: 0,
            round_trip: None,
            changed: now,
            fell: None,
            trying_since: None,
            error: None,
            mismatch: None,
            refusal: None,
        }
    }

    /// When [`Link::on_time`] wants to be called.
    pub(super) fn deadline(&self, cx: &Context<'_>) -> Option<Instant> {
        let dead_after = cx.timing.dead_after;
        let session =
            self.session.as_ref().map(|s| s.dead_at(dead_after).map_or(s.probe, |at| at.min(s.probe)));
        let candidate = self.candidate.map(|c| c.since + dead_after);
        let attempt = self.attempt.map(|a| a.next);
        [session, candidate, attempt, self.mtu.deadline()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self, cx: &mut Context<'_>) {
        if let Some(session) = &self.session {
            if session.dead_at(cx.timing.dead_after).is_some_and(|at| cx.now >= at) {
                let silence = cx.now.saturating_duration_since(session.proven);
                let why = format!("no sign of life from {} for {:.1} s", self.peer, silence.as_secs_f64());
                self.go_down(why, Duration::ZERO, cx);
            } else if cx.now >= session.probe {
                self.probe(cx);
            }
        }
        self.probe_size(cx);
        if let Some(candidate) = self.candidate
            && cx.now.saturating_duration_since(candidate.since) >= cx.timing.dead_after
        {
            self.drop_candidate(cx);
        }
        if let Some(attempt) = self.attempt
            && cx.now >= attempt.next
        {
            self.try_now(attempt, cx);
        }
    }

    /// The peer greets.
    pub(super) fn on_hello(&mut self, path: Path, hello: &Greeting, timestamp: u64, cx: &mut Context<'_>) {
        if let (Path::Tcp(connection), Some(Attempt { connection: Some((own, true)), .. })) =
            (path, self.attempt)
            && self.spec.opener == *cx.host
            && connection != own
        {
            // Both ends have dialled. The opener's connection stays.
            self.refuse(path, CloseReason::Duplicate, timestamp, cx);
            cx.hang_up(path);
            return;
        }
        let known = self
            .session
            .as_ref()
            .is_some_and(|s| s.path == path && s.incarnation == hello.incarnations.sender);
        if !known {
            if self.candidate.is_some_and(|c| c.path != path) {
                self.drop_candidate(cx);
            }
            let incarnation = hello.incarnations.sender;
            self.candidate = Some(Candidate { path, incarnation, features: hello.features, since: cx.now });
            self.yield_dialling(path, cx);
            self.yield_greeting(cx);
        }
        let greeting = Greeting {
            incarnations: Incarnations { sender: cx.incarnation, receiver: hello.incarnations.sender },
            echo: timestamp,
            from: cx.host.clone(),
            to: self.peer.clone(),
            features: cx.features,
        };
        cx.send(self, path, Kind::HelloAck, &greeting.encode());
    }

    /// The peer answers a greeting of ours.
    pub(super) fn on_hello_ack(&mut self, path: Path, ack: &Greeting, timestamp: u64, cx: &mut Context<'_>) {
        let age = cx.clock().saturating_sub(ack.echo);
        let fresh = ack.echo <= cx.clock() && u128::from(age) < cx.timing.dead_after.as_nanos();
        if !fresh || ack.incarnations.receiver != cx.incarnation {
            return;
        }
        cx.answered(ack.echo);
        let sender = ack.incarnations.sender;
        if !self.session.as_ref().is_some_and(|s| s.path == path && s.incarnation == sender) {
            // The answer to a try that is over is no news of where the peer is.
            let Some(attempt) = self.attempt else { return };
            if matches!(path, Path::Tcp(c) if attempt.connection.is_none_or(|(own, _)| own != c)) {
                return;
            }
            self.establish(path, sender, ack.features, cx);
        }
        self.hear(timestamp, ack.echo, 0, cx);
        // So that the peer has its proof at once.
        self.probe(cx);
    }

    /// A sign of life. `false`: there is no session that it belongs to.
    pub(super) fn on_pulse(
        &mut self,
        path: Path,
        pulse: &Pulse,
        (sequence, timestamp): (u64, u64),
        is_question: bool,
        cx: &mut Context<'_>,
    ) -> bool {
        if pulse.incarnations.receiver != cx.incarnation {
            return false;
        }
        let sender = pulse.incarnations.sender;
        if let Some(candidate) = self.candidate.filter(|c| c.path == path && c.incarnation == sender) {
            self.establish(path, sender, candidate.features, cx);
        }
        let Some(session) = self.session.as_mut().filter(|s| s.incarnation == sender) else { return false };
        if session.path != path {
            // An older message than the last is no news of where the peer is.
            if sequence < session.loss.newest || matches!(path, Path::Tcp(_)) {
                return true;
            }
            session.path = path;
            self.learned = path.address();
            self.explore(cx);
        }
        self.hear(timestamp, pulse.echo, pulse.delay, cx);
        if is_question {
            self.pulse(Kind::KeepaliveAck, cx);
        }
        true
    }

    /// A frame came from the candidate's path: the peer is up, so it has heard us.
    pub(super) fn on_candidate_frame(&mut self, cx: &mut Context<'_>) {
        if let Some(candidate) = self.candidate {
            self.establish(candidate.path, candidate.incarnation, candidate.features, cx);
        }
    }

    /// An authentic message, newer than all before it, came from there.
    pub(super) fn follow(&mut self, path: Path, cx: &mut Context<'_>) {
        if let Some(session) = &mut self.session
            && matches!((session.path, path), (Path::Udp(_), Path::Udp(_)))
        {
            session.path = path;
            self.learned = path.address();
            self.explore(cx);
        }
    }

    /// The peer refuses the link or takes it down.
    pub(super) fn on_close(&mut self, path: Path, close: &Close, cx: &mut Context<'_>) {
        let from_session = self.session.as_ref().is_some_and(|s| {
            // It answers a message of this session, which a stranger can't name.
            let ours = (s.started..=cx.clock()).contains(&close.echo);
            let ending = matches!(close.reason, CloseReason::Removed | CloseReason::Stopping);
            let theirs = ending && close.incarnations.sender == s.incarnation;
            s.path == path && (ours || theirs)
        });
        if from_session {
            let why = format!("{} says: {}", self.peer, close.text);
            let pause = match close.reason {
                CloseReason::NoSession => Duration::ZERO,
                _ => cx.timing.backoff_first,
            };
            self.go_down(why, pause, cx);
        } else if self.session.is_none() && close.reason != CloseReason::NoSession {
            cx.answered(close.echo);
            self.refusal = Some((cx.now, close.text.clone()));
        }
    }

    /// A connection of this link failed, could not be opened, or was closed by
    /// the peer.
    pub(super) fn on_disconnected(&mut self, connection: ConnectionId, why: &str, cx: &mut Context<'_>) {
        let path = Path::Tcp(connection);
        if self.candidate.is_some_and(|c| c.path == path) {
            self.candidate = None;
        }
        if self.session.as_ref().is_some_and(|s| s.path == path) {
            let why = format!("the connection to {} ended: {why}", self.peer);
            self.go_down(why, cx.timing.backoff_first, cx);
        } else {
            self.on_failed(connection, why, cx);
        }
    }

    /// Takes this end away, and tells the peer why.
    pub(super) fn on_removed(&mut self, reason: CloseReason, cx: &mut Context<'_>) {
        self.mtu.stop(cx.now);
        if let Some(session) = self.session.take() {
            let echo = session.heard.map_or(0, |(timestamp, _)| timestamp);
            self.refuse(session.path, reason, echo, cx);
            cx.hang_up(session.path);
        }
        self.drop_candidate(cx);
        self.end_attempt(None, cx);
    }

    /// Where its messages go now.
    pub(super) fn path(&self) -> Option<Path> {
        self.session.as_ref().map(|s| s.path)
    }

    /// Where a UDP peer should be.
    pub(super) fn udp_target(&self) -> Option<SocketAddr> {
        self.target.or(self.learned)
    }

    fn establish(&mut self, path: Path, incarnation: u64, features: Features, cx: &mut Context<'_>) {
        let old = self.session.take();
        let restarted = old.as_ref().is_some_and(|s| s.incarnation != incarnation);
        if let Some(old) = &old
            && old.path != path
        {
            cx.hang_up(old.path);
        }
        if restarted {
            cx.down(self.spec.id(), format!("{} has restarted", self.peer));
        }
        let same = old.filter(|_| !restarted);
        if same.is_none() {
            self.times_up += 1;
            self.changed = cx.now;
            self.round_trip = None;
            cx.up(self.spec.id());
        }
        self.session = Some(Session {
            path,
            incarnation,
            features,
            started: cx.clock(),
            proven: cx.now,
            probe: cx.now + self.pause_between_probes(cx),
            asked: None,
            heard: None,
            loss: same.map_or_else(|| Loss::new(0, cx.now), |s| s.loss),
        });
        self.learned = path.address();
        self.explore(cx);
        if self.candidate.is_some_and(|c| c.path == path) {
            self.candidate = None;
        } else {
            self.drop_candidate(cx);
        }
        self.end_attempt(Some(path), cx);
        (self.fell, self.trying_since, self.error, self.refusal) = (None, None, None, None);
    }

    fn go_down(&mut self, why: String, pause: Duration, cx: &mut Context<'_>) {
        let Some(session) = self.session.take() else { return };
        self.mtu.stop(cx.now);
        self.rejoiner.clear();
        cx.hang_up(session.path);
        cx.down(self.spec.id(), why.clone());
        self.changed = cx.now;
        self.fell = Some(why);
        self.begin_attempt(pause, cx);
        // Before the first try, what the last ones brought is no news.
        (self.trying_since, self.error, self.refusal) = (None, None, None);
    }

    /// A message was heard that says when it was sent, and perhaps which of
    /// ours its sender had heard.
    fn hear(&mut self, timestamp: u64, echo: u64, delay: u64, cx: &mut Context<'_>) {
        let pause = self.pause_between_probes(cx);
        let Some(session) = &mut self.session else { return };
        session.heard = Some((timestamp, cx.now));
        let clock = cx.clock();
        if echo == 0 || echo > clock {
            return;
        }
        let age = Duration::from_nanos(clock - echo);
        let Some(sent) = cx.now.checked_sub(age) else { return };
        session.loss.on_time(cx.now);
        session.proven = session.proven.max(sent);
        session.probe = cx.now + pause;
        session.asked = None;
        let sample = age.saturating_sub(Duration::from_nanos(delay));
        // RFC 6298, section 2: an eighth of the new sample.
        self.round_trip = Some(self.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
    }

    /// The opener asks, the other end only when it has not been asked for long.
    fn pause_between_probes(&self, cx: &mut Context<'_>) -> Duration {
        let keepalive = cx.jittered(cx.keepalive);
        if self.spec.opener == *cx.host { keepalive } else { keepalive * 3 / 2 }
    }

    fn probe(&mut self, cx: &mut Context<'_>) {
        if let Some(session) = &mut self.session {
            session.probe = cx.now + cx.keepalive / 4;
            session.asked.get_or_insert(cx.now);
        }
        self.pulse(Kind::Keepalive, cx);
    }

    fn pulse(&mut self, kind: Kind, cx: &mut Context<'_>) {
        let Some(session) = &self.session else { return };
        let (echo, delay) = match session.heard {
            Some((timestamp, at)) => (timestamp, cx.now.saturating_duration_since(at).as_nanos() as u64),
            None => (0, 0),
        };
        let incarnations = Incarnations { sender: cx.incarnation, receiver: session.incarnation };
        let path = session.path;
        cx.send(self, path, kind, &Pulse { incarnations, echo, delay }.encode());
    }

    fn refuse(&mut self, path: Path, reason: CloseReason, echo: u64, cx: &mut Context<'_>) {
        let close = cx.close(reason, echo, &self.peer);
        cx.send(self, path, Kind::Close, &close.encode());
    }

    fn drop_candidate(&mut self, cx: &mut Context<'_>) {
        if let Some(candidate) = self.candidate.take()
            && self.path() != Some(candidate.path)
        {
            cx.hang_up(candidate.path);
        }
    }
}
