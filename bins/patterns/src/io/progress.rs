//! The counters of a rank and the records made from them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::options::Options;
use crate::report::{Channel, Ended, Lost, Record, Restored, Sample, Start, Summary};

use super::clock::{after, moment};
use super::sink::Sink;

/// Up to how many lost connections are logged; the report has all.
const LOGGED_LOSSES: u64 = 10;

/// Counts, and reports what it counted.
pub(super) struct Progress<'a> {
    options: &'a Options,
    sink: &'a mut Sink<'a>,
    channels: Vec<Channel>,
    connections_lost: u64,
    connections_restored: u64,
    iterations: u64,
    run: Option<Run>,
}

/// What is known from the first iteration on.
#[derive(Clone, Copy)]
struct Run {
    started: Instant,
    first: u64,
    last_completion: Instant,
    longest: Duration,
    next_sample: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(options: &'a Options, peers: &[usize], sink: &'a mut Sink<'a>) -> Self {
        let channel = |&peer| Channel { peer, bytes_sent: 0, bytes_received: 0 };
        Self {
            options,
            sink,
            channels: peers.iter().map(channel).collect(),
            connections_lost: 0,
            connections_restored: 0,
            iterations: 0,
            run: None,
        }
    }

    /// The first iteration begins, unless one has already.
    pub(super) fn begin(&mut self, iteration: u64, now: Instant) -> Result<(), Error> {
        if self.run.is_some() {
            return Ok(());
        }
        self.iterations = iteration;
        self.run = Some(Run {
            started: now,
            first: iteration,
            last_completion: now,
            longest: Duration::ZERO,
            next_sample: after(now, self.options.interval),
        });
        self.emit(&Record::Start(Start {
            at: moment(),
            rank: self.options.rank,
            ranks: self.options.peers.len(),
            peers: self.channels.iter().map(|channel| channel.peer).collect(),
            workload: self.options.workload.clone(),
        }))?;
        self.emit(&Record::Sample(self.sample()))
    }

    /// When the first iteration began.
    pub(super) fn started(&self) -> Option<Instant> {
        self.run.map(|run| run.started)
    }

    /// So much went to the peer of this index.
    pub(super) fn sent(&mut self, peer: usize, bytes: u64) {
        self.channels[peer].bytes_sent += bytes;
    }

    /// So much came from the peer of this index.
    pub(super) fn received(&mut self, peer: usize, bytes: u64) {
        self.channels[peer].bytes_received += bytes;
    }

    /// So many iterations are complete.
    pub(super) fn completed(&mut self, iterations: u64, now: Instant) {
        if let Some(run) = &mut self.run
            && iterations > self.iterations
        {
            self.iterations = iterations;
            run.longest = run.longest.max(now.saturating_duration_since(run.last_completion));
            run.last_completion = now;
        }
    }

    /// When the next sample is due.
    pub(super) fn timer(&self) -> Option<Instant> {
        self.run.map(|run| run.next_sample)
    }

    /// Reports a sample if one is due. Samples that were missed are left out.
    pub(super) fn tick(&mut self, now: Instant) -> Result<(), Error> {
        let Some(run) = &mut self.run else { return Ok(()) };
        if now < run.next_sample {
            return Ok(());
        }
        run.next_sample = after(run.next_sample, self.options.interval);
        if run.next_sample <= now {
            run.next_sample = after(now, self.options.interval);
        }
        self.emit(&Record::Sample(self.sample()))
    }

    pub(super) fn lost(
        &mut self,
        peer: usize,
        address: SocketAddr,
        errno: Option<i32>,
        why: String,
    ) -> Result<(), Error> {
        self.connections_lost += 1;
        let (rank, iterations) = (self.options.rank, self.iterations);
        match self.connections_lost {
            ..LOGGED_LOSSES => tracing::warn!(rank, peer, %address, iterations, "connection lost: {why}"),
            LOGGED_LOSSES => tracing::warn!(rank, "further lost connections are only in the report"),
            _ => {}
        }
        let at = moment();
        self.emit(&Record::ConnectionLost(Lost { at, rank, peer, address, errno, why, iterations }))
    }

    pub(super) fn restored(&mut self, peer: usize, gone: Duration) -> Result<(), Error> {
        self.connections_restored += 1;
        let (rank, gone_ms) = (self.options.rank, u64::try_from(gone.as_millis()).unwrap_or(u64::MAX));
        tracing::debug!(rank, peer, gone_ms, "connection restored");
        self.emit(&Record::ConnectionRestored(Restored { at: moment(), rank, peer, gone_ms }))
    }

    /// The last records, and the summary of the run that ended at `end`.
    pub(super) fn end(&mut self, ended: Ended, end: Instant) -> Result<Summary, Error> {
        let total = self.sample();
        self.emit(&Record::Sample(total))?;
        let (seconds, iterations, longest) = match self.run {
            Some(run) => (
                end.saturating_duration_since(run.started).as_secs_f64(),
                self.iterations - run.first,
                run.longest.max(end.saturating_duration_since(run.last_completion)),
            ),
            None => (0.0, 0, Duration::ZERO),
        };
        let per_second = |n: f64| if seconds > 0.0 { n / seconds } else { 0.0 };
        let summary = Summary {
            total,
            seconds,
            iterations_per_s: per_second(iterations as f64),
            mbit_per_s: per_second(total.bytes_received as f64 * 8.0 / 1e6),
            longest_iteration_ms: longest.as_secs_f64() * 1e3,
            connections_restored: self.connections_restored,
            channels: self.channels.clone(),
            ended,
        };
        self.emit(&Record::Summary(summary.clone()))?;
        Ok(summary)
    }

    fn sample(&self) -> Sample {
        Sample {
            at: moment(),
            rank: self.options.rank,
            iterations: self.iterations,
            bytes_sent: self.channels.iter().map(|channel| channel.bytes_sent).sum(),
            bytes_received: self.channels.iter().map(|channel| channel.bytes_received).sum(),
            connections_lost: self.connections_lost,
        }
    }

    fn emit(&mut self, record: &Record) -> Result<(), Error> {
        (self.sink)(record).map_err(|error| Error::Report {
            rank: self.options.rank,
            to: self.options.report.as_ref().map_or_else(|| "its reader".to_owned(), ToString::to_string),
            error,
        })
    }
}
