//! Traffic of others, which shares a pipe with that of the laboratory's hosts.
//!
//! It exists in the pipe alone: it takes its turn in the queue and its time on
//! the line, and nobody sends or receives it. So it costs next to nothing, and how
//! much there was is known to the byte.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// How the frames of others follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrossArrivals {
    /// Independently of each other.
    Poisson,
    /// With Pareto-distributed times between them, of this shape: above 1, and
    /// of infinite variance up to 2 (1.9 in M. Jain and C. Dovrolis, "End-to-end
    /// available bandwidth", SIGCOMM 2002).
    Pareto(f64),
}

/// Traffic of others through a pipe, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossTraffic {
    /// The share of the pipe's bandwidth that they send at in the long run. (A
    /// pipe without a limit has no cross traffic.)
    pub load: f64,
    /// How their frames follow each other.
    pub arrivals: CrossArrivals,
    /// The length of each, in bytes.
    pub frame: u32,
}

impl CrossTraffic {
    /// Full frames at `load`.
    pub const fn new(load: f64, arrivals: CrossArrivals) -> Self {
        Self { load, arrivals, frame: 1514 }
    }

    /// The time from one frame to the next, on a pipe that takes `serialisation` for each.
    fn gap(&self, serialisation: Duration, rng: &mut StdRng) -> Duration {
        let mean = serialisation.as_secs_f64() / self.load;
        // Above 0, so that neither law gives an endless time.
        let uniform = 1.0 - rng.random::<f64>();
        let seconds = match self.arrivals {
            CrossArrivals::Poisson => -mean * uniform.ln(),
            CrossArrivals::Pareto(shape) => mean * (shape - 1.0) / shape * uniform.powf(-1.0 / shape),
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(3600))
    }
}

/// The others at work.
pub(super) struct Others {
    pub(super) traffic: CrossTraffic,
    pub(super) next: Instant,
}

impl Others {
    pub(super) fn new(
        traffic: CrossTraffic,
        now: Instant,
        serialisation: Duration,
        rng: &mut StdRng,
    ) -> Self {
        Self { traffic, next: now + traffic.gap(serialisation, rng) }
    }

    /// Goes on to the next frame.
    pub(super) fn advance(&mut self, serialisation: Duration, rng: &mut StdRng) {
        self.next += self.traffic.gap(serialisation, rng);
    }
}
