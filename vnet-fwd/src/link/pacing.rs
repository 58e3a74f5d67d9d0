//! How fast a daemon begins handshakes.
//!
//! With encryption the first greeting is the first message of a handshake, which costs
//! both ends key agreements (71 microseconds each, [`crate::secure`]). A full mesh of
//! 128 daemons is 8,256 of them. If all are begun at once, each is answered late, so is
//! taken for lost and begun again: the work grows, and its answers come later still.
//! This is the collapse of networks by congestion, and the cure is the same (Jacobson,
//! "Congestion Avoidance and Control", SIGCOMM 1988): a window on what is unanswered,
//! and a time-out that follows the time that answers take.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many handshakes of one daemon may be unanswered and not lost.
const WINDOW: usize = 8;

/// Before the first answer: the more links, the longer one takes.
const PER_LINK: Duration = Duration::from_micros(500);

/// When it is not known how long an answer takes, a handshake that finds the window
/// full asks again after this time.
const TURN: Duration = Duration::from_millis(2);

/// The handshakes of one daemon that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// How long answers take: follows a longer one at once, shorter ones slowly.
    answer: Option<Duration>,
    /// When each unanswered one counts as lost.
    unanswered: VecDeque<Instant>,
}

impl Pacing {
    /// Is there room for one more? If not: how long to wait before asking again.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        self.unanswered.retain(|lost| *lost > now);
        if self.unanswered.len() < WINDOW {
            return Ok(());
        }
        let turn = self.answer.map_or(TURN, |answer| answer / 2);
        Err(turn.clamp(TURN / 2, TURN * 10))
    }

    /// A handshake has been begun.
    pub(super) fn begun(&mut self, lost: Instant) {
        self.unanswered.push_back(lost);
    }

    /// One was answered after `took`.
    pub(super) fn answered(&mut self, took: Duration) {
        self.unanswered.pop_front();
        // RFC 6298, section 2: an eighth of the new sample.
        let smooth = |old: Duration| ((old * 7 + took) / 8).max(took);
        self.answer = Some(self.answer.map_or(took, smooth));
    }

    /// After this time one counts as lost, where it would after `configured` if
    /// answers came at once.
    pub(super) fn time_out(&self, configured: Duration, links: usize) -> Duration {
        match self.answer {
            Some(answer) => configured.max(answer * 3),
            None => configured + PER_LINK * links as u32,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // any instant will do
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_window_fills_and_empties_with_answers_and_losses() {
        let now = Instant::now();
        let mut pacing = Pacing::default();
        for _ in 0..WINDOW {
            assert_eq!(pacing.admit(now), Ok(()));
            pacing.begun(now + 20 * MS);
        }
        let turn = pacing.admit(now).unwrap_err();
        assert!(turn > Duration::ZERO && turn <= 20 * MS, "{turn:?}");
        pacing.answered(5 * MS);
        assert_eq!(pacing.admit(now), Ok(()), "an answer makes room");
        pacing.begun(now + 20 * MS);
        assert!(pacing.admit(now + 19 * MS).is_err());
        assert_eq!(pacing.admit(now + 20 * MS), Ok(()), "what is lost holds nobody up");
    }

    #[test]
    fn the_time_out_follows_slow_answers_at_once() {
        let mut pacing = Pacing::default();
        assert!(pacing.time_out(10 * MS, 127) > 50 * MS, "many links: answers will take long");
        assert!(pacing.time_out(10 * MS, 7) < 15 * MS);
        pacing.answered(MS);
        assert_eq!(pacing.time_out(10 * MS, 127), 10 * MS);
        pacing.answered(100 * MS);
        assert_eq!(pacing.time_out(10 * MS, 127), 300 * MS);
        pacing.answered(MS);
        assert!(pacing.time_out(10 * MS, 127) > 200 * MS, "one quick answer is not the end of a crowd");
    }
}
