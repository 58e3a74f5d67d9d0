//! Counts of what local VMs send and receive, by address pair.

use std::collections::HashMap;

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
    pairs: HashMap<(NetworkId, MacAddr, MacAddr), PairCounts>,
    capacity: usize,
    untracked: Untracked,
}

impl TrafficTable {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { pairs: HashMap::new(), capacity, untracked: Untracked::default() }
    }

    /// Adds to the counts of one pair.
    pub(crate) fn add(
        &mut self,
        network: NetworkId,
        source: MacAddr,
        destination: MacAddr,
        counts: PairCounts,
    ) {
        if counts == PairCounts::default() {
            return; // in transit between two links
        }
        let key = (network, source, destination);
        if self.pairs.len() >= self.capacity && !self.pairs.contains_key(&key) {
            self.untracked.frames += counts.sent_frames + counts.received_frames;
            self.untracked.bytes += counts.sent_bytes + counts.received_bytes;
            return;
        }
        let total = self.pairs.entry(key).or_default();
        total.sent_frames += counts.sent_frames;
        total.sent_bytes += counts.sent_bytes;
        total.received_frames += counts.received_frames;
        total.received_bytes += counts.received_bytes;
    }

    pub(crate) fn untracked(&self) -> Untracked {
        self.untracked
    }

    pub(crate) fn report(&self) -> Vec<TrafficEntry> {
        self.pairs
            .iter()
            .map(|(&(network, source, destination), counts)| TrafficEntry {
                network,
                source,
                destination,
                sent_frames: counts.sent_frames,
                sent_bytes: counts.sent_bytes,
                received_frames: counts.received_frames,
                received_bytes: counts.received_bytes,
            })
            .collect()
    }
}
