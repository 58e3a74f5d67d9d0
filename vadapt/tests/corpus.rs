//! Replays the committed corpus of the fuzz target that belongs to this crate.
#![allow(unreachable_pub, reason = "the fuzz targets share the files")]

#[path = "../../fuzz/src/vadapt.rs"]
mod checks;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn problems_and_solutions() {
    replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/problem"), checks::problem);
}
