//! Medians, and how sure they are.

use std::fmt;

use serde::Serialize;

/// A median, and where it is with a probability of 95 %: by the ranks of a sign test, since
/// how many values are below it is binomially distributed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let reach = 0.98 / (values.len() as f64).sqrt();
        let quantile = |share: f64| {
            let at = (values.len() as f64 * share).max(0.0) as usize;
            values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        Self { median: quantile(0.5), low: quantile(0.5 - reach), high: quantile(0.5 + reach) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+.2} ({:+.2} to {:+.2})", self.median, self.low, self.high)
    }
}

/// By how much one is more than the other, in percent.
pub(crate) fn percent(one: f64, other: f64) -> f64 {
    (one / other - 1.0) * 100.0
}
