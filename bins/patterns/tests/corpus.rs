//! Replays the committed corpus of the fuzz targets that belong to this crate.
#![allow(unreachable_pub, reason = "the fuzz targets share the files")]

#[path = "../../../fuzz/src/patterns.rs"]
mod checks;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/");

#[test]
fn connections() {
    replay(CORPUS.to_owned() + "patterns", checks::patterns);
}
