//! Latency from the packets of both directions that did not wait.

use crate::envelope::{Vertex, delay_at};

/// The round-trip time of an empty packet over an empty path, in nanoseconds.
/// Half of it is the latency, where both directions are alike.
///
/// `forth` are the packets of one direction that did not wait and `back` those of
/// the other, stamped by the same two clocks. What the clocks differ by is in
/// both, once more and once less, and falls out; drift does so too where the
/// packets are of the same time. `None`: there are no such packets within `apart_ns`.
pub fn round_trip(forth: &[Vertex], back: &[Vertex], apart_ns: u64) -> Option<f64> {
    let near = |hull: &[Vertex], at: u64| {
        let (first, last) = (hull.first()?, hull.last()?);
        let inside =
            at.saturating_add(apart_ns) >= first.sent_ns && at <= last.sent_ns.saturating_add(apart_ns);
        inside.then(|| delay_at(hull, at)).flatten()
    };
    // A packet goes forth and comes back at once; and the other way round.
    let forth_first = forth.iter().filter_map(|vertex| {
        let there = vertex.sent_ns.checked_add_signed(vertex.delay_ns)?;
        Some(vertex.delay_ns as f64 + near(back, there)?)
    });
    let back_first = back.iter().filter_map(|vertex| {
        let there = vertex.sent_ns.checked_add_signed(vertex.delay_ns)?;
        Some(vertex.delay_ns as f64 + near(forth, there)?)
    });
    forth_first.chain(back_first).filter(|ns| *ns >= 0.0).min_by(f64::total_cmp)
}
