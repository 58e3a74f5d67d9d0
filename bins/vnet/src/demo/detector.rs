//! What VTTIF has reported, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use vnet_core::MacAddr;
use vnet_core::control::TrafficView;

/// For how long a topology must stand before it is decided on.
const SETTLE: Duration = Duration::from_millis(500);

/// Notes when which topology was reported.
#[derive(Default)]
pub(crate) struct Detector {
    changes: u64,
    /// All that it reported before the last.
    earlier: Vec<Sighting>,
    pub(crate) last: Option<Sighting>,
}

/// A topology that VTTIF has reported.
pub(crate) struct Sighting {
    /// When it was first reported.
    pub(crate) first: Duration,
    /// When it was last reported.
    at: Duration,
    pub(crate) view: TrafficView,
    pub(crate) is_decided: bool,
}

impl Sighting {
    pub(crate) fn name(&self) -> &str {
        self.view.names.first().map_or("", String::as_str)
    }

    /// The same pairs, under the same name?
    fn is_same(&self, view: &TrafficView) -> bool {
        self.view.names.first() == view.names.first() && connected(&self.view) == connected(view)
    }

    /// Should it be decided on now?
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        !self.is_decided && is_a_name(self.name()) && now.saturating_sub(self.at) >= SETTLE
    }
}

impl Detector {
    /// Takes a view in; returns what VTTIF has reported if that is another topology than before.
    pub(crate) fn see(&mut self, now: Duration, view: &TrafficView) -> Option<&Sighting> {
        let is_new = view.changes > self.changes;
        self.changes = view.changes;
        if !is_new || self.last.as_ref().is_some_and(|last| last.is_same(view)) {
            return None;
        }
        let at = now.saturating_sub(Duration::from_millis(view.changed_ms_ago.unwrap_or(0)));
        self.earlier.extend(self.last.take());
        let first = self.earlier.iter().find(|earlier| earlier.is_same(view)).map_or(at, |same| same.first);
        let sighting = Sighting { first, at, view: view.clone(), is_decided: false };
        Some(self.last.insert(sighting))
    }
}

/// How many VMs and pairs of them are part of the topology.
pub(crate) fn extent(view: &TrafficView) -> (usize, usize) {
    let pairs = connected(view);
    let vms: BTreeSet<_> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    (vms.len(), pairs.len())
}

/// Is this the name of a topology, and not that there is none?
pub(crate) fn is_a_name(name: &str) -> bool {
    !matches!(name, "" | "none" | "irregular")
}

/// The pairs of VMs that are part of the topology.
fn connected(view: &TrafficView) -> BTreeSet<(MacAddr, MacAddr)> {
    let address = |vertex: u32| view.vertices.get(vertex as usize).copied().unwrap_or_default();
    let ordered = |a: MacAddr, b: MacAddr| (a.min(b), a.max(b));
    view.edges.iter().map(|(a, b)| ordered(address(*a), address(*b))).collect()
}
