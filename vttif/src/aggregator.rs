//! From the reports of all daemons to the topology of one network.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use vnet_core::control::{TrafficReport, TrafficView};
use vnet_core::{MacAddr, NetworkId};

use crate::classify::{Classification, ClassifyOptions, classify};
use crate::detector::{Detector, Edge, ordered};
use crate::ledger::{Ledger, Receipt};
use crate::matrix::{MAX_VERTICES, TrafficMatrix};
use crate::name::TopologyName;
use crate::parameters::{ParameterError, Parameters};

/// Infers the topology of one network from the reports of its daemons.
///
/// It lives on the Proxy. [`update`](Self::update) takes in each report,
/// [`poll`](Self::poll) is called at the update rate and says when the topology
/// has changed, [`view`](Self::view) shows all that is known. Daemons must also
/// report when nothing has changed; otherwise it can't tell silence from delay.
///
/// ```
/// use std::time::{Duration, Instant};
/// use vnet_core::control::{TrafficEntry, TrafficReport};
/// use vnet_core::{HostName, MacAddr, NetworkId};
/// use vttif::{Aggregator, Parameters};
///
/// let network = NetworkId(1);
/// let mut aggregator = Aggregator::new(network, Parameters::default())?;
/// let mut now = Instant::now();
/// let mut change = None;
/// for sequence in 0..20 {
///     // Three VMs on one host, in a ring; counters are cumulative.
///     let entries = [(1, 2), (2, 3), (3, 1)].map(|(from, to)| TrafficEntry {
///         network,
///         source: MacAddr::local(from),
///         destination: MacAddr::local(to),
///         sent_frames: sequence,
///         sent_bytes: 1500 * sequence,
///         received_frames: sequence,
///         received_bytes: 1500 * sequence,
///     });
///     let host = HostName::new("host1")?;
///     let report = TrafficReport { host, incarnation: 7, sequence, entries: entries.to_vec() };
///     aggregator.update(now, &report);
///     change = change.or(aggregator.poll(now));
///     now += Duration::from_millis(50);
/// }
/// assert_eq!(change.unwrap().classification.name().to_string(), "ring");
/// assert_eq!(aggregator.view(now).names[0], "ring");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Aggregator {
    parameters: Parameters,
    ledger: Ledger,
    detector: Detector,
    /// When the current interval began.
    interval_began: Option<Instant>,
    forgot: Option<Instant>,
    reported: Reported,
    candidate: Option<Candidate>,
    /// When a pair last entered the topology, on the detector's clock, and in which
    /// round of reports.
    known_added: Duration,
    added_in_round: u64,
}

/// So many times all daemons have to report without anything new before a topology
/// is stable. (On hosts with time to spare they do so anyway.)
const STABLE_ROUNDS: u64 = 2;

/// One new pair for so many is what was not heard of in time (such as those of a VM
/// that a busy host has held up).
const FEW: usize = 8;

/// The topology that was last reported.
#[derive(Debug)]
struct Reported {
    edges: BTreeSet<Edge>,
    classification: Classification,
    classified: Option<Instant>,
    changes: u64,
    changed: Option<Instant>,
}

/// A topology that may be reported once it is stable.
#[derive(Debug)]
struct Candidate {
    /// When the topology began to differ from what was reported.
    since: Instant,
    /// Does it only lack pairs?
    is_thinner: bool,
    version: u64,
    classification: Option<Classification>,
}

/// The application's topology has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// How many changes have been reported, this one included.
    pub number: u64,
    /// When the change was noticed; it is reported once it is stable.
    pub since: Instant,
    /// The VMs: vertex i of `classification` is `vertices[i]`.
    pub vertices: Vec<MacAddr>,
    /// The new topology.
    pub classification: Classification,
    /// Pairs that talk now and did not before.
    pub added: Vec<(MacAddr, MacAddr)>,
    /// Pairs that talked before and don't now.
    pub removed: Vec<(MacAddr, MacAddr)>,
}

impl Aggregator {
    /// An aggregator for one network.
    pub fn new(network: NetworkId, parameters: Parameters) -> Result<Self, ParameterError> {
        parameters.validate()?;
        Ok(Self {
            parameters,
            ledger: Ledger::new(network),
            detector: Detector::new(),
            interval_began: None,
            forgot: None,
            reported: Reported {
                edges: BTreeSet::new(),
                classification: classify(&TrafficMatrix::default(), &ClassifyOptions::default()),
                classified: None,
                changes: 0,
                changed: None,
            },
            candidate: None,
            known_added: Duration::ZERO,
            added_in_round: 0,
        })
    }

    /// The parameters in force.
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Other parameters from now on, such as when the configuration-time bound
    /// has changed; what is known of the traffic stays.
    pub fn set_parameters(&mut self, parameters: Parameters) -> Result<(), ParameterError> {
        parameters.validate()?;
        self.parameters = parameters;
        Ok(())
    }

    /// Takes in a daemon's report. Entries of other networks and of group
    /// addresses are passed over.
    ///
    /// The first report of a daemon's run to arrive should hold all its
    /// entries (as does report 0): what it lacks is taken to begin at zero
    /// later. Its own entries are the past, and not traffic of this moment.
    pub fn update(&mut self, now: Instant, report: &TrafficReport) -> Receipt {
        self.ledger.merge(now, report, &self.parameters)
    }

    /// Looks at what has come in since the last call. To be called once per
    /// update interval; sooner calls do nothing.
    pub fn poll(&mut self, now: Instant) -> Option<Change> {
        let began = *self.interval_began.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        // Timers that fire a little early must not make every other call idle.
        if elapsed < self.parameters.update_interval.mul_f64(0.8) {
            return None;
        }
        self.interval_began = Some(now);
        self.forget(now);
        let Self { ledger, detector, parameters, known_added, added_in_round, .. } = self;
        // Without any report, nothing is known, which is not silence.
        if ledger.is_deaf(now, parameters) {
            return None;
        }
        let bytes: Vec<_> = ledger.drain().collect();
        let awaited = |vertex| ledger.awaits(now, vertex, parameters);
        detector.advance(elapsed, bytes.into_iter(), awaited, parameters);
        let added = detector.last_added();
        ledger.end_interval(now, parameters);
        if *known_added != added {
            (*known_added, *added_in_round) = (added, ledger.rounds());
        }
        self.consider(now)
    }

    /// What is known: smoothed rates, the topology last reported and its name.
    pub fn view(&self, now: Instant) -> TrafficView {
        let vertices = self.ledger.addresses();
        let index = index(&vertices);
        let mut rates: Vec<(u32, u32, f64)> = self
            .detector
            .rates()
            .filter_map(|((a, b), rates)| Some((*index.get(&a)?, *index.get(&b)?, rates)))
            .flat_map(|(a, b, [there, back])| [(a, b, there), (b, a, back)])
            .filter(|(_, _, rate)| *rate >= 1.0)
            .collect();
        rates.sort_by_key(|(a, b, _)| (*a, *b));
        let mut edges: Vec<(u32, u32)> = self
            .reported
            .edges
            .iter()
            .filter_map(|(a, b)| Some((*index.get(a)?, *index.get(b)?)))
            .map(|(a, b)| (a.min(b), a.max(b)))
            .collect();
        edges.sort_unstable();
        let ago = |at| now.saturating_duration_since(at).as_millis().try_into().unwrap_or(u64::MAX);
        TrafficView {
            network: self.ledger.network(),
            vertices: vertices.iter().map(|(mac, _)| *mac).collect(),
            rates,
            names: self.reported.classification.names().iter().map(TopologyName::to_string).collect(),
            confidence: self.reported.classification.layers.first().map_or(0.0, |layer| layer.confidence),
            edges,
            changes: self.reported.changes,
            changed_ms_ago: self.reported.changed.map(ago),
        }
    }

    /// The smoothed rates as a matrix, in bytes per second, and the address of
    /// each vertex.
    pub fn matrix(&self) -> (TrafficMatrix, Vec<MacAddr>) {
        let vertices = self.ledger.addresses();
        (matrix(&vertices, self.detector.rates()), vertices.into_iter().map(|(mac, _)| mac).collect())
    }

    /// All bytes that `source` has sent to `destination`, each counted once,
    /// since they were first heard of.
    pub fn bytes(&self, source: MacAddr, destination: MacAddr) -> u64 {
        self.ledger.bytes(source, destination)
    }

    /// Bytes of pairs that there was no room to watch.
    pub const fn other_bytes(&self) -> u64 {
        self.ledger.other()
    }

    fn forget(&mut self, now: Instant) {
        let last = *self.forgot.get_or_insert(now);
        if now.saturating_duration_since(last) >= Duration::from_secs(1) {
            self.forgot = Some(now);
            let Self { ledger, detector, parameters, reported, .. } = self;
            ledger.forget(now, parameters, |(source, destination)| {
                let edge = ordered(source, destination);
                detector.forget(edge);
                // Another vertex may get the same number.
                reported.edges.remove(&edge);
            });
        }
    }

    fn consider(&mut self, now: Instant) -> Option<Change> {
        if *self.detector.present() == self.reported.edges {
            self.candidate = None;
            self.refresh(now);
            return None;
        }
        let version = self.detector.version();
        let is_thinner = self.detector.present().is_subset(&self.reported.edges);
        let fresh = Candidate { since: now, is_thinner, version, classification: None };
        let candidate = self.candidate.get_or_insert(fresh);
        if candidate.version != version {
            (candidate.version, candidate.classification) = (version, None);
        }
        if std::mem::replace(&mut candidate.is_thinner, is_thinner) && !is_thinner {
            // A gap is not the beginning of what comes after it.
            candidate.since = now;
        }
        let since = candidate.since;
        let patience = if is_thinner { self.parameters.idle_after } else { self.parameters.follow_interval };
        let is_overdue = now.saturating_duration_since(since) > patience;
        let is_settled = self.detector.since_added() >= self.parameters.stable_for
            && self.ledger.rounds() >= self.added_in_round + STABLE_ROUNDS
            && !self.detector.is_leaving(&self.parameters);
        if !is_settled && !is_overdue {
            return None;
        }
        let known = self.candidate.as_mut().and_then(|candidate| candidate.classification.take());
        let classification = known.unwrap_or_else(|| {
            let before = &self.reported.edges;
            self.classify(self.detector.present(), |edge| {
                self.detector.coming_rate(edge, before, &self.parameters)
            })
        });
        if self.completes(now, &classification) {
            self.candidate = None;
            self.reported.edges.clone_from(self.detector.present());
            self.reported.classification = classification;
            return None;
        }
        if self.is_stable(now, &classification) || is_overdue {
            return Some(self.report(now, since, classification));
        }
        if let Some(candidate) = &mut self.candidate {
            candidate.classification = Some(classification);
        }
        None
    }

    /// Is the candidate what was reported a moment ago, and the few pairs of the shape
    /// that had not been heard of by then?
    fn completes(&self, now: Instant, classification: &Classification) -> bool {
        let Reported { edges, classification: before, changed, .. } = &self.reported;
        let present = self.detector.present();
        let is_recent =
            changed.is_some_and(|at| now.saturating_duration_since(at) < self.parameters.follow_interval);
        is_recent
            && *classification.name() != TopologyName::Irregular
            && classification.names() == before.names()
            && edges.is_subset(present)
            && (present.len() - edges.len()) * FEW <= present.len()
    }

    /// Has the candidate lasted long enough to be told of? Transitions mostly
    /// have no name, a pair that pauses leaves a gap in a shape, and a VM that
    /// migrates is gone for a moment.
    fn is_stable(&self, now: Instant, classification: &Classification) -> bool {
        let parameters = &self.parameters;
        let present = self.detector.present();
        if present.is_empty() {
            return true;
        }
        let has_name = *classification.name() != TopologyName::Irregular;
        if present.is_subset(&self.reported.edges) {
            let lost_vms = vertices(present).len() < vertices(&self.reported.edges).len();
            // A shape with gaps is mostly the same shape on a network that stalls.
            let reported = self.reported.classification.name();
            let is_gap = *reported != TopologyName::Irregular
                && (!has_name || !lost_vms && classification.name() == reported);
            if is_gap || lost_vms || !has_name {
                let patience = if is_gap { parameters.idle_after } else { parameters.follow_interval };
                return self.detector.since_removed() >= patience;
            }
        }
        let last = self.reported.changed;
        let is_early = last.is_some_and(|at| now.saturating_duration_since(at) < parameters.follow_interval);
        let patience = parameters.stable_for * if has_name { 1 } else { 2 } * if is_early { 2 } else { 1 };
        self.detector.since_added() >= patience
    }

    fn report(&mut self, now: Instant, since: Instant, classification: Classification) -> Change {
        self.candidate = None;
        let present = self.detector.present().clone();
        self.detector.settle(&self.reported.edges, &self.parameters);
        let address = |vertex| self.ledger.address(vertex).unwrap_or_default();
        let addresses = |edge: &Edge| (address(edge.0), address(edge.1));
        let added = present.difference(&self.reported.edges).map(addresses).collect();
        let removed = self.reported.edges.difference(&present).map(addresses).collect();
        let number = self.reported.changes + 1;
        self.reported = Reported {
            edges: present,
            classification: classification.clone(),
            classified: Some(now),
            changes: number,
            changed: Some(now),
        };
        let vertices = self.ledger.addresses().into_iter().map(|(mac, _)| mac).collect();
        Change { number, since, vertices, classification, added, removed }
    }

    /// Names the reported topology anew now and then: its weights become
    /// clearer with time.
    fn refresh(&mut self, now: Instant) {
        let is_due = |at| now.saturating_duration_since(at) >= self.parameters.follow_interval;
        if !self.reported.edges.is_empty() && self.reported.classified.is_some_and(is_due) {
            self.reported.classified = Some(now);
            self.reported.classification =
                self.classify(&self.reported.edges, |edge| self.detector.rate(edge));
        }
    }

    fn classify(&self, edges: &BTreeSet<Edge>, rate: impl Fn(Edge) -> [f64; 2]) -> Classification {
        let vertices = self.ledger.addresses();
        let rates = edges.iter().map(|edge| (*edge, rate(*edge)));
        let options = ClassifyOptions {
            detection_threshold: self.parameters.detection_threshold / 2.0,
            pruned: true,
            ..ClassifyOptions::default()
        };
        classify(&matrix(&vertices, rates), &options)
    }
}

fn vertices(edges: &BTreeSet<Edge>) -> BTreeSet<u32> {
    edges.iter().flat_map(|(a, b)| [*a, *b]).collect()
}

/// The place of each vertex in the list.
fn index(vertices: &[(MacAddr, u32)]) -> HashMap<u32, u32> {
    vertices.iter().map(|(_, id)| *id).zip(0..).collect()
}

fn matrix(vertices: &[(MacAddr, u32)], rates: impl Iterator<Item = (Edge, [f64; 2])>) -> TrafficMatrix {
    let vertices = &vertices[..vertices.len().min(MAX_VERTICES)];
    let index = index(vertices);
    let labels = vertices.iter().map(|(mac, _)| mac.to_string()).collect();
    let mut matrix = TrafficMatrix::with_labels(labels).unwrap_or_default();
    for ((a, b), [there, back]) in rates {
        if let (Some(a), Some(b)) = (index.get(&a), index.get(&b)) {
            matrix.set(*a as usize, *b as usize, there);
            matrix.set(*b as usize, *a as usize, back);
        }
    }
    matrix
}
