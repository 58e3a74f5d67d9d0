//! From amounts to colours and to text.

/// What the amounts of a matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
}

impl Unit {
    /// Three digits and a decimal prefix, as in `1.23 MB/s`.
    pub(crate) fn format(self, amount: f64) -> String {
        let prefixes = ["", "k", "M", "G", "T", "P", "E"];
        let mut value = amount;
        let mut index = 0;
        // 999.5 would be printed with four digits.
        while value >= 999.5 && index + 1 < prefixes.len() {
            value /= 1000.0;
            index += 1;
        }
        let digits = match value {
            ..9.995 => 2,
            ..99.95 => 1,
            _ => 0,
        };
        let number = format!("{value:.digits$}");
        let number =
            if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
        let per_second = if self == Self::BytesPerSecond { "/s" } else { "" };
        format!("{number} {}B{per_second}", prefixes[index])
    }
}

/// A logarithmic scale over the positive amounts of a matrix, one to four decades.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) least: f64,
    pub(crate) most: f64,
}

const WIDEST: f64 = 1e4;

/// Amounts that hardly differ should look so.
const NARROWEST: f64 = 10.0;

impl Scale {
    /// `None` if there is no positive amount.
    pub(crate) fn new(amounts: impl Iterator<Item = f64>) -> Option<Self> {
        let positive = amounts.filter(|amount| *amount > 0.0);
        let (least, most) = positive.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), amount| {
            (least.min(amount), most.max(amount))
        });
        (most > 0.0).then(|| Self { least: least.clamp(most / WIDEST, most / NARROWEST), most })
    }

    /// From 0 (the least, or less) to 1; `None` for nothing.
    pub(crate) fn place(&self, amount: f64) -> Option<f64> {
        if amount <= 0.0 {
            return None;
        }
        Some(((amount / self.least).ln() / (self.most / self.least).ln()).clamp(0.0, 1.0))
    }
}

/// Every eighth of viridis.
const VIRIDIS: [[u8; 3]; 9] = [
    [68, 1, 84],
    [71, 45, 123],
    [59, 82, 139],
    [44, 114, 142],
    [33, 145, 140],
    [40, 174, 128],
    [94, 201, 98],
    [173, 220, 48],
    [253, 231, 37],
];

/// The colour at a place from 0 to 1: red, green, blue.
pub(crate) fn colour(place: f64) -> [u8; 3] {
    let position = place.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let index = (position as usize).min(VIRIDIS.len() - 2);
    let part = position - index as f64;
    let mut mixed = [0; 3];
    for (channel, mixed) in mixed.iter_mut().enumerate() {
        let (from, to) = (f64::from(VIRIDIS[index][channel]), f64::from(VIRIDIS[index + 1][channel]));
        *mixed = (from + part * (to - from)).round() as u8;
    }
    mixed
}

pub(crate) fn hex(place: f64) -> String {
    let [red, green, blue] = colour(place);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_three_digits() {
        let text = |amount| Unit::Bytes.format(amount);
        assert_eq!(text(0.0), "0 B");
        assert_eq!(text(7.0), "7 B");
        assert_eq!(text(999.4), "999 B");
        assert_eq!(text(999.6), "1 kB");
        assert_eq!(text(123_456.0), "123 kB");
        assert_eq!(text(12_345_678.0), "12.3 MB");
        assert_eq!(text(1.5e10), "15 GB");
        assert_eq!(Unit::BytesPerSecond.format(1_250.0), "1.25 kB/s");
    }

    #[test]
    fn the_scale_is_logarithmic() {
        let scale = Scale::new([0.0, 1.0, 100.0].into_iter()).unwrap();
        assert_eq!(scale.place(0.0), None);
        assert_eq!(scale.place(10.0), Some(0.5));
        assert_eq!((hex(0.0), hex(0.5), hex(1.0)), ("#440154".into(), "#21918c".into(), "#fde725".into()));
        assert!(Scale::new([0.0].into_iter()).is_none());
        let flat = Scale::new([3.0, 3.0].into_iter()).unwrap();
        assert_eq!((flat.least, flat.place(3.0)), (0.3, Some(1.0)));
        let wide = Scale::new([1.0, 1e9].into_iter()).unwrap();
        assert_eq!((wide.least, wide.place(1.0)), (1e5, Some(0.0)));
    }
}
