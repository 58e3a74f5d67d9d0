//! What systemd wants to know (sd_notify(3)); nothing without systemd.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells systemd that the daemon lives, twice as often as it wants to hear it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    interval: Duration,
    next: Instant,
}

impl Watchdog {
    /// `None` where nobody wants to hear it.
    pub(crate) fn from_environment(now: Instant) -> Option<Self> {
        let interval = sd_notify::watchdog_enabled()? / 2;
        Some(Self { interval, next: now })
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        if self.next <= now {
            tell(&[NotifyState::Watchdog]);
            self.next = now + self.interval;
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd can't be told: {error}");
    }
}
