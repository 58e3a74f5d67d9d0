//! Heat maps as SVG.

use std::fmt::Write;

use crate::matrix::TrafficMatrix;

use super::blocks::Blocks;
use super::scale::{self, Scale, Unit};
use super::svg::{self, Drawing, escape};

/// The side of the map without labels, about, in pixels.
const SIDE: f64 = 420.0;

/// Above this many vertices, cells are too small for labels.
const MOST_LABELS: usize = 64;

/// More cells than this in a row would be too small to be seen.
const MOST_CELLS: usize = 128;

const LONGEST_LABEL: usize = 24;

/// A heat map as an SVG document: from whom (rows) to whom (columns).
pub fn heat_map_svg(matrix: &TrafficMatrix, unit: Unit) -> String {
    svg::document(&draw(matrix, unit))
}

pub(crate) fn draw(matrix: &TrafficMatrix, unit: Unit) -> Drawing {
    let blocks = Blocks::fitting(matrix, MOST_CELLS);
    let cell = (SIDE / blocks.len().max(1) as f64).clamp(1.0, 40.0);
    let side = cell * blocks.len().max(1) as f64;
    let labels = if matrix.len() <= MOST_LABELS { labels(matrix) } else { Vec::new() };
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let left = 10.0 + 6.5 * longest as f64;
    let map = Map { matrix, blocks, unit, cell, side, left, top: left + 20.0 };

    let mut body = String::new();
    let title = "font-size=\"13\" font-weight=\"600\"";
    let _ = writeln!(body, "<text x=\"{left:.1}\" y=\"10\" {title}>Traffic matrix</text>");
    map.draw_labels(&mut body, &labels);
    map.draw_frame(&mut body);
    if let Some(scale) = Scale::new(map.blocks.entries().map(|(_, _, mean)| mean)) {
        map.draw_cells(&mut body, &scale);
        map.draw_legend(&mut body, &scale);
    }
    Drawing { width: left + map.legend_width() + 4.0, height: map.top + side + 44.0, body }
}

/// The labels; with the vertex's tag in the graph, if that is another.
fn labels(matrix: &TrafficMatrix) -> Vec<String> {
    let text = |(tag, label): (String, &String)| {
        let label: String = label.chars().take(LONGEST_LABEL).collect();
        if tag == label { label } else { format!("{label} \u{b7} {tag}") }
    };
    svg::tags(matrix).into_iter().zip(matrix.labels()).map(text).collect()
}

struct Map<'a> {
    matrix: &'a TrafficMatrix,
    blocks: Blocks<'a>,
    unit: Unit,
    /// The side of a cell, and of all, in pixels.
    cell: f64,
    side: f64,
    left: f64,
    top: f64,
}

impl Map<'_> {
    fn draw_labels(&self, body: &mut String, labels: &[String]) {
        let size = (self.cell * 0.8).clamp(5.0, 11.0);
        for (v, label) in labels.iter().enumerate() {
            let shown = escape(label);
            let middle = (v as f64 + 0.5) * self.cell + size * 0.35;
            let _ = writeln!(
                body,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{size:.1}\" text-anchor=\"end\">{shown}</text>\
                 <text transform=\"translate({:.1} {:.1}) rotate(-90)\" font-size=\"{size:.1}\">{shown}</text>",
                self.left - 4.0,
                self.top + middle,
                self.left + middle,
                self.top - 4.0
            );
        }
    }

    fn draw_frame(&self, body: &mut String) {
        let Self { left, top, side, .. } = self;
        let _ = writeln!(
            body,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" \
             fill=\"currentColor\" fill-opacity=\"0.05\" stroke=\"currentColor\" stroke-opacity=\"0.3\"/>"
        );
    }

    fn draw_cells(&self, body: &mut String, scale: &Scale) {
        let gap = if self.cell > 6.0 { 0.5 } else { 0.0 };
        let size = self.cell - 2.0 * gap;
        for (row, column, mean) in self.blocks.entries() {
            let Some(place) = scale.place(mean) else { continue };
            let (x, y) =
                (self.left + column as f64 * self.cell + gap, self.top + row as f64 * self.cell + gap);
            let colour = scale::hex(place);
            let _ = write!(
                body,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{size:.1}\" height=\"{size:.1}\" fill=\"{colour}\""
            );
            if self.matrix.len() <= MOST_LABELS {
                let [from, to] = [row, column].map(|v| escape(&self.matrix.labels()[v]));
                let _ = writeln!(body, "><title>{from} to {to}: {}</title></rect>", self.unit.format(mean));
            } else {
                body.push_str("/>\n");
            }
        }
    }

    fn legend_width(&self) -> f64 {
        self.side.max(220.0)
    }

    fn draw_legend(&self, body: &mut String, scale: &Scale) {
        let steps = 32;
        let (x, y) = (self.left, self.top + self.side + 14.0);
        let width = self.legend_width() / f64::from(steps);
        for step in 0..steps {
            let colour = scale::hex(f64::from(step) / f64::from(steps - 1));
            let left = x + f64::from(step) * width;
            let _ = writeln!(
                body,
                "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"8\" fill=\"{colour}\"/>",
                width + 0.3
            );
        }
        let (right, below) = (x + self.legend_width(), y + 20.0);
        let middle = f64::midpoint(x, right);
        let block = self.blocks.block;
        let means = if block > 1 { format!(", means of {block} x {block}") } else { String::new() };
        let _ = writeln!(
            body,
            "<text x=\"{x:.1}\" y=\"{below:.1}\">{}</text>\
             <text x=\"{middle:.1}\" y=\"{below:.1}\" text-anchor=\"middle\" fill-opacity=\"0.6\">\
             row to column, log scale{means}</text>\
             <text x=\"{right:.1}\" y=\"{below:.1}\" text-anchor=\"end\">{}</text>",
            self.unit.format(scale.least),
            self.unit.format(scale.most)
        );
    }
}
