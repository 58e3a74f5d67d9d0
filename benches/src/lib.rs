//! What the measurements share.
#![forbid(unsafe_code)]

pub mod migrate;
pub mod wren;

use std::time::Duration;

/// The median of some times; zero of none.
pub fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The exponent `k` of the power law `y = c x^k` that fits the points best
/// (least squares of the logarithms). Not a number for fewer than two points.
pub fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (sx, sy) = logs.iter().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let (mx, my) = (sx / n, sy / n);
    let (sxy, sxx) = logs
        .iter()
        .fold((0.0, 0.0), |(sxy, sxx), (x, y)| (sxy + (x - mx) * (y - my), sxx + (x - mx).powi(2)));
    sxy / sxx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_law_is_found() {
        let points: Vec<_> = [8.0, 16.0, 64.0_f64].iter().map(|x| (*x, 3.0 * x.powf(1.7))).collect();
        assert!((exponent(&points) - 1.7).abs() < 1e-9);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let ms = Duration::from_millis;
        assert_eq!(median(&[ms(9), ms(1), ms(5)]), ms(5));
        assert_eq!(median(&[]), Duration::ZERO);
    }
}
