//! Graphs as SVG.

use std::fmt::Write;

use crate::classify::{Classification, Layer};
use crate::matrix::TrafficMatrix;
use crate::name::TopologyName;

use super::layout;
use super::scale::{self, Scale};
use super::svg::{self, Drawing, escape};

/// The longer side of the drawing, about, in pixels.
const SIDE: f64 = 420.0;

/// The most pixels between neighbours.
const LONGEST_UNIT: f64 = 72.0;

/// Text smaller than this can't be read.
const SMALLEST_TEXT: f64 = 4.5;

/// Of layers with more edges than this, only the strongest edges are drawn.
const MOST_EDGES: usize = 4000;

/// The graph of a classified matrix as an SVG document: its layers as edges,
/// the strongest solid, the others dashed, with names, shares and confidence.
pub fn graph_svg(matrix: &TrafficMatrix, classification: &Classification) -> String {
    svg::document(&draw(matrix, classification))
}

pub(crate) fn draw(matrix: &TrafficMatrix, classification: &Classification) -> Drawing {
    let canvas = Canvas::new(&layout::places(classification));
    let mut body = String::new();
    let (caption_width, top) = caption(&mut body, classification);
    let _ = writeln!(body, "<g transform=\"translate(0 {top:.1})\">");
    let scale = Scale::new(edges(matrix, classification).map(|(.., weight)| weight));
    for (number, layer) in classification.layers.iter().enumerate().rev() {
        canvas.draw_layer(&mut body, matrix, layer, number, scale);
    }
    canvas.draw_vertices(&mut body, matrix);
    body.push_str("</g>\n");
    Drawing { width: canvas.width.max(caption_width), height: top + canvas.height, body }
}

fn edges<'a>(
    matrix: &'a TrafficMatrix,
    classification: &'a Classification,
) -> impl Iterator<Item = (u32, u32, f64)> + 'a {
    let all = classification.layers.iter().flat_map(|layer| &layer.edges);
    all.map(|(a, b)| (*a, *b, matrix.both_ways(*a as usize, *b as usize)))
}

fn strongest(matrix: &TrafficMatrix, layer: &Layer) -> Vec<(u32, u32)> {
    let mut edges = layer.edges.clone();
    if edges.len() > MOST_EDGES {
        let weight = |(a, b): &(u32, u32)| matrix.both_ways(*a as usize, *b as usize);
        edges.sort_by(|x, y| weight(y).total_cmp(&weight(x)));
        edges.truncate(MOST_EDGES);
    }
    edges
}

/// What the layers are; returns the size.
fn caption(body: &mut String, classification: &Classification) -> (f64, f64) {
    let (mut width, mut y) = (0.0_f64, 10.0);
    let mut line = |text: &str, style: &str, size: f64| {
        let _ = writeln!(body, "<text x=\"0\" y=\"{y}\" font-size=\"{size}\" {style}>{text}</text>");
        width = width.max(text.chars().count() as f64 * size * 0.58);
        y += size + 4.0;
    };
    for (number, layer) in classification.layers.iter().enumerate() {
        let first = layer.names[0].to_string();
        if number == 0 {
            line(&first, "font-weight=\"600\"", 13.0);
        } else {
            line(&format!("and {first}, dashed"), "", 11.0);
        }
        if layer.names[0] == TopologyName::None {
            continue;
        }
        let faint = "fill-opacity=\"0.6\"";
        if layer.names.len() > 1 {
            let others: Vec<String> = layer.names[1..].iter().map(ToString::to_string).collect();
            line(&format!("which is the same as {}", others.join(", ")), faint, 11.0);
        }
        let (share, count) = (layer.share * 100.0, layer.edges.len());
        line(
            &format!("{share:.1} % of the bytes, {count} edges, confidence {:.2}", layer.confidence),
            faint,
            11.0,
        );
        if layer.names[0] == TopologyName::Irregular {
            let (least, most) = layer.degree;
            line(&format!("{least} to {most} partners each, parts: {}", layer.components), faint, 11.0);
        }
    }
    (width, y + 4.0)
}

/// Vertices placed on the drawing, in pixels.
struct Canvas {
    places: Vec<(f64, f64)>,
    width: f64,
    height: f64,
    /// The distance of the two nearest vertices.
    nearest: f64,
    /// The length of one unit of the layout.
    unit: f64,
}

impl Canvas {
    fn new(places: &[(f64, f64)]) -> Self {
        let bounds = |axis: fn(&(f64, f64)) -> f64| {
            let all = places.iter().map(axis);
            let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), c| (l.min(c), h.max(c)));
            if low.is_finite() { (low, high - low) } else { (0.0, 0.0) }
        };
        let ((left, wide), (above, high)) = (bounds(|place| place.0), bounds(|place| place.1));
        let unit = (SIDE / (wide.max(high) + 1.2)).min(LONGEST_UNIT);
        let margin = unit * 0.6 + 8.0;
        let pixel = |(x, y): &(f64, f64)| ((x - left) * unit + margin, (y - above) * unit + margin);
        let apart = |(i, a): (usize, &(f64, f64))| {
            let others = places[i + 1..].iter();
            others.map(|b| (a.0 - b.0).hypot(a.1 - b.1)).fold(1.0, f64::min)
        };
        let nearest = places.iter().enumerate().map(apart).fold(1.0, f64::min);
        Self {
            places: places.iter().map(pixel).collect(),
            width: wide * unit + 2.0 * margin,
            height: high * unit + 2.0 * margin,
            nearest: nearest * unit,
            unit,
        }
    }

    fn draw_vertices(&self, body: &mut String, matrix: &TrafficMatrix) {
        let radius = (self.nearest * 0.3).clamp(1.5, 13.0);
        let tags = svg::tags(matrix);
        for ((v, (x, y)), tag) in self.places.iter().enumerate().zip(tags) {
            let label = escape(&matrix.labels()[v]);
            let _ = writeln!(
                body,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"#f4f4f5\" \
                 stroke=\"#3f3f46\"><title>{label}</title></circle>"
            );
            let size = (radius * 2.4 / (tag.chars().count().max(2) as f64 + 0.4)).min(11.0);
            if size >= SMALLEST_TEXT {
                let _ = writeln!(
                    body,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{size:.1}\" fill=\"#18181b\" \
                     text-anchor=\"middle\" pointer-events=\"none\">{}</text>",
                    y + size * 0.35,
                    escape(&tag)
                );
            }
        }
    }

    fn draw_layer(
        &self,
        body: &mut String,
        matrix: &TrafficMatrix,
        layer: &Layer,
        number: usize,
        scale: Option<Scale>,
    ) {
        let style = if number == 0 {
            "stroke-opacity=\"0.9\""
        } else {
            "stroke-opacity=\"0.5\" stroke-dasharray=\"3 3\""
        };
        let _ = writeln!(body, "<g fill=\"none\" {style}>");
        let in_grid = layer.position.values().any(|position| position.len() == 2);
        for (a, b) in strongest(matrix, layer).iter().chain(&layer.missing) {
            let (Some(from), Some(to)) = (self.places.get(*a as usize), self.places.get(*b as usize)) else {
                continue;
            };
            let weight = matrix.both_ways(*a as usize, *b as usize);
            let place = scale.and_then(|scale| scale.place(weight));
            let width = (0.6 + 2.4 * place.unwrap_or(0.0)) * (self.nearest / 30.0).clamp(0.3, 1.0);
            // An edge that the shape has and the matrix has not is grey.
            let colour = place.map_or("#d4d4d8".to_owned(), |place| scale::hex(place * 0.85));
            let _ = writeln!(
                body,
                "<path d=\"{}\" stroke=\"{colour}\" stroke-width=\"{width:.2}\"/>",
                self.path(*from, *to, in_grid)
            );
        }
        body.push_str("</g>\n");
    }

    /// A line; in a grid, one that runs along a row or column past other
    /// vertices is bent.
    fn path(&self, (ax, ay): (f64, f64), (bx, by): (f64, f64), in_grid: bool) -> String {
        let (dx, dy) = (bx - ax, by - ay);
        let length = dx.hypot(dy);
        let is_aligned = dx.abs().min(dy.abs()) < self.unit * 0.05 && length > self.unit * 1.9;
        if !(in_grid && is_aligned) {
            return format!("M{ax:.1} {ay:.1}L{bx:.1} {by:.1}");
        }
        let bend = self.unit * 0.35 + length * 0.04;
        let (nx, ny) = (-dy / length * bend, dx / length * bend);
        let (mx, my) = (f64::midpoint(ax, bx) + nx, f64::midpoint(ay, by) + ny);
        format!("M{ax:.1} {ay:.1}Q{mx:.1} {my:.1} {bx:.1} {by:.1}")
    }
}
