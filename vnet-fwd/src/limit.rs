//! Limits on how often something is done.

use std::time::{Duration, Instant};

/// A token bucket: lets a burst through, then one at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    burst: u32,
    pause: Duration,
    tokens: u32,
    /// Up to when tokens have been given.
    since: Option<Instant>,
}

impl RateLimit {
    /// Allows `burst` at once, and one more for each `pause` that has gone by.
    pub(crate) fn new(burst: u32, pause: Duration) -> Self {
        Self { burst, pause, tokens: burst, since: None }
    }

    /// May it be done now?
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let gained = now.saturating_duration_since(since).as_nanos() / self.pause.as_nanos().max(1);
        if gained >= u128::from(self.burst - self.tokens) {
            self.tokens = self.burst;
            self.since = Some(now);
        } else {
            self.tokens += gained as u32;
            self.since = Some(since + self.pause * gained as u32);
        }
        let allowed = self.tokens > 0;
        self.tokens -= u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_one_for_each_pause(
            burst in 1_u32..10, waits in proptest::collection::vec(0_u64..300, 1..200),
        ) {
            #[allow(clippy::disallowed_methods)] // any instant will do
            let start = Instant::now();
            let mut limit = RateLimit::new(burst, Duration::from_millis(100));
            let (mut at, mut allowed) = (0, 0);
            for wait in waits {
                at += wait;
                allowed += u64::from(limit.allow(start + Duration::from_millis(at)));
                prop_assert!(allowed <= u64::from(burst) + at / 100);
            }
            prop_assert!(allowed > 0);
            prop_assert!(limit.allow(start + Duration::from_millis(at + 100)), "a pause earns one");
        }
    }
}
