//! Sizes and durations as people write them: `8KiB`, `1MB`, `500us`, `30s`.

use std::time::Duration;

/// A text that is not a size or not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {wanted}")]
pub struct ParseUnitError {
    text: String,
    wanted: &'static str,
}

const SIZES: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

const NANOSECONDS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
];

/// Parses a number of bytes: a number and `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB` or nothing.
///
/// # Errors
///
/// Anything else, and more than a `u64` holds.
///
/// ```
/// assert_eq!(patterns::units::parse_size("8KiB"), Ok(8192));
/// assert!(patterns::units::parse_size("8 parsecs").is_err());
/// ```
pub fn parse_size(text: &str) -> Result<u64, ParseUnitError> {
    parse(text, &SIZES).ok_or_else(|| {
        error(text, "size; write a number and a unit, such as 8KiB (B, KiB, MiB, GiB, kB, MB, GB)")
    })
}

/// Parses a duration: a number and `ns`, `us`, `ms`, `s` or `min`; `0` needs no unit.
///
/// # Errors
///
/// Anything else, and more nanoseconds than a `u64` holds (584 years).
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(patterns::units::parse_duration("1.5ms"), Ok(Duration::from_micros(1500)));
/// assert!(patterns::units::parse_duration("30").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    parse(text, &NANOSECONDS)
        .map(Duration::from_nanos)
        .ok_or_else(|| error(text, "duration; write a number and a unit, such as 30s (ns, us, ms, s, min)"))
}

/// Prints a number of bytes with the largest binary unit that leaves no fraction.
pub fn size(bytes: u64) -> String {
    let (unit, factor) = [SIZES[4], SIZES[3], SIZES[2], SIZES[1]]
        .into_iter()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor))
        .unwrap_or(SIZES[1]);
    format!("{} {unit}", bytes / factor)
}

fn error(text: &str, wanted: &'static str) -> ParseUnitError {
    ParseUnitError { text: text.chars().take(64).collect(), wanted }
}

/// A decimal number times the factor of its unit, exact or rounded down.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| *name == unit.trim())?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let number = whole.parse::<u64>().ok()? as u128 * scale + fraction;
    u64::try_from(number.checked_mul(factor as u128)? / scale).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_durations_are_read() {
        for (text, bytes) in [("1", 1), ("8KiB", 8192), ("1.5 MiB", 3 << 19), ("2kB", 2000), ("0", 0)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for (text, micros) in [("1ms", 1000), ("0", 0), ("1.5s", 1_500_000), ("2 min", 120_000_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["", "KiB", "1.2.3", "-1", "1e3", "1 kb", "99999999999999999999", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        for text in ["", "1", "ms", "1h", "-1s", "9999999999999min"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_is_read_back(bytes: u64) {
            prop_assert_eq!(parse_size(&size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,30}|[0-9.]{0,30}[a-zA-Z]{0,3}") {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
