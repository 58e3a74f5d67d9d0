//! The part of a core that may be reserved.

use serde::{Deserialize, Serialize};

/// The part of a core that may be reserved; the rest is the host's.
///
/// Kept in parts per million, so that admission is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Capacity(u32);

/// A capacity is more than 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the part of a core that may be reserved is {0}; it must be more than 0 and at most 1")]
pub struct CapacityError(pub f64);

impl Capacity {
    /// Nothing is kept for the host.
    pub const WHOLE: Self = Self(Self::SCALE);

    /// What is left when the host keeps 5 % of each core.
    ///
    /// The kernel keeps as much from real-time processes for ordinary ones; stopping, switching and
    /// the scheduler itself have to do with it too.
    pub const DEFAULT: Self = Self(950_000);

    pub(crate) const SCALE: u32 = 1_000_000;

    /// `fraction` of a core, rounded to one part in a million.
    pub fn new(fraction: f64) -> Result<Self, CapacityError> {
        let parts = fraction * f64::from(Self::SCALE);
        if (0.5..=f64::from(Self::SCALE)).contains(&parts) {
            Ok(Self(parts.round() as u32))
        } else {
            Err(CapacityError(fraction))
        }
    }

    /// The fraction of a core.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::SCALE)
    }

    pub(crate) fn parts(self) -> u32 {
        self.0
    }

    /// The least time in which the core gives `demand` (both in ns).
    pub(crate) fn time_for(self, demand: u64) -> u64 {
        if self == Self::WHOLE {
            return demand;
        }
        let time = (u128::from(demand) * u128::from(Self::SCALE)).div_ceil(u128::from(self.0));
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<f64> for Capacity {
    type Error = CapacityError;

    fn try_from(fraction: f64) -> Result<Self, CapacityError> {
        Self::new(fraction)
    }
}

impl From<Capacity> for f64 {
    fn from(capacity: Capacity) -> Self {
        capacity.fraction()
    }
}
