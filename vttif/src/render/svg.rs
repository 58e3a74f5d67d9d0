//! Pieces of SVG.

use crate::matrix::TrafficMatrix;

/// A drawing, to be placed in a document.
pub(crate) struct Drawing {
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// SVG elements, from (0, 0) to (width, height).
    pub(crate) body: String,
}

const MARGIN: f64 = 12.0;

const LONGEST_TAG: usize = 5;

pub(crate) fn document(drawing: &Drawing) -> String {
    side_by_side(std::slice::from_ref(drawing))
}

/// A document of drawings from left to right.
pub(crate) fn side_by_side(drawings: &[Drawing]) -> String {
    let width: f64 = drawings.iter().map(|drawing| drawing.width + MARGIN).sum::<f64>() + MARGIN;
    let height = drawings.iter().map(|drawing| drawing.height).fold(0.0, f64::max) + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"11\" fill=\"currentColor\">\n"
    );
    let mut x = MARGIN;
    for drawing in drawings {
        out.push_str(&format!("<g transform=\"translate({x:.1} {MARGIN})\">\n{}</g>\n", drawing.body));
        x += drawing.width + MARGIN;
    }
    out.push_str("</svg>\n");
    out
}

/// Short texts for the vertices: their labels, or if those are long, their indices.
pub(crate) fn tags(matrix: &TrafficMatrix) -> Vec<String> {
    if matrix.labels().iter().all(|label| label.chars().count() <= LONGEST_TAG) {
        return matrix.labels().to_vec();
    }
    (0..matrix.len()).map(|v| v.to_string()).collect()
}

/// Text as it may stand between tags and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML knows no other control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
