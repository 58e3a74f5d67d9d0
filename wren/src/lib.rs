//! Infers what a network path can do from the traffic that passes it anyway:
//! available bandwidth, capacity and latency, without a packet of its own.
//!
//! Wren ("Watching resources from the edge of the network", M. Zangrilli and B. B.
//! Lowekamp) is the part of Virtuoso that measures the physical network by the
//! bursts that applications send over the overlay. This is Wren for an
//! overlay that stamps its packets: a [`PathEstimator`] takes the times at which
//! packets of one direction of a path were sent and arrived, and gives a
//! [`PathEstimate`]; [`round_trip`] makes a latency of both directions.
//! The clocks of the two hosts need not agree. Everything is pure.
//!
//! ```
//! use wren::{Parameters, PathEstimator, Sample};
//!
//! // Bursts of 50 packets over a link of 100 Mbit/s that nobody else uses: a
//! // packet of 1250 bytes takes 100 us. Half of them are sent every 40 us, half
//! // every 90 us. The receiver's clock is 7 s ahead, and the way takes 1 ms.
//! let mut estimator = PathEstimator::new(Parameters::default());
//! let (mut sequence, mut free) = (0, 0);
//! for burst in 0..100 {
//!     let gap = if burst % 2 == 0 { 40_000 } else { 90_000 };
//!     let run: Vec<Sample> = (0..50)
//!         .map(|n| {
//!             let sent_ns = burst * 50_000_000 + n * gap;
//!             free = sent_ns.max(free) + 100_000;
//!             sequence += 1;
//!             Sample { sequence, sent_ns, arrived_ns: free + 7_001_000_000, bytes: 1250 }
//!         })
//!         .collect();
//!     estimator.add(run);
//! }
//! let estimate = estimator.estimate(12_000_000_000);
//! let available = estimate.available.expect("bursts that fill a queue tell");
//! assert!((available.value / 100e6 - 1.0).abs() < 0.03, "{available:?}");
//! ```
//!
//! The method is told in the modules: `train` (which traffic tells something),
//! `fit` (what it tells), `envelope` (what waiting is, with clocks that drift).
//! [`threshold`] is the plain method of self-induced congestion, to compare with.
#![forbid(unsafe_code)]

mod envelope;
mod estimate;
mod estimator;
mod fit;
mod latency;
mod sample;
pub mod threshold;
mod train;

pub use envelope::Vertex;
pub use estimate::{PathEstimate, Rate};
pub use estimator::{Parameters, PathEstimator};
pub use latency::round_trip;
pub use sample::Sample;
