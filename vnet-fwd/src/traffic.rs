//! Counts of what local VMs send and receive, by address pair.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use vnet_core::control::TrafficEntry;
use vnet_core::{MacAddr, NetworkId};

/// Traffic that was counted without its address pair, because the table was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untracked {
    /// Frames sent or received.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Frames and bytes of one address pair, in both of their roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PairCounts {
    pub(crate) sent_frames: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_frames: u64,
    pub(crate) received_bytes: u64,
}

/// A bounded table of address pairs. Pairs that come when it is full are not
/// tracked, so that those it has keep exact counts.
pub(crate) struct TrafficTable {
    rows: Vec<TrafficEntry>,
    places: HashMap<(NetworkId, MacAddr, MacAddr), u32>,
    capacity: usize,
    untracked: Untracked,
}

impl TrafficTable {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { rows: Vec::new(), places: HashMap::new(), capacity, untracked: Untracked::default() }
    }

    /// Where a pair is counted from now on; `None` if the table is full.
    pub(crate) fn row(&mut self, network: NetworkId, source: MacAddr, destination: MacAddr) -> Option<u32> {
        let next = self.rows.len();
        match self.places.entry((network, source, destination)) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(_) if next >= self.capacity => None,
            Entry::Vacant(place) => {
                let row = u32::try_from(next).ok()?;
                place.insert(row);
                self.rows.push(TrafficEntry {
                    network,
                    source,
                    destination,
                    sent_frames: 0,
                    sent_bytes: 0,
                    received_frames: 0,
                    received_bytes: 0,
                });
                Some(row)
            }
        }
    }

    /// Adds to the counts of the pair that has this row, or to those of all that have none.
    pub(crate) fn add(&mut self, row: Option<u32>, counts: &PairCounts) {
        let Some(total) = row.and_then(|row| self.rows.get_mut(row as usize)) else {
            self.untracked.frames += counts.sent_frames + counts.received_frames;
            self.untracked.bytes += counts.sent_bytes + counts.received_bytes;
            return;
        };
        total.sent_frames += counts.sent_frames;
        total.sent_bytes += counts.sent_bytes;
        total.received_frames += counts.received_frames;
        total.received_bytes += counts.received_bytes;
    }

    pub(crate) fn untracked(&self) -> Untracked {
        self.untracked
    }

    pub(crate) fn report(&self) -> Vec<TrafficEntry> {
        self.rows.clone()
    }
}
