//! How much speaks for a layer.
//!
//! That a graph drawn at random has a certain shape is unlikely, and the less
//! likely it is, the more the shape says. Against that stand weights that
//! differ more than those of one layer usually do. Everything is in bits
//! (binary logarithms of likelihood ratios); the constants were set such that
//! shapes of 4 to 256 vertices are told apart with weights that differ by a
//! factor of 4 and noise of a tenth of them (`tests/synthetic.rs`).

use super::edges::{Cut, Edge};
use super::template;

/// How much the weights within one layer usually differ.
const USUAL_SPREAD: f64 = 4.5;

/// And how much weights next to each other in order, outside of that.
const USUAL_GAP: f64 = 2.5;

/// A shape that is so unlikely to come up by chance needs no other evidence.
const STRIKING: f64 = 14.0;

/// What speaks for taking `cut` for the end of a layer that has a shape of this
/// `surprise` and whose vertices are a fraction `cover` of all; `None` if too
/// little. If the matrix is `pruned`, all edges together are likely to be one.
pub(crate) fn score(edges: &[Edge], cut: Cut, cover: f64, surprise: f64, pruned: bool) -> Option<f64> {
    let strongest = edges[0].weight;
    let next = edges.get(cut.inside).map_or(0.0, |edge| edge.weight);
    // Nothing outside says nothing about where the layer ends, unless it was pruned.
    let gap = cut.gap.unwrap_or(if pruned { 4.0 } else { 2.0 });
    let is_within = next * USUAL_SPREAD >= strongest;
    let is_striking = surprise >= STRIKING && gap >= 1.5 && cover >= 0.5;
    let is_separate = !is_within && (cover >= 0.9 || gap >= 3.0 && cover >= 0.5 || gap >= 8.0);
    let is_complete = cover >= 1.0 && gap >= 2.5;
    let oddity = if cut.gap.is_none() && pruned { 0.0 } else { oddity(&edges[..cut.inside]) };
    if !(is_striking || is_separate || is_complete) || oddity > surprise {
        return None;
    }
    let separation = 6.0 * gap.min(16.0).log2() + if is_within { 0.0 } else { 12.0 };
    Some(surprise.min(60.0) + separation - oddity - 20.0 * (1.0 - cover))
}

/// How unlikely it is that the weights of one layer differ so much.
fn oddity(inside: &[Edge]) -> f64 {
    let usual = inside[0].weight / USUAL_SPREAD;
    let unusual = inside.windows(2).filter(|pair| pair[1].weight < usual);
    let gap = unusual.map(|pair| pair[0].weight / pair[1].weight).fold(1.0, f64::max);
    let spread = inside[0].weight / inside[inside.len() - 1].weight;
    10.0 * (gap / USUAL_GAP).log2().max(0.0) + 4.0 * (spread / USUAL_SPREAD).log2().max(0.0)
}

/// How unlikely it is that a random graph with as many vertices and edges has a
/// shape with this many symmetries (as a binary logarithm).
pub(crate) fn surprise(vertices: usize, edges: usize, symmetry_bits: f64) -> f64 {
    let pairs = vertices * (vertices - 1) / 2;
    if edges >= pairs {
        // There is just one graph with so many edges; that there are so many says it all.
        return (edges as f64 / 2.0).min(20.0);
    }
    let log2_factorial = template::log2_factorial;
    let graphs = log2_factorial(pairs) - log2_factorial(edges) - log2_factorial(pairs - edges);
    let labellings = log2_factorial(vertices) - symmetry_bits;
    (graphs - labellings).max(0.0)
}

/// Where a layer without a name ends: at the widest gap around the detection
/// threshold, given the cuts in the order of their gaps.
pub(crate) fn irregular_cut(edges: &[Edge], cuts: &[Cut], detection_threshold: f64) -> Cut {
    let strongest = edges[0].weight;
    let threshold = detection_threshold * strongest;
    let is_near = |cut: &&Cut| {
        let next = edges.get(cut.inside).map_or(0.0, |edge| edge.weight);
        edges[cut.inside - 1].weight >= threshold && next * USUAL_SPREAD < strongest
    };
    let widest = cuts.iter().filter(|cut| cut.gap >= Some(1.5)).find(is_near);
    widest.copied().unwrap_or_else(|| {
        let inside = edges.iter().take_while(|edge| edge.weight >= threshold).count();
        let gap = edges.get(inside).map(|next| edges[inside - 1].weight / next.weight);
        Cut { inside, gap }
    })
}
