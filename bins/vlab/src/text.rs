//! Quantities as people write them in description files.

use std::time::Duration;

/// A text that is not the quantity that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {wanted}")]
pub struct TextError {
    text: String,
    wanted: &'static str,
}

impl TextError {
    pub(crate) fn queue(text: &str) -> Self {
        Self::new(text, "queue length; write a time such as `50 ms` or a size such as `64 kB`")
    }

    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), wanted }
    }
}

const UNITS: [(&str, u128); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];

/// Parses a duration: a decimal number and `ns`, `us`, `ms` or `s`.
pub fn parse_duration(text: &str) -> Result<Duration, TextError> {
    let error =
        || TextError::new(text, "duration; write a number and a unit, such as `0.2 ms` (ns, us, ms, s)");
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(error)?;
    let (number, unit) = trimmed.split_at(split);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(error)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 {
        return Err(error());
    }
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| error())?;
    let nanoseconds = digits.checked_mul(*scale).ok_or_else(error)? / 10_u128.pow(fraction.len() as u32);
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| error())
}

/// Prints a duration so that [`parse_duration`] gives it back.
pub fn duration(value: Duration) -> String {
    let nanoseconds = value.as_nanos();
    let (unit, scale) =
        UNITS.iter().rev().find(|(_, scale)| nanoseconds >= *scale).copied().unwrap_or(("s", 1_000_000_000));
    let digits = scale.ilog10() as usize;
    let fraction = format!("{:0digits$}", nanoseconds % scale);
    let fraction = if digits == 0 { "" } else { fraction.trim_end_matches('0') };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction} {unit}", nanoseconds / scale)
}

/// The digits of a queue length.
pub(crate) fn whole(digits: &str, text: &str) -> Result<u64, TextError> {
    digits.trim().parse().map_err(|_| TextError::queue(text))
}

/// Durations as text, for `#[serde(with)]`.
pub(crate) mod serde_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::duration(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wan::QueueLimit;

    proptest! {
        #[test]
        fn durations_print_and_parse(nanoseconds in prop_oneof![0..2_000_000_u64, any::<u64>()]) {
            let value = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse_duration(&duration(value)), Ok(value));
        }

        #[test]
        fn any_text_parses_or_fails_without_panic(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = text.parse::<QueueLimit>();
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(parse_duration("0.2 ms"), Ok(Duration::from_micros(200)));
        assert_eq!(parse_duration("15ms"), Ok(Duration::from_millis(15)));
        assert_eq!(duration(Duration::from_micros(1500)), "1.5 ms");
        for bad in ["", "ms", "5", "5 min", "1.2.3 s", "-1 s", "99999999999999 s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queues_are_times_or_sizes() {
        assert_eq!("64 kB".parse(), Ok(QueueLimit::Bytes(64_000)));
        assert_eq!("1500 B".parse(), Ok(QueueLimit::Bytes(1500)));
        assert_eq!("50 ms".parse(), Ok(QueueLimit::Time(Duration::from_millis(50))));
        let error = "many".parse::<QueueLimit>().unwrap_err();
        assert!(error.to_string().contains("`64 kB`"), "{error}");
    }
}
