//! When to think about adapting: a state machine over what VTTIF reports.

use std::time::{Duration, Instant};

use vnet_core::control::TrafficView;

/// When the loop decides anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// A topology that is named with less confidence than this is not acted on.
    pub confidence: f64,
    /// After an adaptation was carried out (or rejected), the next decision waits this long, so
    /// that the loop sees its own effect before it acts again.
    pub settle: Duration,
    /// While the topology stays the same, the plan is looked at again this
    /// often, since rates and paths drift.
    pub review: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { confidence: 0.5, settle: Duration::from_secs(2), review: Duration::from_secs(30) }
    }
}

/// Why a decision is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// VTTIF reported a topology that no decision has been made for.
    NewTopology,
    /// The last decision is [`Policy::review`] old.
    Review,
}

/// Watches what VTTIF reports and says when a decision is due.
#[derive(Clone, Debug)]
pub struct Watch {
    policy: Policy,
    decided_for: Option<u64>,
    decided_at: Option<Instant>,
}

impl Watch {
    /// A watch that has seen nothing.
    pub fn new(policy: Policy) -> Self {
        Self { policy, decided_for: None, decided_at: None }
    }

    /// Is a decision due, given what VTTIF sees at `now`?
    pub fn due(&self, now: Instant, view: &TrafficView) -> Option<Due> {
        let is_named =
            view.changes > 0 && !view.edges.is_empty() && view.confidence >= self.policy.confidence;
        if !is_named {
            return None;
        }
        let since = |t: Instant| now.saturating_duration_since(t);
        match (self.decided_for, self.decided_at) {
            (_, Some(at)) if since(at) < self.policy.settle => None,
            (Some(changes), _) if changes != view.changes => Some(Due::NewTopology),
            (_, Some(at)) if since(at) < self.policy.review => None,
            (Some(_), _) => Some(Due::Review),
            (None, _) => Some(Due::NewTopology),
        }
    }

    /// A decision was made for `view`, and carried out or rejected, by `now`.
    pub fn decided(&mut self, now: Instant, view: &TrafficView) {
        self.decided_for = Some(view.changes);
        self.decided_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use vnet_core::{MacAddr, NetworkId};

    use super::*;

    fn view(changes: u64, confidence: f64) -> TrafficView {
        TrafficView {
            network: NetworkId(1),
            vertices: vec![MacAddr::local(1), MacAddr::local(2)],
            rates: vec![(0, 1, 1e6)],
            names: vec!["pairs".into()],
            confidence,
            edges: vec![(0, 1)],
            changes,
            changed_ms_ago: Some(0),
        }
    }

    #[test]
    fn a_new_topology_is_decided_on_once_and_then_reviewed() {
        let policy = Policy::default();
        let start = Instant::now();
        let mut watch = Watch::new(policy);
        assert_eq!(watch.due(start, &view(0, 1.0)), None, "nothing reported yet");
        assert_eq!(watch.due(start, &view(1, 0.2)), None, "too uncertain");
        assert_eq!(watch.due(start, &view(1, 0.9)), Some(Due::NewTopology));
        watch.decided(start, &view(1, 0.9));
        assert_eq!(watch.due(start + policy.settle, &view(1, 0.9)), None);
        assert_eq!(watch.due(start + policy.settle / 2, &view(2, 0.9)), None, "not settled yet");
        assert_eq!(watch.due(start + policy.settle, &view(2, 0.9)), Some(Due::NewTopology));
        assert_eq!(watch.due(start + policy.review, &view(1, 0.9)), Some(Due::Review));
    }
}
