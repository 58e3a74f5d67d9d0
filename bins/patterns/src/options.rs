//! How a rank is run.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Error;
use crate::io::ReportTo;
use crate::pattern::Pattern;
use crate::workload::Workload;

/// Everything that one rank needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Which rank this is, from 0.
    pub rank: usize,
    /// Where each rank listens, in order of rank; this rank's own address included.
    pub peers: Vec<SocketAddr>,
    /// Where this rank listens, if not at its address among the peers.
    pub listen: Option<SocketAddr>,
    /// What all ranks do.
    pub workload: Workload,
    /// For how long the run goes on from the first iteration; `None`: without end.
    pub duration: Option<Duration>,
    /// Where the report goes; [`Worker::run`](crate::Worker::run) has its own argument for it.
    pub report: Option<ReportTo>,
    /// How often a sample is reported.
    pub interval: Duration,
    /// How long to wait for all peers at the start.
    pub startup: Duration,
    /// How long to wait for a lost peer to come back.
    pub patience: Duration,
    /// How long to wait for the peers' goodbyes when stopping.
    pub linger: Duration,
}

impl Options {
    /// The options of a rank, with the defaults of the program.
    pub fn new(rank: usize, peers: Vec<SocketAddr>, workload: Workload) -> Self {
        Self {
            rank,
            peers,
            listen: None,
            workload,
            duration: None,
            report: None,
            interval: Duration::from_millis(100),
            startup: Duration::from_secs(60),
            patience: Duration::from_secs(60),
            linger: Duration::from_secs(5),
        }
    }

    /// The channels of the run.
    ///
    /// # Errors
    ///
    /// The options don't fit together.
    pub fn pattern(&self) -> Result<Pattern, Error> {
        let ranks = self.peers.len();
        if self.rank >= ranks {
            return Err(Error::Rank { rank: self.rank, ranks });
        }
        if self.interval.is_zero() {
            return Err(Error::Interval);
        }
        self.workload.pattern(ranks)
    }
}
