//! The log lines about links and interfaces that come up or go down.

use std::time::{Duration, Instant};

use super::config::Event;
use crate::limit::RateLimit;

/// News that come within this time share a line.
const WINDOW: Duration = Duration::from_millis(500);

/// How many names a line has at most.
const MAX_NAMES: usize = 8;

/// Gathers transitions, so that many at once are one line and a port that goes
/// up and down all the time doesn't fill the log.
pub(crate) struct Reporter {
    limit: RateLimit,
    /// What has not been logged: each port's last news, and how many there were.
    pending: Vec<(String, Option<String>, u32)>,
    due: Option<Instant>,
}

impl Reporter {
    pub(crate) fn new() -> Self {
        Self { limit: RateLimit::new(6, Duration::from_secs(10)), pending: Vec::new(), due: None }
    }

    pub(crate) fn add(&mut self, event: &Event, now: Instant) {
        let (name, why) = match event {
            Event::LinkUp { link } => (format!("link {link}"), None),
            Event::LinkDown { link, why } => (format!("link {link}"), Some(why.clone())),
            Event::InterfaceUp { interface } => (format!("interface {interface}"), None),
            Event::InterfaceDown { interface, why } => (format!("interface {interface}"), Some(why.clone())),
        };
        match self.pending.iter_mut().find(|(other, ..)| *other == name) {
            Some((_, last, count)) => (*last, *count) = (why, *count + 1),
            None => self.pending.push((name, why, 1)),
        }
        self.due.get_or_insert(now + WINDOW);
    }

    /// When [`Reporter::flush`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Logs what is due.
    pub(crate) fn flush(&mut self, now: Instant) {
        let Some((up, down)) = self.lines(now) else { return };
        if !up.is_empty() {
            tracing::info!("up: {up}");
        }
        if !down.is_empty() {
            tracing::warn!("down: {down}");
        }
    }

    /// What came up and what went down, if that is due to be said.
    fn lines(&mut self, now: Instant) -> Option<(String, String)> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        if !self.limit.allow(now) {
            self.due = Some(now + WINDOW);
            return None;
        }
        self.due = None;
        let pending = std::mem::take(&mut self.pending);
        let (down, up): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(_, why, _)| why.is_some());
        let changes = |count: u32| if count > 1 { format!(" [{count} changes]") } else { String::new() };
        let up = up.iter().map(|(name, _, count)| format!("{name}{}", changes(*count)));
        let down = down.iter().map(|(name, why, count)| {
            format!("{name} ({}){}", why.as_deref().unwrap_or_default(), changes(*count))
        });
        Some((listed(up), listed(down)))
    }
}

fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let mut text = names.take(MAX_NAMES).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use vnet_core::{HostName, LinkId};

    use super::*;

    fn link(n: usize) -> LinkId {
        LinkId::new(&HostName::new("proxy").unwrap(), &HostName::new(&format!("host{n}")).unwrap())
    }

    fn down(n: usize) -> Event {
        Event::LinkDown { link: link(n), why: "no sign of life".to_owned() }
    }

    fn up(n: usize) -> Event {
        Event::LinkUp { link: link(n) }
    }

    /// Runs the clock for `seconds`, with `event` at every millisecond, and
    /// gives the lines.
    fn run(seconds: u64, mut event: impl FnMut(u64) -> Option<Event>) -> Vec<(String, String)> {
        let (start, mut reporter) = (Instant::now(), Reporter::new());
        let at = |ms| start + Duration::from_millis(ms);
        let tick = |ms| {
            if let Some(event) = event(ms) {
                reporter.add(&event, at(ms));
            }
            let line = reporter.deadline().is_some_and(|due| due <= at(ms)).then(|| reporter.lines(at(ms)));
            line.flatten()
        };
        (0..seconds * 1000).filter_map(tick).collect()
    }

    #[test]
    fn an_outage_of_all_links_is_a_line_when_it_starts_and_one_when_it_ends() {
        let lines = run(30, |ms| match ms {
            1000..1003 => Some(down(ms as usize - 1000)),
            11_000..11_003 => Some(up(ms as usize - 11_000)),
            _ => None,
        });
        let [(none_up, fell), (rose, none_down)] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((none_up.as_str(), none_down.as_str()), ("", ""));
        assert_eq!(rose, "link host0-proxy, link host1-proxy, link host2-proxy");
        assert!(fell.starts_with("link host0-proxy (no sign of life), link host1-proxy ("), "{fell}");
    }

    #[test]
    fn many_links_share_a_line() {
        let lines = run(2, |ms| (ms < 127).then(|| up(ms as usize)));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].0.ends_with("link host7-proxy and 119 more"), "{lines:?}");
    }

    #[test]
    fn a_link_that_flaps_for_a_minute_fills_no_log() {
        let lines = run(60, |ms| match ms % 100 {
            0 => Some(down(0)),
            50 => Some(up(0)),
            _ => None,
        });
        assert!((3..=12).contains(&lines.len()), "{lines:?}");
        assert!(
            lines.iter().all(|(up, down)| up.contains("changes]") != down.contains("changes]")),
            "{lines:?}"
        );
    }
}
