//! What the application does: the same on all ranks.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vnet_core::Shape;

use crate::error::Error;
use crate::pattern::{Operation, Pattern};
use crate::units;
use crate::wire::MAX_MESSAGE;

/// The rate of the reference network of [`Compute::ratio`], in bit/s: the
/// switched 100 Mbit/s Ethernet of the papers' clusters.
pub const REFERENCE_BITS_PER_SECOND: u64 = 100_000_000;

/// The most ranks of a run: each may hold a connection to every other.
pub const MAX_RANKS: usize = 1024;

/// The compute phase of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compute {
    /// How long it takes: of the clock, or of the processor if `busy`.
    #[serde(with = "nanoseconds", rename = "time_ns")]
    pub time: Duration,
    /// Use the processor, instead of sleeping? A busy phase takes `time` of
    /// the thread's processor time, so it takes longer on a loaded host.
    pub busy: bool,
}

impl Compute {
    /// A compute phase that takes `ratio` times as long as the busiest rank
    /// needs to send its messages of one iteration at [`REFERENCE_BITS_PER_SECOND`].
    ///
    /// The ratio is so the same amount of work whatever the network, as in the
    /// papers: a faster network shortens the communication alone.
    ///
    /// # Errors
    ///
    /// The ratio is negative, not a number, or makes a phase of more than centuries.
    pub fn ratio(ratio: f64, pattern: &Pattern, message: u64) -> Result<Self, Error> {
        let bits = pattern.degree() as f64 * message as f64 * 8.0;
        let seconds = ratio * bits / REFERENCE_BITS_PER_SECOND as f64;
        let time = Duration::try_from_secs_f64(seconds).map_err(|_| Error::Ratio { ratio })?;
        Ok(Self { time, busy: false })
    }
}

/// Alternating compute and communication phases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The graph of the ranks.
    pub shape: Shape,
    /// What a communication phase does on it.
    pub operation: Operation,
    /// The bytes of a message, 1 to [`MAX_MESSAGE`].
    pub message: u64,
    /// The compute phase.
    pub compute: Compute,
    /// After how many iterations the run ends by itself; `None`: never.
    pub iterations: Option<u64>,
}

impl Default for Workload {
    /// A neighbour exchange of 8 KiB on all-to-all, no computing, without end.
    fn default() -> Self {
        Self {
            shape: Shape::AllToAll,
            operation: Operation::Neighbour,
            message: 8 << 10,
            compute: Compute::default(),
            iterations: None,
        }
    }
}

impl Workload {
    /// Its channels between `ranks` ranks.
    ///
    /// # Errors
    ///
    /// The shape can't have this number of nodes, there are fewer than two
    /// ranks or more than [`MAX_RANKS`], or the size of a message is out of bounds.
    pub fn pattern(&self, ranks: usize) -> Result<Pattern, Error> {
        if !(2..=MAX_RANKS).contains(&ranks) {
            return Err(Error::Ranks { ranks });
        }
        if !(1..=MAX_MESSAGE).contains(&self.message) {
            return Err(Error::Message { bytes: self.message });
        }
        Ok(Pattern::new(&self.shape, self.operation, ranks)?)
    }

    /// A number that two ranks can compare to learn whether they do the same:
    /// FNV-1a over the workload as text. A mesh or torus without sides has
    /// another digest than one with them: see [`Shape::resolve`].
    pub fn digest(&self) -> u64 {
        self.to_string()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, operation, message, compute, iterations } = self;
        write!(f, "{shape}, {operation} of {}", units::size(*message))?;
        if !compute.time.is_zero() {
            write!(f, ", {:?} {}", compute.time, if compute.busy { "busy" } else { "of computing" })?;
        }
        match iterations {
            Some(n) => write!(f, ", {n} iterations"),
            None => Ok(()),
        }
    }
}

mod nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_that_differ_have_different_digests() {
        let base = Workload::default();
        let others = [
            Workload { shape: Shape::Ring, ..base.clone() },
            Workload { operation: Operation::Reduction, ..base.clone() },
            Workload { message: 8193, ..base.clone() },
            Workload { iterations: Some(1), ..base.clone() },
            Workload { compute: Compute { time: Duration::from_nanos(1), busy: false }, ..base.clone() },
        ];
        assert_eq!(base.digest(), Workload::default().digest());
        for other in others {
            assert_ne!(base.digest(), other.digest(), "{other}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let base = Workload::default();
        assert!(matches!(base.pattern(1), Err(Error::Ranks { ranks: 1 })));
        for message in [0, MAX_MESSAGE + 1] {
            assert!(matches!(Workload { message, ..base.clone() }.pattern(4), Err(Error::Message { .. })));
        }
        let cube = Workload { shape: Shape::Hypercube, ..base };
        assert!(matches!(cube.pattern(5), Err(Error::Shape(_))));
    }

    #[test]
    fn the_ratio_is_of_the_time_on_the_reference_network() {
        let pattern = Pattern::new(&Shape::Star, Operation::Neighbour, 5).unwrap();
        // The hub sends 4 messages of 1,250 bytes: 40,000 bits, 0.4 ms.
        assert_eq!(Compute::ratio(2.5, &pattern, 1_250).unwrap().time, Duration::from_millis(1));
        assert_eq!(Compute::ratio(0.0, &pattern, 1_250).unwrap().time, Duration::ZERO);
        for ratio in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
            assert!(matches!(Compute::ratio(ratio, &pattern, 1_250), Err(Error::Ratio { .. })));
        }
    }

    #[test]
    fn json_gives_the_workload_back() {
        let workload = Workload { iterations: Some(3), ..Workload::default() };
        let json = serde_json::to_string(&workload).unwrap();
        assert_eq!(serde_json::from_str::<Workload>(&json).unwrap(), workload);
    }
}
