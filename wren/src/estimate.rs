//! What is found out of a path.

use crate::envelope::Vertex;

/// A rate in bit/s that is most likely `value`, and `low` to `high` in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The least that is likely.
    pub low: f64,
    /// The best estimate.
    pub value: f64,
    /// The most that is likely.
    pub high: f64,
}

/// What is known of one direction of a path.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PathEstimate {
    /// What the slowest link can carry; `None`: unknown.
    pub capacity: Option<Rate>,
    /// What others leave of it; `None`: unknown, as a rule since the
    /// application sends too little to tell.
    pub available: Option<Rate>,
    /// The highest rate that the path has been seen to carry, in bit/s.
    pub carried: f64,
    /// Packets that did not wait: from those of both directions follows the
    /// latency ([`round_trip`](crate::round_trip)).
    pub envelope: Vec<Vertex>,
    /// How many stretches of traffic this is from.
    pub stretches: usize,
    /// How old the latest of them is, in nanoseconds; `None`: there is none.
    pub age_ns: Option<u64>,
}
