//! A traffic matrix as a heat map for the terminal.

use std::fmt::Write;

use vnet_core::{Bandwidth, MacAddr};

// From nothing to the largest entry.
const SHADES: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];
// Colours of the 256-colour palette, dark blue to yellow.
const COLORS: [u8; 10] = [16, 17, 18, 54, 90, 126, 161, 202, 214, 226];

/// Rates between vertices, in bytes per second.
pub(crate) struct HeatMap<'a> {
    pub(crate) vertices: &'a [MacAddr],
    pub(crate) rates: &'a [(u32, u32, f64)],
}

impl HeatMap<'_> {
    pub(crate) fn render(&self, color: bool) -> String {
        let count = self.vertices.len();
        let largest = self.rates.iter().map(|(_, _, rate)| *rate).fold(0.0, f64::max);
        let mut levels = vec![0; count * count];
        for &(from, to, rate) in self.rates {
            let (from, to) = (from as usize, to as usize);
            if from < count && to < count && rate > 0.0 {
                // What is there at all can be seen.
                levels[from * count + to] = ((rate / largest * 9.0).round() as usize).clamp(1, 9);
            }
        }
        let digits = count.to_string().len().max(2);
        let mut text = " ".repeat(digits + 18);
        for column in 1..=count {
            // The last digits are enough to follow a column.
            let _ = write!(text, " {}", column % 10);
        }
        text.push('\n');
        for (row, mac) in self.vertices.iter().enumerate() {
            let mut line = format!("{:>digits$} {mac}", row + 1);
            for &level in &levels[row * count..(row + 1) * count] {
                if color {
                    let _ = write!(line, "\x1b[48;5;{}m  \x1b[0m", COLORS[level]);
                } else {
                    let _ = write!(line, " {}", SHADES[level]);
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        let top = Bandwidth::from_bits_per_second((largest * 8.0).round() as u64);
        let mark = if color { format!("\x1b[48;5;{}m  \x1b[0m", COLORS[9]) } else { "@".to_owned() };
        let _ = writeln!(text, "rows send to columns; {mark} is {top}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_entry_is_darkest_and_the_least_is_seen() {
        let vertices = [MacAddr::local(1), MacAddr::local(2)];
        let rates = [(0, 1, 1e6), (1, 0, 1.0)];
        let text = HeatMap { vertices: &vertices, rates: &rates }.render(false);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with('@') && lines[2].ends_with('.'), "{text}");
        assert_eq!(lines[3], "rows send to columns; @ is 8 Mbit/s");
    }

    #[test]
    fn no_traffic_is_no_failure() {
        let text = HeatMap { vertices: &[MacAddr::local(1)], rates: &[] }.render(true);
        assert!(text.contains("0 bit/s"));
    }
}
