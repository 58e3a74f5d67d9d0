//! Pictures of traffic: heat maps for the terminal and as SVG, graphs as SVG.
//!
//! Amounts are shown on a logarithmic scale of colours (viridis, by S. van der
//! Walt and N. Smith: even to the eye, and readable without colour vision).
//! Everything is returned as text; nothing is loaded from elsewhere, so that an
//! SVG may be put into a page as it is.
//!
//! ```
//! use vttif::render::{self, TextStyle, Unit};
//! use vttif::TrafficMatrix;
//!
//! let matrix = TrafficMatrix::from_csv("a,b,1000\nb,c,100\nc,a,10\n")?;
//! let text = render::heat_map(&matrix, 80, TextStyle::Unicode, Unit::Bytes);
//! assert_eq!(
//!     text,
//!     "     0 1 2
//! 0 a │  ██
//! 1 b │    ▓▓
//! 2 c │░░
//! 10 B ░░▒▒▓▓██ 1 kB, logarithmic; from row to column
//! "
//! );
//! # Ok::<(), vttif::MatrixError>(())
//! ```

mod blocks;
mod graph;
mod heat;
mod layout;
mod scale;
mod svg;
mod text;

pub use graph::graph_svg;
pub use heat::heat_map_svg;
pub use scale::Unit;
pub use text::{TextStyle, heat_map};

use crate::classify::Classification;
use crate::matrix::TrafficMatrix;

/// The heat map and the graph of a classified matrix side by side, as one SVG document.
pub fn svg(matrix: &TrafficMatrix, classification: &Classification, unit: Unit) -> String {
    let heat = heat::draw(matrix, unit);
    let graph = graph::draw(matrix, classification);
    svg::side_by_side(&[heat, graph])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::classify::{ClassifyOptions, classify};

    use super::*;

    /// Are all tags closed, in the right order?
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let Some((tag, _)) = tag.split_once('>') else { return false };
            let name = tag.split_whitespace().next().unwrap_or("").trim_end_matches('/');
            if let Some(name) = name.strip_prefix('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        open.is_empty() && !svg.contains("NaN") && !svg.contains("inf")
    }

    fn both(matrix: &TrafficMatrix) -> String {
        svg(matrix, &classify(matrix, &ClassifyOptions::default()), Unit::Bytes)
    }

    #[test]
    fn labels_do_not_break_the_document() {
        let text = "<script>,\"&'\",10\n\"&'\",]]>,5\n";
        let svg = both(&TrafficMatrix::from_csv(text).unwrap());
        assert!(is_well_formed(&svg), "{svg}");
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script"));
    }

    #[test]
    fn large_matrices_make_documents_of_bounded_size() {
        let mut matrix = TrafficMatrix::new(600).unwrap();
        for a in 0..600 {
            for b in 0..600 {
                matrix.add(a, b, (a + b) as f64).unwrap();
            }
        }
        let svg = both(&matrix);
        assert!(is_well_formed(&svg));
        assert!(svg.len() < 4_000_000, "{} bytes", svg.len());
    }

    proptest! {
        #[test]
        fn any_matrix_can_be_drawn(n in 0_usize..12, amounts in proptest::collection::vec(-5.0..20.0_f64, 144)) {
            let mut matrix = TrafficMatrix::new(n).unwrap();
            for a in 0..n {
                for b in 0..n {
                    matrix.add(a, b, amounts[a * 12 + b].max(0.0).exp_m1()).unwrap();
                }
            }
            prop_assert!(is_well_formed(&both(&matrix)));
        }
    }
}
