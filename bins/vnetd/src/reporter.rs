//! Which entries of the local traffic matrix the Proxy hasn't seen yet.

use std::collections::HashMap;

use vnet_core::control::{TrafficEntry, TrafficReport};
use vnet_core::network::NetworkId;
use vnet_core::{HostName, MacAddr};

/// Makes the reports of one run of a daemon.
#[derive(Debug)]
pub(crate) struct Reporter {
    host: HostName,
    incarnation: u64,
    sequence: u64,
    /// Frames of each pair when they were last reported, taken plus given.
    reported: HashMap<(NetworkId, MacAddr, MacAddr), u64>,
}

impl Reporter {
    pub(crate) fn new(host: HostName, incarnation: u64) -> Self {
        Self { host, incarnation, sequence: 0, reported: HashMap::new() }
    }

    /// Makes the next report hold every entry, as for a Proxy that has seen none.
    pub(crate) fn start_over(&mut self) {
        self.reported.clear();
    }

    /// The report of what has changed, perhaps nothing. Entries are cumulative.
    pub(crate) fn next(&mut self, entries: Vec<TrafficEntry>) -> TrafficReport {
        let entries = entries
            .into_iter()
            .filter(|entry| {
                let frames = entry.sent_frames.wrapping_add(entry.received_frames);
                let key = (entry.network, entry.source, entry.destination);
                self.reported.insert(key, frames) != Some(frames)
            })
            .collect();
        let report = self.whole(entries);
        self.sequence += 1;
        report
    }

    /// A report of all entries, outside the series.
    pub(crate) fn whole(&self, entries: Vec<TrafficEntry>) -> TrafficReport {
        TrafficReport {
            host: self.host.clone(),
            incarnation: self.incarnation,
            sequence: self.sequence,
            entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(from: u32, to: u32, frames: u64) -> TrafficEntry {
        TrafficEntry {
            network: NetworkId(1),
            source: MacAddr::local(from),
            destination: MacAddr::local(to),
            sent_frames: frames,
            sent_bytes: frames * 100,
            received_frames: 0,
            received_bytes: 0,
        }
    }

    proptest! {
        /// Whoever keeps the latest entry of each pair has the matrix.
        #[test]
        fn reports_add_up_to_the_matrix(steps in proptest::collection::vec((0_u32..3, 0_u32..3, 0_u64..3), 0..40)) {
            let mut reporter = Reporter::new("a".parse().unwrap(), 7);
            let mut matrix = HashMap::new();
            let mut seen = HashMap::new();
            for (sequence, (from, to, frames)) in steps.into_iter().enumerate() {
                *matrix.entry((from, to)).or_insert(0) += frames;
                let entries = matrix.iter().map(|(&(from, to), &frames)| entry(from, to, frames)).collect();
                let report = reporter.next(entries);
                prop_assert_eq!(report.sequence, sequence as u64);
                for entry in report.entries {
                    let old = seen.insert((entry.source, entry.destination), entry.sent_frames);
                    prop_assert_ne!(old, Some(entry.sent_frames), "an entry that did not change");
                }
                for (&(from, to), &frames) in &matrix {
                    prop_assert_eq!(seen.get(&(MacAddr::local(from), MacAddr::local(to))), Some(&frames));
                }
            }
        }
    }

    #[test]
    fn a_new_proxy_gets_everything() {
        let mut reporter = Reporter::new("a".parse().unwrap(), 7);
        assert_eq!(reporter.next(vec![entry(1, 2, 3)]).entries.len(), 1);
        assert_eq!(reporter.next(vec![entry(1, 2, 3)]).entries, []);
        reporter.start_over();
        let report = reporter.next(vec![entry(1, 2, 3)]);
        assert_eq!((report.sequence, report.entries.len()), (2, 1));
    }
}
