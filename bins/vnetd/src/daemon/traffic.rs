//! Who talks to whom: daemons report it, and VTTIF on the Proxy makes a
//! topology of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vnet_core::control::{
    Body, ControlError, Envelope, ErrorKind, Notice, TrafficEntry, TrafficReport, TrafficView,
};
use vnet_core::network::NetworkId;
use vttif::{Aggregator, Parameters};

use super::Daemon;
use crate::config::{Config, Role};
use crate::control::record::Record;
use crate::reporter::Reporter;

// Frames of any network may come in; a Proxy watches no more than this many.
const MAX_NETWORKS: usize = 1024;

/// How much later the matrix is looked at again for each of its pairs: a look at six
/// hundred of them still comes 20 times a second, one at ten thousand does before a
/// daemon passes for a silent one.
const READING: Duration = Duration::from_micros(80);

/// The local matrix on its way to the Proxy, and on the Proxy what came of all.
#[derive(Debug)]
pub(super) struct Traffic {
    reporter: Reporter,
    parameters: Parameters,
    next: Instant,
    /// When an entry last changed.
    active: Option<Instant>,
    aggregators: BTreeMap<NetworkId, Aggregator>,
}

impl Traffic {
    pub(super) fn new(config: &Config, incarnation: u64, bound_ms: u64, now: Instant) -> Self {
        Self {
            reporter: Reporter::new(config.name.clone(), incarnation),
            parameters: config.vttif_parameters(Duration::from_millis(bound_ms)),
            next: now,
            active: None,
            aggregators: BTreeMap::new(),
        }
    }

    /// Goes by a new configuration or configuration bound from now on.
    pub(super) fn configure(&mut self, config: &Config, bound_ms: u64) {
        self.parameters = config.vttif_parameters(Duration::from_millis(bound_ms));
        for aggregator in self.aggregators.values_mut() {
            // The configuration has been checked, and every bound fits.
            if let Err(error) = aggregator.set_parameters(self.parameters.clone()) {
                tracing::error!("VTTIF stays as it was: {error}");
            }
        }
    }

    /// The Proxy has seen nothing: tell it everything at once.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.reporter.start_over();
        self.active = Some(now);
        self.next = now;
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next
    }

    /// The whole local matrix.
    pub(super) fn whole(&self, entries: Vec<TrafficEntry>) -> TrafficReport {
        self.reporter.whole(entries)
    }

    /// The next report, unless nothing has changed for so long that VTTIF has
    /// seen the silence. Until then it has to hear of it, since it could not
    /// tell silence from delay.
    fn report(&mut self, entries: Vec<TrafficEntry>, now: Instant) -> Option<TrafficReport> {
        let report = self.reporter.next(entries);
        if !report.entries.is_empty() {
            self.active = Some(now);
        }
        let patience = self.parameters.idle_after * 2;
        self.active.is_some_and(|at| now.saturating_duration_since(at) <= patience).then_some(report)
    }

    fn take_in(&mut self, report: &TrafficReport, now: Instant) {
        for entry in &report.entries {
            if !self.aggregators.contains_key(&entry.network)
                && self.aggregators.len() < MAX_NETWORKS
                && let Ok(aggregator) = Aggregator::new(entry.network, self.parameters.clone())
            {
                self.aggregators.insert(entry.network, aggregator);
            }
        }
        for aggregator in self.aggregators.values_mut() {
            aggregator.update(now, report);
        }
    }
}

impl Daemon {
    pub(super) fn poll_traffic(&mut self, now: Instant) {
        if self.traffic.next > now {
            return;
        }
        self.traffic.next = now + self.traffic.parameters.update_interval;
        let session = self.uplink.as_ref().and_then(|uplink| uplink.session());
        if !self.config.inference {
            return;
        }
        if self.config.role != Role::Proxy && session.is_none() {
            return;
        }
        let entries = match self.plane.traffic() {
            Ok(entries) => entries,
            Err(error) => return self.warn("traffic", format!("the traffic can't be read: {error}")),
        };
        // A large matrix is read less often, so that reading costs the same.
        self.traffic.next = self.traffic.next.max(now + READING * entries.len() as u32);
        if let Some(report) = self.traffic.report(entries, now) {
            match session {
                None => self.traffic.take_in(&report, now),
                Some(session) => {
                    let body = Body::Notice(Notice::Traffic(report));
                    match Record::new(&Envelope { id: 0, body }) {
                        Ok(record) => self.send(session, &record),
                        Err(error) => self.warn("traffic", format!("the traffic can't be reported: {error}")),
                    }
                }
            }
        }
        for (network, aggregator) in &mut self.traffic.aggregators {
            if let Some(change) = aggregator.poll(now) {
                let name = change.classification.name();
                tracing::debug!("the application on network {network} has the topology {name} now");
            }
        }
    }

    /// A report of a registered daemon.
    pub(super) fn traffic_report(&mut self, report: &TrafficReport, now: Instant) {
        self.traffic.take_in(report, now);
    }

    pub(super) fn traffic_view(&self, network: NetworkId, now: Instant) -> Result<TrafficView, ControlError> {
        if self.config.role != Role::Proxy {
            let message =
                format!("{} is not the Proxy, which alone sees all traffic; ask that", self.config.name);
            return Err(ControlError::new(ErrorKind::Unsupported, message));
        }
        Ok(match self.traffic.aggregators.get(&network) {
            Some(aggregator) => aggregator.view(now),
            None => silent(network),
        })
    }
}

/// The view of a network without a single frame.
fn silent(network: NetworkId) -> TrafficView {
    TrafficView {
        network,
        vertices: Vec::new(),
        rates: Vec::new(),
        names: vec![vttif::TopologyName::None.to_string()],
        confidence: 1.0,
        edges: Vec::new(),
        changes: 0,
        changed_ms_ago: None,
    }
}
