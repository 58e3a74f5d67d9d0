//! The clocks of a link.

use std::time::Duration;

/// How a link probes its peer, gives it up, and tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTiming {
    /// Time between keepalives of a link that is up. More with more than 31 links: a
    /// daemon sends one per 16 ms.
    pub keepalive: Duration,
    /// A link is down when the peer has not proved for so long that it hears us,
    /// though it was asked. At least four times the keepalive time, so that it is
    /// asked several times.
    pub dead_after: Duration,
    /// Time from the first `Hello` to the second; it doubles from one to the next.
    pub backoff_first: Duration,
    /// Time between two `Hello`s at most.
    pub backoff_last: Duration,
}

impl LinkTiming {
    /// Times of nothing would have a link try without end: 1 ms at least.
    pub(super) fn at_least_a_millisecond(self) -> Self {
        let least = Duration::from_millis(1);
        Self {
            keepalive: self.keepalive.max(least * 4),
            dead_after: self.dead_after.max(least),
            backoff_first: self.backoff_first.max(least),
            backoff_last: self.backoff_last.max(least),
        }
    }
}

impl Default for LinkTiming {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_millis(500),
            dead_after: Duration::from_secs(2),
            backoff_first: Duration::from_millis(10),
            backoff_last: Duration::from_secs(1),
        }
    }
}
