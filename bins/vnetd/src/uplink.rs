//! A daemon's session with its Proxy, as a state machine: when to connect,
//! when to give up, and how long to wait before the next try.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vnet_core::control::PortState;

use crate::config::Timing;
use crate::control::router::ConnectionId;

/// The session with the Proxy.
#[derive(Debug)]
pub(crate) struct Uplink {
    timing: Timing,
    random: StdRng,
    phase: Phase,
    backoff: Duration,
    /// Since when it is registered, or not.
    since: Instant,
    /// Why it is not registered.
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { until: Instant },
    Connecting,
    Registering { connection: ConnectionId, until: Instant },
    Registered { connection: ConnectionId },
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Connect to the Proxy; tell the outcome with [`Uplink::connected`] or [`Uplink::failed`].
    Connect,
    /// Close this connection: the Proxy did not answer in time.
    GiveUp(ConnectionId),
}

impl Uplink {
    /// A session to be opened at once. `seed` decides the jitter of its retries.
    pub(crate) fn new(timing: Timing, seed: u64, now: Instant) -> Self {
        Self {
            timing,
            random: StdRng::seed_from_u64(seed),
            phase: Phase::Waiting { until: now },
            backoff: timing.backoff_min,
            since: now,
            why: "not tried yet".to_owned(),
        }
    }

    /// What is due at `now`, once.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Due> {
        match self.phase {
            Phase::Waiting { until } if until <= now => {
                self.phase = Phase::Connecting;
                Some(Due::Connect)
            }
            Phase::Registering { connection, until } if until <= now => Some(Due::GiveUp(connection)),
            _ => None,
        }
    }

    /// When to call [`Uplink::poll`] next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } | Phase::Registering { until, .. } => Some(until),
            Phase::Connecting | Phase::Registered { .. } => None,
        }
    }

    /// The connection stands; a request to register is on its way.
    pub(crate) fn connected(&mut self, connection: ConnectionId, now: Instant) {
        self.phase = Phase::Registering { connection, until: now + self.timing.dead_after };
    }

    /// The Proxy has taken the daemon in.
    pub(crate) fn registered(&mut self, now: Instant) {
        if let Phase::Registering { connection, .. } = self.phase {
            self.phase = Phase::Registered { connection };
            self.backoff = self.timing.backoff_min;
            self.since = now;
            self.why.clear();
        }
    }

    /// It did not come about, or is over.
    pub(crate) fn failed(&mut self, why: String, now: Instant) {
        if let Phase::Registered { .. } = self.phase {
            self.since = now;
        }
        // Between half and all of it, so that daemons don't come back in step.
        let wait = self.backoff.mul_f64(self.random.random_range(0.5..=1.0));
        self.backoff = (self.backoff * 2).min(self.timing.backoff_max);
        self.phase = Phase::Waiting { until: now + wait };
        self.why = why;
    }

    /// Is `connection` this session's?
    pub(crate) fn is_on(&self, connection: ConnectionId) -> bool {
        match self.phase {
            Phase::Registering { connection: ours, .. } | Phase::Registered { connection: ours } => {
                ours == connection
            }
            Phase::Waiting { .. } | Phase::Connecting => false,
        }
    }

    /// The connection of a session that stands.
    pub(crate) fn session(&self) -> Option<ConnectionId> {
        match self.phase {
            Phase::Registered { connection } => Some(connection),
            _ => None,
        }
    }

    pub(crate) fn state(&self, now: Instant) -> PortState {
        PortState {
            up: self.session().is_some(),
            why: self.why.clone(),
            for_ms: now.saturating_duration_since(self.since).as_millis().try_into().unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However often it fails, the next try comes within the longest
        /// backoff, and not at once.
        #[test]
        fn retries_are_spaced(seed: u64, failures in 1_usize..40) {
            let timing = Timing::default();
            let mut now = Instant::now();
            let mut uplink = Uplink::new(timing, seed, now);
            for round in 0..failures {
                prop_assert_eq!(uplink.poll(now), Some(Due::Connect));
                prop_assert_eq!(uplink.poll(now), None);
                uplink.failed("refused".into(), now);
                let wait = uplink.deadline().unwrap() - now;
                let full = timing.backoff_max.min(timing.backoff_min * 2_u32.pow(round.min(10) as u32));
                prop_assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
                now += wait;
            }
        }
    }

    #[test]
    fn a_session_that_stands_has_no_why() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let mut uplink = Uplink::new(Timing::default(), 1, now);
        uplink.poll(now);
        uplink.connected(ConnectionId(3), now);
        assert!(uplink.is_on(ConnectionId(3)) && uplink.session().is_none());
        uplink.registered(now);
        assert_eq!(uplink.session(), Some(ConnectionId(3)));
        assert_eq!(uplink.state(later), PortState { up: true, why: String::new(), for_ms: 5000 });
        uplink.failed("reset by peer".into(), later);
        assert_eq!(uplink.state(later), PortState { up: false, why: "reset by peer".into(), for_ms: 0 });
    }

    #[test]
    fn a_proxy_that_does_not_answer_is_given_up() {
        let now = Instant::now();
        let mut uplink = Uplink::new(Timing::default(), 1, now);
        uplink.poll(now);
        uplink.connected(ConnectionId(3), now);
        assert_eq!(uplink.poll(uplink.deadline().unwrap()), Some(Due::GiveUp(ConnectionId(3))));
    }
}
