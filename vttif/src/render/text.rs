//! Heat maps for the terminal.

use std::fmt::Write;

use crate::matrix::TrafficMatrix;

use super::blocks::Blocks;
use super::scale::{self, Scale, Unit};

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextStyle {
    /// Plain ASCII.
    Ascii,
    /// Shades of blocks.
    Unicode,
    /// The 256 colours that nearly all terminals have.
    Ansi,
    /// All colours (`COLORTERM` is `truecolor` or `24bit`).
    TrueColor,
}

const ASCII: [&str; 9] = ["..", "::", "--", "==", "++", "**", "##", "%%", "@@"];
const SHADES: [&str; 4] = ["░░", "▒▒", "▓▓", "██"];

/// Labels longer than this are cut at the front: the end tells addresses apart.
const LONGEST_LABEL: usize = 17;

/// The width of a cell in columns.
const CELL: usize = 2;

/// A heat map of at most `width` columns: from whom (rows) to whom (columns),
/// and a legend. Where there are too many vertices, a cell is the mean of several.
pub fn heat_map(matrix: &TrafficMatrix, width: usize, style: TextStyle, unit: Unit) -> String {
    if matrix.is_empty() {
        return "no vertices\n".to_owned();
    }
    let labels: Vec<String> = matrix.labels().iter().map(|label| shortened(label)).collect();
    let index_width = (matrix.len() - 1).to_string().len();
    let label_width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let margin = index_width + 1 + label_width + 2;
    let room = (width.saturating_sub(margin) / CELL).max(1);
    let cells = Blocks::fitting(matrix, room);
    let block = cells.block;
    let scale = Scale::new(cells.entries().map(|(_, _, mean)| mean));

    let mut heading = " ".repeat(margin);
    // As many numbers as there is room for, with a space between.
    let step = (index_width + 1).div_ceil(CELL);
    let apart = step * CELL;
    for column in (0..cells.len()).step_by(step) {
        let _ = write!(heading, "{:<apart$}", column * block);
    }
    let mut out = format!("{}\n", heading.trim_end());
    for row in 0..cells.len() {
        let first = row * block;
        let bar = if style == TextStyle::Ascii { '|' } else { '│' };
        let label = &labels[first];
        let _ = write!(out, "{first:>index_width$} {label:<label_width$} {bar}");
        let mut line = String::new();
        for column in 0..cells.len() {
            let place = scale.and_then(|scale| scale.place(cells.mean(row, column)));
            line.push_str(&cell(place, style));
        }
        out.push_str(line.trim_end_matches(' '));
        out.push('\n');
    }
    out.push_str(&legend(scale, style, unit));
    if block > 1 {
        let _ = write!(out, "; each cell is the mean of {block} x {block} pairs");
    }
    out.push('\n');
    out
}

fn legend(scale: Option<Scale>, style: TextStyle, unit: Unit) -> String {
    let Some(scale) = scale else { return "no traffic".to_owned() };
    let steps = match style {
        TextStyle::Ascii => ASCII.len(),
        TextStyle::Unicode => SHADES.len(),
        TextStyle::Ansi | TextStyle::TrueColor => 9,
    };
    let bar: String = (0..steps).map(|step| cell(Some(step as f64 / (steps - 1) as f64), style)).collect();
    let (least, most) = (unit.format(scale.least), unit.format(scale.most));
    format!("{least} {bar} {most}, logarithmic; from row to column")
}

fn cell(place: Option<f64>, style: TextStyle) -> String {
    let Some(place) = place else { return " ".repeat(CELL) };
    let step = |steps: usize| ((place * steps as f64) as usize).min(steps - 1);
    let [red, green, blue] = scale::colour(place);
    match style {
        TextStyle::Ascii => ASCII[step(ASCII.len())].to_owned(),
        TextStyle::Unicode => SHADES[step(SHADES.len())].to_owned(),
        TextStyle::Ansi => {
            // The cube of 6 x 6 x 6 colours among the 256: levels 0, 95, 135, ..., 255.
            let level = |channel: u8| if channel < 48 { 0 } else { (u32::from(channel.max(95)) - 35) / 40 };
            let code = 16 + 36 * level(red) + 6 * level(green) + level(blue);
            format!("\x1b[48;5;{code}m  \x1b[0m")
        }
        TextStyle::TrueColor => format!("\x1b[48;2;{red};{green};{blue}m  \x1b[0m"),
    }
}

fn shortened(label: &str) -> String {
    // Nothing in a label may steer the terminal.
    let label: Vec<char> = label.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let cut = label.len().saturating_sub(LONGEST_LABEL);
    if cut == 0 {
        label.into_iter().collect()
    } else {
        std::iter::once('…').chain(label[cut + 1..].iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(n: usize) -> TrafficMatrix {
        let mut matrix = TrafficMatrix::new(n).unwrap();
        for v in 0..n {
            matrix.add(v, (v + 1) % n, 10_f64.powi((v % 5) as i32)).unwrap();
        }
        matrix
    }

    #[test]
    fn all_styles_show_the_same_cells() {
        let matrix = matrix(12);
        let plain = heat_map(&matrix, 80, TextStyle::Ascii, Unit::Bytes);
        assert_eq!(plain.lines().nth(1), Some(" 0 0  |  .."));
        assert_eq!(plain.lines().nth(5), Some(" 4 4  |          @@"));
        assert_eq!(
            plain.lines().last(),
            Some("1 B ..::--==++**##%%@@ 10 kB, logarithmic; from row to column")
        );
        let colour = heat_map(&matrix, 80, TextStyle::TrueColor, Unit::Bytes);
        assert!(colour.contains("\x1b[48;2;253;231;37m"));
        assert!(heat_map(&matrix, 80, TextStyle::Ansi, Unit::Bytes).contains("\x1b[48;5;"));
    }

    #[test]
    fn nothing_to_show() {
        let empty = TrafficMatrix::default();
        assert_eq!(heat_map(&empty, 80, TextStyle::Ascii, Unit::Bytes), "no vertices\n");
        let silent = TrafficMatrix::new(1).unwrap();
        assert_eq!(heat_map(&silent, 80, TextStyle::Ascii, Unit::Bytes), "     0\n0 0 |\nno traffic\n");
    }

    #[test]
    fn labels_cannot_steer_the_terminal() {
        let labels = vec!["\x1b[31mred".to_owned(), "a-rather-long-name-of-a-vm".to_owned()];
        let text =
            heat_map(&TrafficMatrix::with_labels(labels).unwrap(), 80, TextStyle::Unicode, Unit::Bytes);
        assert!(!text.contains('\x1b'));
        assert!(text.contains("…ong-name-of-a-vm"), "{text}");
    }

    proptest! {
        #[test]
        fn the_width_is_kept(n in 1_usize..300, width in 40_usize..200) {
            let text = heat_map(&matrix(n), width, TextStyle::Unicode, Unit::BytesPerSecond);
            let rows = text.lines().take(text.lines().count() - 1);
            prop_assert!(rows.map(|line| line.chars().count()).max() <= Some(width + 3));
        }
    }
}
