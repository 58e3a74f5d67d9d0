//! How much a VM will want: from what it used.

/// The factors are out of their range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("alpha is {alpha} and beta {beta}; needed are alpha > 1 and beta >= alpha, both finite")]
pub struct InvalidParameters {
    /// The over-allocation of most VMs.
    pub alpha: f64,
    /// The over-allocation of a VM that uses all that it has.
    pub beta: f64,
}

/// The weighted moving average of `usage`, oldest first: the newest of `n` measurements
/// weighs `n`, the oldest 1 (6.1). 0 without measurements.
///
/// ```
/// assert_eq!(vadapt::balance::predicted_usage(&[3.0, 6.0]), 5.0);
/// ```
pub fn predicted_usage(usage: &[f64]) -> f64 {
    let weighted: f64 = usage.iter().enumerate().map(|(index, usage)| (index + 1) as f64 * usage).sum();
    let weights = (usage.len() * (usage.len() + 1)) as f64 / 2.0;
    if weights > 0.0 { weighted / weights } else { 0.0 }
}

/// Turns predicted usage into a desired resource level.
///
/// A VM that uses little gets `alpha` times that; one that uses all of its allocation could
/// use far more, nobody knows how much, and gets `beta` times it. In between the factor
/// rises linearly, so that a small change of usage is a small change of the level.
///
/// ```
/// use vadapt::balance::Demands;
///
/// // VMs are to use 75 % of what they have; one that uses all of it wants twice as much.
/// let demands = Demands::new(1.0 / 0.75, 2.0)?;
/// assert_eq!(demands.desired(0.3), 0.3 / 0.75);
/// assert_eq!(demands.desired(1.0), 2.0);
/// # Ok::<(), vadapt::balance::InvalidParameters>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demands {
    alpha: f64,
    beta: f64,
}

impl Demands {
    /// With the over-allocation `alpha` (more than 1) of most VMs and `beta` (at least `alpha`)
    /// of those that use all they have.
    pub fn new(alpha: f64, beta: f64) -> Result<Self, InvalidParameters> {
        if alpha > 1.0 && beta >= alpha && beta.is_finite() {
            Ok(Self { alpha, beta })
        } else {
            Err(InvalidParameters { alpha, beta })
        }
    }

    /// The desired resource level of a VM with the predicted usage `usage`, both as fractions of
    /// its present allocation (6.2 to 6.4).
    pub fn desired(&self, usage: f64) -> f64 {
        let Self { alpha, beta } = *self;
        if usage < 1.0 / alpha {
            return usage * alpha;
        }
        // (6.4) prints (beta - alpha) / (1 - alpha), which falls with the usage and doesn't meet the
        // first piece; the slope that does, at 1 / alpha, is this one.
        let slope = (beta - alpha) / (1.0 - 1.0 / alpha);
        usage * (slope * (usage - 1.0) + beta)
    }
}
