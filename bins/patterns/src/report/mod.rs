//! What a rank reports: JSON objects, one a line, told apart by `kind`.
//!
//! | `kind` | when | type |
//! | --- | --- | --- |
//! | `start` | the rank has joined the run | [`Start`] |
//! | `sample` | at the start, every interval, at the end | [`Sample`] |
//! | `connection-lost` | a connection broke | [`Lost`] |
//! | `connection-restored` | it was made anew | [`Restored`] |
//! | `summary` | the end | [`Summary`] |

mod read;
mod throughput;

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use read::{LineParser, ReadError, Tail, read};
pub use throughput::{Rates, Throughput};

use crate::workload::Workload;

/// A line of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// The rank has joined the run.
    Start(Start),
    /// How far the rank is.
    Sample(Sample),
    /// A connection broke.
    ConnectionLost(Lost),
    /// A broken connection was made anew.
    ConnectionRestored(Restored),
    /// The end of the rank's run.
    Summary(Summary),
}

/// When something was, on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the Unix epoch (`CLOCK_REALTIME`).
    pub unix_ms: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`: comparable between processes of one machine.
    pub monotonic_ns: u64,
}

/// The rank has connections to all its peers and starts with its first iteration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// When.
    #[serde(flatten)]
    pub at: Moment,
    /// Which rank.
    pub rank: usize,
    /// How many ranks there are.
    pub ranks: usize,
    /// The ranks that it exchanges messages with.
    pub peers: Vec<usize>,
    /// What it does.
    pub workload: Workload,
}

/// Counters of a rank since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    #[serde(flatten)]
    pub at: Moment,
    /// Which rank.
    pub rank: usize,
    /// Iterations of the run that this rank has completed.
    pub iterations: u64,
    /// Bytes of messages given to connections, without headers.
    pub bytes_sent: u64,
    /// Bytes of messages received and verified, without headers.
    pub bytes_received: u64,
    /// Connections that broke.
    pub connections_lost: u64,
}

/// A connection broke.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// When it was noticed.
    #[serde(flatten)]
    pub at: Moment,
    /// Which rank noticed.
    pub rank: usize,
    /// The other end.
    pub peer: usize,
    /// The other end's address.
    pub address: SocketAddr,
    /// The error of the system, if it was one.
    pub errno: Option<i32>,
    /// The error in words.
    pub why: String,
    /// Iterations completed.
    pub iterations: u64,
}

/// A broken connection was made anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restored {
    /// When.
    #[serde(flatten)]
    pub at: Moment,
    /// Which rank says so.
    pub rank: usize,
    /// The other end.
    pub peer: usize,
    /// For how long it was gone, in milliseconds.
    pub gone_ms: u64,
}

/// Why a rank's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The iterations asked for are done.
    Iterations,
    /// The time asked for is over.
    Duration,
    /// It was told to stop (SIGTERM, SIGINT or [`Stopper`](crate::Stopper)).
    Stopped,
    /// A peer asked it to stop.
    Peer,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iterations => "all iterations done",
            Self::Duration => "time over",
            Self::Stopped => "told to stop",
            Self::Peer => "a peer stopped",
        })
    }
}

/// What went over one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The other end.
    pub peer: usize,
    /// Bytes of messages given to connections, without headers.
    pub bytes_sent: u64,
    /// Bytes of messages received and verified, without headers.
    pub bytes_received: u64,
}

/// The end of a rank's run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The counters at the end.
    #[serde(flatten)]
    pub total: Sample,
    /// From the start of the first iteration to the end, in seconds.
    pub seconds: f64,
    /// Iterations of this rank per second of its run.
    pub iterations_per_s: f64,
    /// Payload received by this rank per second of its run, in Mbit/s.
    pub mbit_per_s: f64,
    /// The longest time between the ends of two iterations, in milliseconds:
    /// how long the application stood still at most.
    pub longest_iteration_ms: f64,
    /// Broken connections that were made anew.
    pub connections_restored: u64,
    /// Whom it exchanged messages with.
    pub channels: Vec<Channel>,
    /// Why it ended.
    pub ended: Ended,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rank {}: {} iterations in {:.1} s, {:.1} a second, {:.2} Mbit/s received, \
             longest iteration {:.1} ms, {} connections lost, {} restored; {}",
            self.total.rank,
            self.total.iterations,
            self.seconds,
            self.iterations_per_s,
            self.mbit_per_s,
            self.longest_iteration_ms,
            self.total.connections_lost,
            self.connections_restored,
            self.ended,
        )
    }
}
