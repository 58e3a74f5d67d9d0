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
    /// How far the stretches are from it, in expected deviations.
    scale: f64,
}

/// How far the times of a stretch may be off for reasons other than traffic, in
/// seconds (stamping, scheduling).
const STAMPING: f64 = 30e-6;

/// Bits of a packet of others, for how much their traffic scatters.
const THEIRS: f64 = 8.0 * 1500.0;

/// Fits the line; `None` for fewer than a handful of stretches. `per_bit` is what
/// is known of the capacity so far, for the weights alone.
///
/// A host that stalls makes stretches that have nothing to do with the path, and
/// long ones, which weigh much. So the line starts where half of all bits agree
/// best (least median of squares: P. J. Rousseeuw, JASA 79, 1984), and from there on
/// stretches count less the further they are from it, and not at all beyond
/// [`REJECT`] deviations (Tukey's biweight).
pub(crate) fn fit(stretches: &[Stretch], per_bit: f64) -> Option<Line> {
    if stretches.len() < MIN_STRETCHES {
        return None;
    }
    let mut line = start(stretches, per_bit);
    for _ in 0..ROUNDS {
        line = solve(stretches, &line, per_bit)?;
    }
    Some(line)
}

/// How often the weights are looked at again.
const ROUNDS: usize = 6;

/// Stretches that are off by so many deviations are something else.
const REJECT: f64 = 6.0;

/// So many stretches are enough to start from, and to see how they scatter.
const SOME: usize = 400;

/// About [`SOME`] of them, from all times.
fn some(stretches: &[Stretch]) -> impl Iterator<Item = &Stretch> + Clone {
    stretches.iter().step_by(stretches.len().div_ceil(SOME).max(1))
}

/// The inverse of the variance that is to be expected.
fn weight(s: &Stretch, per_bit: f64) -> f64 {
    1.0 / (2.0 * STAMPING * STAMPING + THEIRS * per_bit * s.sent_s)
}

/// The line that half of all bits are nearest to, among some.
fn start(stretches: &[Stretch], per_bit: f64) -> Line {
    let mut best = (f64::INFINITY, Line { per_bit, load: LOAD.0, covariance: [[0.0; 2]; 2], scale: 1.0 });
    for load in (0..=9).map(|tenths| f64::from(tenths) / 10.0) {
        let slope = median(some(stretches).map(|s| ((s.arrived_s - load * s.sent_s) / s.bits, s.bits)));
        let line = Line { per_bit: slope, load, ..best.1 };
        let scale = line.scale(stretches, per_bit);
        if slope > 0.0 && scale < best.0 {
            best = (scale, Line { scale, ..line });
        }
    }
    best.1
}

/// The median of values with weights; not a number of none.
fn median(weighted: impl Iterator<Item = (f64, f64)>) -> f64 {
    let mut all: Vec<(f64, f64)> = weighted.collect();
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let half = all.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    for (value, weight) in &all {
        sum += weight;
        if sum >= half {
            return *value;
        }
    }
    f64::NAN
}

/// One round: least squares, weighted by how near stretches are to the line so far.
fn solve(stretches: &[Stretch], line: &Line, per_bit: f64) -> Option<Line> {
    let reach = REJECT * line.scale.max(MIN_SCALE);
    let (mut count, mut bb, mut bt, mut by, mut chi) = (0.0, 0.0, 0.0, 0.0, 0.0);
    // Bursts that are all alike don't tell load and capacity apart; that the load
    // is between none and all does, to some degree.
    let (mut tt, mut ty) = (1.0 / LOAD.1.powi(2), LOAD.0 / LOAD.1.powi(2));
    for s in stretches {
        let expected = weight(s, per_bit);
        let off = line.residual(s) * expected.sqrt();
        let near = (1.0 - (off / reach).powi(2)).max(0.0).powi(2);
        let w = expected * near;
        // In units of the expected time, so that the matrix is well scaled.
        let b = s.bits * per_bit;
        count += near;
        bb += w * b * b;
        bt += w * b * s.sent_s;
        tt += w * s.sent_s * s.sent_s;
        by += w * b * s.arrived_s;
        ty += w * s.sent_s * s.arrived_s;
        chi += near * off * off;
    }
    let determinant = bb * tt - bt * bt;
    if count < MIN_STRETCHES as f64 || determinant.is_nan() || determinant <= 1e-12 * bb * tt {
        return None;
    }
    let slope = (by * tt - ty * bt) / determinant;
    let load = (ty * bb - by * bt) / determinant;
    // What the scatter says of the scatter; of few stretches, not too little.
    let variance = (chi / (count - 2.0)).max(MIN_SCALE * MIN_SCALE);
    let [c00, c01, c11] = [tt, -bt, bb].map(|c| variance * c / determinant);
    let found = Line {
        per_bit: slope * per_bit,
        load,
        covariance: [[c00 * per_bit * per_bit, c01 * per_bit], [c01 * per_bit, c11]],
        scale: 1.0,
    };
    Some(Line { scale: found.scale(stretches, per_bit), ..found })
}

/// Scatter is at least this part of what is expected.
const MIN_SCALE: f64 = 0.5;

const MIN_STRETCHES: usize = 12;

/// What is known of the load beforehand: its mean and standard deviation.
const LOAD: (f64, f64) = (0.5, 0.5);

/// The largest share of bits that come faster than the bottleneck can deliver them.
/// A few stalls make no difference, since what comes after them is left out.
const MAX_HASTY: f64 = 0.33;

impl Line {
    /// How much longer a stretch took than it should have, in seconds.
    fn residual(&self, s: &Stretch) -> f64 {
        s.arrived_s - self.per_bit * s.bits - self.load * s.sent_s
    }

    /// The deviation of the stretches in those expected, by its median.
    fn scale(&self, stretches: &[Stretch], per_bit: f64) -> f64 {
        /// Of the normal distribution, a deviation by its median.
        const PER_MEDIAN: f64 = 1.4826;
        let off = |s: &Stretch| self.residual(s).abs() * weight(s, per_bit).sqrt();
        PER_MEDIAN * median(some(stretches).map(|s| (off(s), s.bits)))
    }

    /// Do the stretches contradict the line? Packets that a host held back for a
    /// while and then let go at once look like a queue that nothing drains: too many
    /// of them are faster than the capacity that they would mean.
    pub(crate) fn is_contradicted(&self, stretches: &[Stretch]) -> bool {
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
