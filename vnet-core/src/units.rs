//! Quantities with their unit in the type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A rate of data in bit/s.
///
/// Prints and parses with a decimal prefix: `100 Mbit/s`, `2.5 Gbit/s`, `64 kbit/s`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bandwidth(u64);

impl Bandwidth {
    /// A rate in bit/s.
    pub const fn from_bits_per_second(bits: u64) -> Self {
        Self(bits)
    }

    /// A rate in Mbit/s (10^6 bit/s), saturating.
    pub const fn from_mbit(megabits: u64) -> Self {
        Self(megabits.saturating_mul(1_000_000))
    }

    /// The rate in bit/s.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// The rate in Mbit/s.
    pub fn mbit(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The rate in bytes per second.
    pub fn bytes_per_second(self) -> f64 {
        self.0 as f64 / 8.0
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (divisor, unit) = match self.0 {
            0..1_000 => return write!(f, "{} bit/s", self.0),
            1_000..1_000_000 => (1_000, "kbit/s"),
            1_000_000..1_000_000_000 => (1_000_000, "Mbit/s"),
            _ => (1_000_000_000, "Gbit/s"),
        };
        let whole = self.0 / divisor;
        let rest = format!("{:0width$}", self.0 % divisor, width = divisor.ilog10() as usize);
        match rest.trim_end_matches('0') {
            "" => write!(f, "{whole} {unit}"),
            rest => write!(f, "{whole}.{rest} {unit}"),
        }
    }
}

impl fmt::Debug for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a bandwidth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a bandwidth; write a number and a unit, such as `100 Mbit/s` (bit/s, kbit/s, Mbit/s, Gbit/s)"
)]
pub struct ParseBandwidthError {
    text: String,
}

impl FromStr for Bandwidth {
    type Err = ParseBandwidthError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseBandwidthError { text: text.chars().take(64).collect() };
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(error)?;
        let (number, unit) = trimmed.split_at(split);
        let exponent = match unit.trim() {
            "bit/s" => 0,
            "kbit/s" => 3,
            "Mbit/s" => 6,
            "Gbit/s" => 9,
            _ => return Err(error()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > exponent {
            return Err(error());
        }
        let digits = format!("{whole}{fraction}{}", "0".repeat(exponent - fraction.len()));
        digits.parse().map(Self).map_err(|_| error())
    }
}

impl Serialize for Bandwidth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn print_then_parse_is_the_identity(bits: u64) {
            let bandwidth = Bandwidth(bits);
            prop_assert_eq!(bandwidth.to_string().parse::<Bandwidth>(), Ok(bandwidth));
        }
    }

    #[test]
    fn prints_with_the_fitting_prefix() {
        let text = |b| Bandwidth::from_bits_per_second(b).to_string();
        assert_eq!(text(7), "7 bit/s");
        assert_eq!(text(100_000_000), "100 Mbit/s");
        assert_eq!(text(2_500_000_000), "2.5 Gbit/s");
        assert!("100".parse::<Bandwidth>().is_err());
        assert!("1.5 bit/s".parse::<Bandwidth>().is_err());
    }
}
