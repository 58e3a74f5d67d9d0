//! What a pipe of the network does to frames, and what it has counted.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vnet_core::Bandwidth;

use crate::text;

/// How much may wait at a pipe before it drops what comes (drop-tail).
///
/// Written as a time (`50 ms` at the pipe's bandwidth) or a size (`64 kB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// As many bytes as the pipe sends in this time, but at least
    /// [`QueueLimit::LEAST_BYTES`].
    Time(Duration),
    /// This many bytes.
    Bytes(u64),
}

impl QueueLimit {
    /// The least that a queue given as a time holds: 32 full-sized frames, so
    /// that a slow pipe still takes the first burst of a TCP connection.
    pub const LEAST_BYTES: u64 = 32 * 1514;

    /// The limit in bytes at a pipe that sends `bandwidth`.
    pub fn bytes(self, bandwidth: Bandwidth) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Time(time) => {
                ((bandwidth.bytes_per_second() * time.as_secs_f64()) as u64).max(Self::LEAST_BYTES)
            }
        }
    }
}

impl Default for QueueLimit {
    fn default() -> Self {
        Self::Time(Duration::from_millis(50))
    }
}

impl fmt::Display for QueueLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => f.write_str(&text::duration(*time)),
            Self::Bytes(bytes) if *bytes >= 1000 && bytes % 1000 == 0 => write!(f, "{} kB", bytes / 1000),
            Self::Bytes(bytes) => write!(f, "{bytes} B"),
        }
    }
}

impl FromStr for QueueLimit {
    type Err = text::TextError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        if let Some(kilobytes) = value.trim().strip_suffix("kB") {
            return text::whole(kilobytes, value).map(|n| Self::Bytes(n.saturating_mul(1000)));
        }
        if let Some(bytes) = value.trim().strip_suffix('B') {
            return text::whole(bytes, value).map(Self::Bytes);
        }
        text::parse_duration(value).map(Self::Time).map_err(|_| text::TextError::queue(value))
    }
}

impl Serialize for QueueLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QueueLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a pipe does to the frames that pass it, in one direction.
///
/// A frame waits its turn, is serialised at `bandwidth` (its Ethernet header
/// and payload count, preamble and frame check sequence do not), is lost with
/// probability `loss`, and arrives after `latency` plus or minus `jitter`.
/// Frames never overtake each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The rate at which frames leave; `None`: at once.
    pub bandwidth: Option<Bandwidth>,
    /// The time from a frame's last bit leaving to its arrival.
    pub latency: Duration,
    /// The largest deviation from `latency`, drawn evenly from both sides.
    pub jitter: Duration,
    /// The probability that a frame is lost, from 0 to 1.
    pub loss: f64,
    /// How much may wait.
    pub queue: QueueLimit,
}

impl Figures {
    /// A pipe that passes everything on at once.
    pub const PERFECT: Self = Self {
        bandwidth: None,
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        queue: QueueLimit::Time(Duration::from_millis(50)),
    };

    /// A pipe that sends at `bandwidth` and is otherwise perfect.
    pub const fn rate(bandwidth: Bandwidth) -> Self {
        Self { bandwidth: Some(bandwidth), ..Self::PERFECT }
    }

    /// A pipe that delays frames by `latency` and is otherwise perfect.
    pub const fn delay(latency: Duration) -> Self {
        Self { latency, ..Self::PERFECT }
    }
}

/// What a pipe has seen since the laboratory was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Frames that came through.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of others that came through ([`CrossTraffic`](super::CrossTraffic)).
    pub cross_bytes: u64,
    /// Frames dropped because the queue was full.
    pub dropped_full: u64,
    /// Frames lost by chance.
    pub dropped_loss: u64,
    /// Frames lost because the pipe was cut.
    pub dropped_cut: u64,
    /// Bytes waiting now, the frame being sent included.
    pub queue_bytes: u64,
    /// The most that ever waited.
    pub queue_bytes_max: u64,
}
