//! How many of the peer's messages are lost on their way.

use std::time::{Duration, Instant};

/// The loss that status tells is that of the last full window.
const WINDOW: Duration = Duration::from_secs(5);

/// Fewer messages than these say nothing of a rate.
const ENOUGH: u64 = 20;

/// What has come of one session's messages, which are numbered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// The number that the first one had.
    first: Option<u64>,
    /// The greatest number so far.
    pub(super) newest: u64,
    received: u64,
    /// When the window began, the first number in it, and what was received before it.
    window: (Instant, Option<u64>, u64),
    /// Of the last full window, in millionths.
    recent: Option<u32>,
}

impl Loss {
    pub(super) fn new(newest: u64, now: Instant) -> Self {
        Self { first: None, newest, received: 0, window: (now, None, 0), recent: None }
    }

    /// A message with this number came.
    #[inline]
    pub(super) fn count(&mut self, number: u64) {
        match &mut self.first {
            // Even the first may come late.
            Some(first) => *first = number.min(*first),
            None => self.first = Some(number),
        }
        self.newest = self.newest.max(number);
        self.received += 1;
    }

    /// Ends the window if it is full.
    pub(super) fn on_time(&mut self, now: Instant) {
        let (since, from, received) = self.window;
        let Some(from) = from.or(self.first) else { return };
        let next = self.newest + 1;
        let sent = next.saturating_sub(from);
        if now.saturating_duration_since(since) >= WINDOW && sent >= ENOUGH {
            // Late ones of the last window may make it more than were sent.
            let lost = sent.saturating_sub(self.received - received);
            self.recent = Some((u128::from(lost) * 1_000_000 / u128::from(sent)) as u32);
            self.window = (now, Some(next), self.received);
        }
    }

    /// How many messages are missing since the session began.
    pub(super) fn lost(&self) -> u64 {
        self.first.map_or(0, |first| (self.newest - first + 1).saturating_sub(self.received))
    }

    /// The part that was lost of late, in millionths.
    pub(super) fn recent(&self) -> Option<u32> {
        self.recent
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test
mod tests {
    use super::*;

    #[test]
    fn gaps_are_losses_and_late_messages_are_none() {
        let start = Instant::now();
        let mut loss = Loss::new(0, start);
        assert_eq!((loss.lost(), loss.recent()), (0, None));
        for number in (100..1100).filter(|number| number % 10 != 7) {
            loss.count(number ^ 1); // each pair in the wrong order
        }
        assert_eq!(loss.lost(), 100);
        loss.on_time(start + WINDOW);
        assert_eq!(loss.recent(), Some(100_000));
        for number in 1100..1200 {
            loss.count(number);
        }
        loss.on_time(start + WINDOW);
        assert_eq!(loss.recent(), Some(100_000), "the next window is not over");
        loss.on_time(start + 2 * WINDOW);
        assert_eq!((loss.lost(), loss.recent()), (100, Some(0)));
    }

    #[test]
    fn a_few_messages_say_nothing() {
        let start = Instant::now();
        let mut loss = Loss::new(0, start);
        loss.count(5);
        loss.count(9);
        loss.on_time(start + WINDOW);
        assert_eq!((loss.lost(), loss.recent()), (3, None));
    }
}
