//! Keeps the log short when something goes wrong again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

// Each topic may say this much at once, and then one line per interval.
const BURST: u32 = 4;
const INTERVAL: Duration = Duration::from_secs(10);

/// Decides which repeated warnings are logged.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    topics: BTreeMap<&'static str, Topic>,
}

#[derive(Debug)]
struct Topic {
    left: u32,
    suppressed: u64,
    /// When one more line may be said.
    refill: Instant,
}

impl Quiet {
    /// May a line on `topic` be logged now?
    pub(crate) fn admits(&mut self, topic: &'static str, now: Instant) -> bool {
        let topic =
            self.topics.entry(topic).or_insert(Topic { left: BURST, suppressed: 0, refill: now + INTERVAL });
        if topic.left > 0 {
            topic.left -= 1;
            true
        } else {
            topic.suppressed += 1;
            false
        }
    }

    /// What to say of the lines that were left out.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, topic) in &mut self.topics {
            if topic.refill > now {
                continue;
            }
            topic.refill = now + INTERVAL;
            if topic.suppressed > 0 {
                lines
                    .push(format!("{} more lines like the last on `{name}` were left out", topic.suppressed));
                topic.suppressed = 0;
            } else {
                topic.left += 1;
            }
        }
        // A topic that has recovered needs no memory.
        self.topics.retain(|_, topic| topic.left < BURST);
        lines
    }

    /// When to call [`Quiet::poll`] next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.topics.values().map(|topic| topic.refill).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_lines_in_ten_seconds_become_five() {
        let mut now = Instant::now();
        let mut quiet = Quiet::default();
        let mut lines = 0;
        for _ in 0..1000 {
            lines += u32::from(quiet.admits("link", now));
            now += Duration::from_millis(10);
        }
        lines += quiet.poll(now).len() as u32;
        assert_eq!(lines, BURST + 1);
        assert!(quiet.admits("interface", now), "topics do not share");
    }

    #[test]
    fn silence_restores_the_burst() {
        let mut now = Instant::now();
        let mut quiet = Quiet::default();
        while quiet.admits("link", now) {}
        while let Some(deadline) = quiet.deadline() {
            now = deadline;
            quiet.poll(now);
        }
        assert!(quiet.topics.is_empty());
    }
}
