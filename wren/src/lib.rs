//! Infers what a network path can do from the traffic that passes it anyway.
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
