//! Capacity and load from stretches of traffic: a straight line through all of them.
//!
//! For each stretch, the time between the departures of its ends is
//!
//! ```text
//! arrived = bits / capacity + load * sent
//! ```
//!
//! since others have sent `load * capacity * sent` bits meanwhile, give or take.
//! That is the rate-response line of B. Melander, M. Björkman and P. Gunningberg
//! ("A new end-to-end probing and analysis method for estimating bandwidth
//! bottlenecks", GLOBECOM 2000), fitted to the times themselves, so that short
//! and long stretches count for what they are worth. Dense bursts (`sent` near 0)
//! tell the capacity, stretches at about the available rate tell that, whatever
//! the capacity; traffic that has neither leaves the answer open, and the
//! covariance says so.

use crate::train::Stretch;

/// A fitted line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Seconds that the bottleneck takes for a bit.
    pub(crate) per_bit: f64,
    /// The share of the capacity that others use.
    pub(crate) load: f64,
    /// Variances of the two, and their covariance.
    pub(crate) covariance: [[f64; 2]; 2],
}

/// How far the times of a stretch may be off for reasons other than traffic, in
/// seconds (stamping, scheduling).
const STAMPING: f64 = 30e-6;

/// Bits of a packet of others, for how much their traffic scatters.
const THEIRS: f64 = 8.0 * 1500.0;

/// Fits the line; `None` for fewer than a handful of stretches. `per_bit` is what
/// is known of the capacity so far, for the weights alone.
pub(crate) fn fit(stretches: impl Iterator<Item = Stretch> + Clone, per_bit: f64) -> Option<Line> {
    let weight = |s: &Stretch| 1.0 / (2.0 * STAMPING * STAMPING + THEIRS * per_bit * s.sent_s);
    let (mut count, mut bb, mut bt, mut by) = (0, 0.0, 0.0, 0.0);
    // Bursts that are all alike don't tell load and capacity apart; that the load
    // is between none and all does, to some degree.
    let (mut tt, mut ty) = (1.0 / LOAD.1.powi(2), LOAD.0 / LOAD.1.powi(2));
    for s in stretches.clone() {
        let w = weight(&s);
        // In units of the expected time, so that the matrix is well scaled.
        let b = s.bits * per_bit;
        count += 1;
        bb += w * b * b;
        bt += w * b * s.sent_s;
        tt += w * s.sent_s * s.sent_s;
        by += w * b * s.arrived_s;
        ty += w * s.sent_s * s.arrived_s;
    }
    let determinant = bb * tt - bt * bt;
    if count < MIN_STRETCHES || determinant.is_nan() || determinant <= 1e-12 * bb * tt {
        return None;
    }
    let slope = (by * tt - ty * bt) / determinant;
    let load = (ty * bb - by * bt) / determinant;
    let residual = |s: &Stretch| s.arrived_s - slope * s.bits * per_bit - load * s.sent_s;
    // What the scatter says of the scatter; of few stretches, not too little.
    let chi: f64 = stretches.map(|s| weight(&s) * residual(&s).powi(2)).sum();
    let scale = (chi / (count - 2) as f64).max(0.25);
    let [c00, c01, c11] = [tt, -bt, bb].map(|c| scale * c / determinant);
    Some(Line {
        per_bit: slope * per_bit,
        load,
        covariance: [[c00 * per_bit * per_bit, c01 * per_bit], [c01 * per_bit, c11]],
    })
}

const MIN_STRETCHES: usize = 12;

/// What is known of the load beforehand: its mean and standard deviation.
const LOAD: (f64, f64) = (0.5, 0.5);

/// The largest share of bits that come faster than the bottleneck can deliver them.
const MAX_HASTY: f64 = 0.1;

impl Line {
    /// Do the stretches contradict the line? Packets that a host held back for a
    /// while and then let go at once look like a queue that nothing drains: too many
    /// of them are faster than the capacity that they would mean.
    pub(crate) fn is_contradicted(&self, stretches: impl Iterator<Item = Stretch>) -> bool {
        let (mut hasty, mut all) = (0.0, 0.0);
        for s in stretches {
            all += s.bits;
            if s.arrived_s + 2.0 * STAMPING < 0.5 * s.bits * self.per_bit {
                hasty += s.bits;
            }
        }
        hasty > MAX_HASTY * all
    }

    /// Capacity in bit/s and its standard deviation.
    pub(crate) fn capacity(&self) -> (f64, f64) {
        let capacity = 1.0 / self.per_bit;
        (capacity, capacity * capacity * self.covariance[0][0].max(0.0).sqrt())
    }

    /// Available bandwidth in bit/s and its standard deviation.
    pub(crate) fn available(&self) -> (f64, f64) {
        let capacity = 1.0 / self.per_bit;
        let available = (1.0 - self.load) * capacity;
        // The gradient of (1 - load) / per_bit.
        let (du, dl) = (-available * capacity, -capacity);
        let [[uu, ul], [_, ll]] = self.covariance;
        let variance = du * du * uu + 2.0 * du * dl * ul + dl * dl * ll;
        (available, variance.max(0.0).sqrt())
    }
}
