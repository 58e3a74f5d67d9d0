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
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        if !self.limit.allow(now) {
            self.due = Some(now + WINDOW);
            return;
        }
        self.due = None;
        let pending = std::mem::take(&mut self.pending);
        let (down, up): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(_, why, _)| why.is_some());
        let changes = |count: u32| if count > 1 { format!(" [{count} changes]") } else { String::new() };
        if !up.is_empty() {
            let names = up.iter().map(|(name, _, count)| format!("{name}{}", changes(*count)));
            tracing::info!("up: {}", listed(names));
        }
        if !down.is_empty() {
            let why = |why: &Option<String>| why.clone().unwrap_or_default();
            let names = down.iter().map(|(name, w, count)| format!("{name} ({}){}", why(w), changes(*count)));
            tracing::warn!("down: {}", listed(names));
        }
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
