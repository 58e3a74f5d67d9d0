//! Estimates beside the truth.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use vnet_core::control::PathStatus;
use wren::{Parameters, PathEstimate, PathEstimator, Sample, threshold};

/// What a path is like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// Its capacity in Mbit/s.
    pub mbit: u64,
    /// One way, in microseconds.
    pub latency_us: u64,
    /// What others send, in percent of the capacity.
    pub load: u32,
    /// How their frames follow each other.
    pub arrivals: String,
    /// Does the application send too little to tell what is available?
    #[serde(default)]
    pub limited: bool,
}

impl Case {
    /// Bytes of a message of the application: as many as take 10 ms at the capacity,
    /// or as long as the path is, within reason.
    pub fn message(&self) -> u64 {
        match self.limited {
            true => LIMITED_MESSAGE,
            false => (self.mbit * self.latency_us.max(10_000) / 8).clamp(64 << 10, 4 << 20),
        }
    }

    /// Milliseconds between two exchanges of the application: more where they
    /// cost this machine more.
    pub fn pause_ms(&self) -> u64 {
        match self.limited {
            true => 50,
            false => (self.mbit / 16).clamp(20, 60),
        }
    }
}

/// What `patterns` sends unless it is told otherwise.
const LIMITED_MESSAGE: u64 = 8 << 10;

/// What was found out of one direction of a path. Rates are in Mbit/s.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The path.
    #[serde(flatten)]
    pub case: Case,
    /// What others left.
    pub truth: f64,
    /// Wren's estimate of that; `None`: unknown.
    pub available: Option<f64>,
    /// The ends of its interval.
    pub range: Option<(f64, f64)>,
    /// The estimate of the plain self-induced-congestion method.
    pub plain: Option<f64>,
    /// Wren's estimate of the capacity.
    pub capacity: Option<f64>,
    /// Wren's estimate of the latency, in microseconds.
    pub latency_estimate_us: Option<u64>,
    /// The highest rate that came through.
    pub carried: f64,
}

impl Outcome {
    /// Headings for the lines.
    pub const HEADINGS: &'static str = "capacity  latency ms  load      law  limited     truth  estimate  error %  plain error %  capacity error %  latency error us";

    /// Puts estimates beside the truth; `others` have sent that many bit/s.
    pub fn new(case: Case, others: f64, status: Option<&PathStatus>, plain: Option<f64>) -> Self {
        let available = status.and_then(|status| status.available);
        Self {
            truth: case.mbit as f64 - others / 1e6,
            available: available.map(|rate| rate.value.mbit()),
            range: available.map(|rate| (rate.low.mbit(), rate.high.mbit())),
            plain: plain.map(|rate| rate / 1e6),
            capacity: status.and_then(|status| status.capacity).map(|rate| rate.value.mbit()),
            latency_estimate_us: status.and_then(|status| status.latency_us),
            carried: status.map_or(0.0, |status| status.carried.mbit()),
            case,
        }
    }

    /// The relative error of the estimate.
    pub fn error(&self) -> Option<f64> {
        self.available.map(|rate| rate / self.truth - 1.0)
    }

    /// The relative error of the plain method's.
    pub fn plain_error(&self) -> Option<f64> {
        self.plain.map(|rate| rate / self.truth - 1.0)
    }

    /// The error of the latency in microseconds, and whether it is within 5 % or 50 us.
    pub fn latency_error(&self) -> Option<(f64, bool)> {
        let error = self.latency_estimate_us? as f64 - self.case.latency_us as f64;
        Some((error, error.abs() <= (self.case.latency_us as f64 * 0.05).max(50.0)))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { mbit, latency_us, load, ref arrivals, limited } = self.case;
        let number = |value: Option<f64>, digits: usize| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_owned(),
        };
        let percent = |value: Option<f64>| number(value.map(|value| value * 100.0), 1);
        write!(
            f,
            "{mbit:8}  {:10.1}  {load:4}  {arrivals:>7}  {:>7}  {:8.2}  {:>8}  {:>7}  {:>13}  {:>16}  {:>16}",
            latency_us as f64 / 1e3,
            if limited { "yes" } else { "-" },
            self.truth,
            number(self.available, 2),
            percent(self.error()),
            percent(self.plain_error()),
            percent(self.capacity.map(|capacity| capacity / mbit as f64 - 1.0)),
            number(self.latency_error().map(|(error, _)| error), 0),
        )
    }
}

/// How good the estimates are at some loads.
#[derive(Clone, Debug, Serialize)]
pub struct Accuracy {
    /// Loads in percent, from and to.
    pub loads: (u32, u32),
    /// How many directions of paths.
    pub cases: usize,
    /// Of how many the available bandwidth is unknown.
    pub unknown: usize,
    /// The median of the relative errors' sizes.
    pub median: f64,
    /// Nine of ten are no larger.
    pub p90: f64,
    /// Of how many the plain method has no estimate.
    pub plain_unknown: usize,
    /// The plain method's median.
    pub plain_median: f64,
    /// How many latencies are within 5 % or 50 us.
    pub latency_good: usize,
    /// And how many are known.
    pub latency_known: usize,
}

impl Accuracy {
    /// Headings for the lines.
    pub const HEADINGS: &'static str =
        "    loads  cases  unknown  median %  p90 %  plain unknown  plain median %  latency good";
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:2} to {:2} %  {:5}  {:7}  {:8.1}  {:5.1}  {:13}  {:14.1}  {:5} of {}",
            self.loads.0,
            self.loads.1,
            self.cases,
            self.unknown,
            self.median * 100.0,
            self.p90 * 100.0,
            self.plain_unknown,
            self.plain_median * 100.0,
            self.latency_good,
            self.latency_known,
        )
    }
}

/// The accuracy at loads up to 60 % and above.
pub fn accuracies(outcomes: &[Outcome]) -> Vec<Accuracy> {
    let of = |from: u32, to: u32| {
        let some: Vec<&Outcome> =
            outcomes.iter().filter(|o| !o.case.limited && (from..=to).contains(&o.case.load)).collect();
        let sizes = |error: fn(&Outcome) -> Option<f64>| {
            let mut sizes: Vec<f64> =
                some.iter().filter_map(|outcome| error(outcome)).map(f64::abs).collect();
            sizes.sort_by(f64::total_cmp);
            sizes
        };
        let (own, plain) = (sizes(Outcome::error), sizes(Outcome::plain_error));
        let latencies: Vec<bool> =
            some.iter().filter_map(|outcome| outcome.latency_error()).map(|(_, good)| good).collect();
        Accuracy {
            loads: (from, to),
            cases: some.len(),
            unknown: some.len() - own.len(),
            median: quantile(&own, 0.5),
            p90: quantile(&own, 0.9),
            plain_unknown: some.len() - plain.len(),
            plain_median: quantile(&plain, 0.5),
            latency_good: latencies.iter().filter(|good| **good).count(),
            latency_known: latencies.len(),
        }
    };
    [of(0, 60), of(61, 100)].into_iter().filter(|accuracy| accuracy.cases > 0).collect()
}

/// What is said of paths whose application sends too little to tell.
#[derive(Clone, Debug, Serialize)]
pub struct Limited {
    /// How many directions of paths.
    pub cases: usize,
    /// Of how many the available bandwidth is unknown.
    pub unknown: usize,
    /// Of how many there is an estimate that is wrong by more than a quarter.
    pub wrong: usize,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cases, unknown, wrong } = self;
        write!(f, "application-limited: {cases} cases, {unknown} unknown, {wrong} wrong by more than 25 %")
    }
}

/// What is said of the limited ones.
pub fn limited(outcomes: &[Outcome]) -> Limited {
    let some = || outcomes.iter().filter(|outcome| outcome.case.limited);
    let errors = || some().filter_map(Outcome::error);
    Limited {
        cases: some().count(),
        unknown: some().count() - errors().count(),
        wrong: errors().filter(|error| error.abs() > 0.25).count(),
    }
}

/// Not a number of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// What the plain method makes of the last seconds of a trace that a daemon kept.
pub fn plain_estimate(trace: &Path, seconds: u64) -> anyhow::Result<Option<f64>> {
    let runs = read_trace(trace)?;
    let last = runs.last().and_then(|run| run.last()).map_or(0, |sample| sample.arrived_ns);
    let recent =
        |run: &&Vec<Sample>| run.last().is_some_and(|s| s.arrived_ns + seconds * 1_000_000_000 >= last);
    let trains: Vec<_> = runs.iter().filter(recent).flat_map(|run| threshold::trains(run)).collect();
    Ok(threshold::available(&trains))
}

/// A direction whose samples are kept: what is known of it, and where they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// What it is like.
    #[serde(flatten)]
    pub case: Case,
    /// What others sent, in bit/s.
    pub others: f64,
    /// The file of its samples, and that of the other direction's.
    pub files: (String, String),
}

impl Kept {
    /// The name of the list of what a directory keeps.
    pub const LIST: &'static str = "kept.json";

    /// What is kept in a directory; nothing if there is no list.
    pub fn read(directory: &Path) -> anyhow::Result<Vec<Self>> {
        let list = directory.join(Self::LIST);
        match fs::read_to_string(&list) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("reading {}", list.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("could not read {}", list.display())),
        }
    }

    /// Estimates again from the samples.
    pub fn replay(&self, directory: &Path, seconds: u64) -> anyhow::Result<Outcome> {
        let there = estimate(&read_trace(&directory.join(&self.files.0))?);
        let back = estimate(&read_trace(&directory.join(&self.files.1))?);
        let round_trip = wren::round_trip(&there.envelope, &back.envelope, 300_000_000);
        let plain = plain_estimate(&directory.join(&self.files.0), seconds)?;
        Ok(Outcome {
            truth: self.case.mbit as f64 - self.others / 1e6,
            available: there.available.map(|rate| rate.value / 1e6),
            range: there.available.map(|rate| (rate.low / 1e6, rate.high / 1e6)),
            plain: plain.map(|rate| rate / 1e6),
            capacity: there.capacity.map(|rate| rate.value / 1e6),
            latency_estimate_us: round_trip.map(|ns| (ns / 2e3).round() as u64),
            carried: there.carried / 1e6,
            case: self.case.clone(),
        })
    }
}

/// What a daemon makes of such runs, with an estimate every second.
fn estimate(runs: &[Vec<Sample>]) -> PathEstimate {
    let mut estimator = PathEstimator::new(Parameters::default());
    let (mut second, mut latest) = (0, 0);
    for run in runs {
        estimator.add(run.iter().copied());
        latest = run.last().map_or(latest, |sample| sample.arrived_ns);
        if latest / 1_000_000_000 > second {
            second = latest / 1_000_000_000;
            estimator.estimate(latest);
        }
    }
    estimator.estimate(latest)
}

/// The runs of samples in a trace.
pub fn read_trace(trace: &Path) -> anyhow::Result<Vec<Vec<Sample>>> {
    let text = fs::read_to_string(trace).with_context(|| format!("could not read {}", trace.display()))?;
    let mut runs = vec![Vec::new()];
    for line in text.lines() {
        let numbers: Vec<u64> = line.split(',').filter_map(|number| number.parse().ok()).collect();
        match (&numbers[..], runs.last_mut()) {
            (&[sequence, sent_ns, arrived_ns, bytes], Some(run)) => {
                run.push(Sample { sequence, sent_ns, arrived_ns, bytes: bytes as u32 });
            }
            _ => runs.push(Vec::new()),
        }
    }
    Ok(runs)
}
