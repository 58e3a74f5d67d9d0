//! What can go wrong.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use vnet_core::shape::ShapeError;

use crate::payload::Mismatch;
use crate::wire::{MAX_MESSAGE, Refusal, WireError};
use crate::workload::MAX_RANKS;

/// Why a run could not be set up or did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too few ranks, or too many.
    #[error(
        "a run can't have {ranks} ranks; give the addresses of 2 to {MAX_RANKS} peers, this rank's own included"
    )]
    Ranks {
        /// How many were given.
        ranks: usize,
    },
    /// A rank that isn't there.
    #[error("there is no rank {rank} among {ranks} peers; ranks count from 0, in the order of the peers")]
    Rank {
        /// The rank.
        rank: usize,
        /// How many there are.
        ranks: usize,
    },
    /// A message of no bytes or too many.
    #[error("a message of {bytes} bytes can't be; 1 to {MAX_MESSAGE} can")]
    Message {
        /// The size asked for.
        bytes: u64,
    },
    /// A ratio that gives no time to compute.
    #[error("a compute/communicate ratio of {ratio} makes no compute time; give a number from 0 up")]
    Ratio {
        /// The ratio asked for.
        ratio: f64,
    },
    /// Samples without any time between them.
    #[error("an interval of 0 between samples can't be; give 1ms or more")]
    Interval,
    /// The shape can't have so many nodes.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The own address can't be listened on.
    #[error("rank {rank} can't listen on {address}: {error}; give an address of this machine with --listen")]
    Listen {
        /// The rank.
        rank: usize,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Some peers did not turn up before the deadline.
    #[error("rank {rank} waited {}s for {}", .waited.as_secs_f64(), list(.missing))]
    Missing {
        /// Who waited.
        rank: usize,
        /// For how long.
        waited: Duration,
        /// For whom.
        missing: Vec<MissingPeer>,
    },
    /// A peer doesn't want to talk.
    #[error("rank {peer} at {address} refuses rank {rank}: {refusal}")]
    Refused {
        /// Who was refused.
        rank: usize,
        /// By whom.
        peer: usize,
        /// Where.
        address: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// A message arrived with other bytes than those sent. TCP doesn't let this
    /// happen by accident: something on the way changes segments.
    #[error(
        "message {iteration} from rank {peer} to rank {rank} is damaged: byte {} is {:#04x} instead of {:#04x}",
        .mismatch.offset, .mismatch.found, .mismatch.expected
    )]
    Damaged {
        /// The receiver.
        rank: usize,
        /// The sender.
        peer: usize,
        /// Which message.
        iteration: u64,
        /// Where, and what was found.
        mismatch: Mismatch,
    },
    /// A peer broke the protocol after a good hello.
    #[error("rank {peer} does not keep to the protocol with rank {rank}: {what}")]
    Protocol {
        /// The receiver.
        rank: usize,
        /// The peer.
        peer: usize,
        /// What was wrong.
        what: Violation,
    },
    /// A report could not be written.
    #[error("rank {rank} can't write its report to {to}: {error}")]
    Report {
        /// The rank.
        rank: usize,
        /// Where to.
        to: String,
        /// Why.
        error: io::Error,
    },
    /// The system refuses something that is needed.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl Error {
    /// Was wrong asked for, rather than something gone wrong?
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Ranks { .. }
                | Self::Rank { .. }
                | Self::Message { .. }
                | Self::Ratio { .. }
                | Self::Interval
                | Self::Shape(_)
        )
    }
}

/// A peer that is waited for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPeer {
    /// Its rank.
    pub rank: usize,
    /// Its address.
    pub address: SocketAddr,
    /// What came of the last try.
    pub why: String,
}

fn list(missing: &[MissingPeer]) -> impl fmt::Display {
    let each = |peer: &MissingPeer| format!("rank {} at {} ({})", peer.rank, peer.address, peer.why);
    missing.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Bytes that are not in the format.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A message out of turn.
    #[error("message {found} where {expected} was due")]
    Turn {
        /// The iteration that was due.
        expected: u64,
        /// The iteration that came.
        found: u64,
    },
    /// A message of another size.
    #[error("a message of {found} bytes where {expected} was agreed")]
    Length {
        /// The size agreed.
        expected: u64,
        /// The size that came.
        found: u64,
    },
    /// A resume frame that isn't the first frame, or data before it.
    #[error("a frame before or after its time")]
    Order,
}
