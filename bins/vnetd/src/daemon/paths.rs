//! What the paths between hosts can do: daemons measure those that end at them
//! by the traffic that comes in, and the Proxy puts their findings together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vnet_core::control::{
    Body, ControlError, Envelope, ErrorKind, Notice, PathReport, PathStatus, ProbeTrain, RateEstimate,
};
use vnet_core::{Bandwidth, HostName};
use vnet_fwd::link::Arrivals;
use wren::{Parameters, PathEstimate, PathEstimator, Rate, Sample, Vertex};

use super::Daemon;
use super::requests::refused;
use crate::config::{ClockError, Config, Role};
use crate::control::record::Record;
use crate::io::trace::Trace;

/// How often the links are asked for what has arrived. A link keeps a train's
/// worth, so this also bounds the work.
const TAKE: Duration = Duration::from_millis(50);

/// How often estimates are made and reported.
const REPORT: Duration = Duration::from_secs(1);

/// How many packets of the envelope are reported at most, the latest ones.
const MAX_ENVELOPE: usize = 32;

/// How far the packets of the two directions may be apart: clocks drift by some
/// 15 us meanwhile.
const APART_NS: u64 = 300_000_000;

/// Rates that nothing has confirmed for so long are not known any more.
const RATES_FOR: Duration = Duration::from_secs(60);

/// Nor is anything else of the path after this time.
const PATHS_FOR: Duration = Duration::from_secs(600);

/// The most paths that a Proxy keeps.
const MAX_PATHS: usize = 65_536;

/// Length of a probe behind the encapsulation header: a packet of about 1450 bytes.
const PROBE: usize = 1400;

/// Headers in front of a message: Ethernet, IPv4 and UDP.
const HEADERS: u32 = 14 + 20 + 8;

/// Measurement and its results.
#[derive(Debug)]
pub(super) struct Paths {
    is_on: bool,
    clock_errors: BTreeMap<HostName, ClockError>,
    trace: Option<Trace>,
    next_take: Instant,
    next_report: Instant,
    /// By the host at the other end.
    measured: BTreeMap<HostName, Measured>,
    streams: Vec<Stream>,
    /// On the Proxy: what was reported last, by the ends of the path, and when.
    known: BTreeMap<(HostName, HostName), (PathReport, Instant)>,
}

#[derive(Debug)]
struct Measured {
    times_up: u64,
    estimator: PathEstimator,
    /// When something last arrived, by both clocks.
    latest: (Instant, u64),
    /// Has something arrived since the last report?
    is_fresh: bool,
}

/// Padding under way to a neighbour.
#[derive(Debug)]
struct Stream {
    peer: HostName,
    bytes_per_second: f64,
    begun: Instant,
    end: Instant,
    sent: u64,
}

impl Paths {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            is_on: config.inference,
            clock_errors: config.clock_errors.clone(),
            trace: config.keep_arrivals.clone().map(Trace::new),
            next_take: now,
            next_report: now + REPORT,
            measured: BTreeMap::new(),
            streams: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let stream = self.streams.iter().map(Stream::deadline).min();
        [self.is_on.then_some(self.next_take), stream].into_iter().flatten().min()
    }

    fn add(&mut self, host: &HostName, arrivals: Arrivals, now: Instant) {
        let Some(last) = arrivals.entries.last() else { return };
        let clock = |of: &HostName, ns| self.clock_errors.get(of).map_or(ns, |error| error.apply(ns));
        let latest = (now, clock(host, last.arrived_ns));
        let samples: Vec<Sample> = arrivals
            .entries
            .iter()
            .map(|arrival| Sample {
                sequence: arrival.sequence,
                sent_ns: clock(&arrivals.peer, arrival.sent_ns),
                arrived_ns: clock(host, arrival.arrived_ns),
                bytes: arrival.bytes + HEADERS,
            })
            .collect();
        if let Some(trace) = &mut self.trace
            && let Err(error) = trace.add(&arrivals.peer, host, &samples)
        {
            tracing::warn!("arrivals are no longer kept: {error}");
            self.trace = None;
        }
        let fresh = || Measured {
            times_up: arrivals.times_up,
            estimator: PathEstimator::new(Parameters::default()),
            latest,
            is_fresh: true,
        };
        let measured = self.measured.entry(arrivals.peer).or_insert_with(fresh);
        if measured.times_up != arrivals.times_up {
            *measured = fresh();
        }
        (measured.latest, measured.is_fresh) = (latest, true);
        measured.estimator.add(samples);
    }

    /// What is new of all paths that end at `host`.
    fn reports(&mut self, host: &HostName, now: Instant) -> Vec<PathReport> {
        self.measured.retain(|_, m| now.saturating_duration_since(m.latest.0) < PATHS_FOR);
        let fresh = self.measured.iter_mut().filter(|(_, measured)| measured.is_fresh);
        fresh
            .map(|(peer, measured)| {
                measured.is_fresh = false;
                let (at, ns) = measured.latest;
                let now_ns = ns + now.saturating_duration_since(at).as_nanos() as u64;
                report(peer, host, &measured.estimator.estimate(now_ns))
            })
            .collect()
    }

    fn take_in(&mut self, reports: Vec<PathReport>, now: Instant) {
        self.known.retain(|_, (_, at)| now.saturating_duration_since(*at) < PATHS_FOR);
        for report in reports {
            let ends = (report.from.clone(), report.to.clone());
            if self.known.len() < MAX_PATHS || self.known.contains_key(&ends) {
                self.known.insert(ends, (report, now));
            }
        }
    }

    fn statuses(&self, now: Instant) -> Vec<PathStatus> {
        let known = self.known.iter();
        known.map(|((from, to), (report, at))| self.status(from, to, report, *at, now)).collect()
    }

    fn status(
        &self,
        from: &HostName,
        to: &HostName,
        report: &PathReport,
        at: Instant,
        now: Instant,
    ) -> PathStatus {
        let back = self.known.get(&(to.clone(), from.clone()));
        let hull = |report: &PathReport| -> Vec<Vertex> {
            report.envelope.iter().map(|&(sent_ns, delay_ns)| Vertex { sent_ns, delay_ns }).collect()
        };
        let round_trip = back.and_then(|(back, _)| wren::round_trip(&hull(report), &hull(back), APART_NS));
        let since = now.saturating_duration_since(at);
        let age_ms = report.age_ms.map(|age| age.saturating_add(since.as_millis() as u64));
        let is_recent = age_ms.is_some_and(|age| u128::from(age) < RATES_FOR.as_millis());
        PathStatus {
            from: from.clone(),
            to: to.clone(),
            // Others come and go; the capacity stays.
            capacity: report.capacity,
            available: report.available.filter(|_| is_recent),
            carried: if since < RATES_FOR { report.carried } else { Bandwidth::default() },
            latency_us: round_trip.map(|ns| (ns / 2e3).round() as u64),
            age_ms,
        }
    }
}

fn report(from: &HostName, to: &HostName, estimate: &PathEstimate) -> PathReport {
    let envelope = &estimate.envelope[estimate.envelope.len().saturating_sub(MAX_ENVELOPE)..];
    PathReport {
        from: from.clone(),
        to: to.clone(),
        capacity: estimate.capacity.map(rate),
        available: estimate.available.map(rate),
        carried: bandwidth(estimate.carried),
        envelope: envelope.iter().map(|vertex| (vertex.sent_ns, vertex.delay_ns)).collect(),
        stretches: estimate.stretches as u32,
        age_ms: estimate.age_ns.map(|ns| ns / 1_000_000),
    }
}

fn rate(rate: Rate) -> RateEstimate {
    let Rate { low, value, high } = rate;
    RateEstimate { low: bandwidth(low), value: bandwidth(value), high: bandwidth(high) }
}

fn bandwidth(bits_per_second: f64) -> Bandwidth {
    // In kbit/s: no estimate is better than that.
    Bandwidth::from_bits_per_second((bits_per_second / 1e3).round() as u64 * 1000)
}

impl Stream {
    /// How many packets are due at `now`.
    fn due(&self, now: Instant) -> usize {
        let elapsed = now.min(self.end).saturating_duration_since(self.begun).as_secs_f64();
        let wanted = (elapsed * self.bytes_per_second / (PROBE as f64 + f64::from(HEADERS))) as u64;
        wanted.saturating_sub(self.sent) as usize
    }

    fn deadline(&self) -> Instant {
        let packet = (PROBE as f64 + f64::from(HEADERS)) / self.bytes_per_second;
        let next = Duration::from_secs_f64((packet * (self.sent + 1) as f64).clamp(0.0, 10.0));
        (self.begun + next).min(self.end)
    }
}

impl Daemon {
    pub(super) fn poll_paths(&mut self, now: Instant) {
        self.go_on_streaming(now);
        if !self.paths.is_on || self.paths.next_take > now {
            return;
        }
        self.paths.next_take = now + TAKE;
        match self.plane.take_arrivals() {
            Ok(all) => {
                for arrivals in all {
                    self.paths.add(&self.config.name, arrivals, now);
                }
            }
            Err(error) => return self.warn("paths", format!("arrivals can't be read: {error}")),
        }
        if self.paths.next_report > now {
            return;
        }
        self.paths.next_report = now + REPORT;
        let reports = self.paths.reports(&self.config.name, now);
        if reports.is_empty() {
            return;
        }
        match self.uplink.as_ref().and_then(|uplink| uplink.session()) {
            None if self.config.role == Role::Proxy => self.paths.take_in(reports, now),
            None => {}
            Some(session) => {
                let body = Body::Notice(Notice::Paths(reports));
                match Record::new(&Envelope { id: 0, body }) {
                    Ok(record) => self.send(session, &record),
                    Err(error) => self.warn("paths", format!("the paths can't be reported: {error}")),
                }
            }
        }
    }

    /// Reports of the registered daemon on `host`, which are of paths to it.
    pub(super) fn path_reports(&mut self, host: &HostName, mut reports: Vec<PathReport>, now: Instant) {
        reports.retain(|report| report.to == *host);
        self.paths.take_in(reports, now);
    }

    pub(super) fn path_statuses(&self, now: Instant) -> Result<Vec<PathStatus>, ControlError> {
        match self.config.role {
            Role::Member { .. } => {
                let message = format!(
                    "{} is not the Proxy, which alone knows of all paths; ask that",
                    self.config.name
                );
                Err(ControlError::new(ErrorKind::Unsupported, message))
            }
            Role::Proxy | Role::Alone => Ok(self.paths.statuses(now)),
        }
    }

    pub(super) fn probe(&mut self, train: &ProbeTrain, now: Instant) -> Result<(), ControlError> {
        let ProbeTrain { peer, burst, rate, for_ms } = train;
        let invalid = |message: String| Err(ControlError::new(ErrorKind::Invalid, message));
        if *burst > ProbeTrain::MAX_BURST || *for_ms > ProbeTrain::MAX_MS {
            return invalid(format!(
                "a probe is of at most {} packets at once and {} ms",
                ProbeTrain::MAX_BURST,
                ProbeTrain::MAX_MS
            ));
        }
        if self.paths.streams.iter().any(|stream| stream.peer == *peer) {
            let message = format!("a probe to {peer} is under way");
            return Err(ControlError::new(ErrorKind::Conflict, message));
        }
        self.plane.probe(peer, *burst as usize, PROBE).map_err(refused)?;
        if let Some(rate) = rate.filter(|rate| rate.bits_per_second() > 0) {
            self.paths.streams.push(Stream {
                peer: peer.clone(),
                bytes_per_second: rate.bytes_per_second(),
                begun: now,
                end: now + Duration::from_millis(u64::from(*for_ms)),
                sent: 0,
            });
        }
        Ok(())
    }

    fn go_on_streaming(&mut self, now: Instant) {
        for stream in &mut self.paths.streams {
            let due = stream.due(now);
            stream.sent += due as u64;
            if due > 0
                && let Err(error) = self.plane.probe(&stream.peer, due, PROBE)
            {
                tracing::debug!("the probe to {} ends: {error}", stream.peer);
                stream.end = now;
            }
        }
        self.paths.streams.retain(|stream| stream.end > now);
    }
}
