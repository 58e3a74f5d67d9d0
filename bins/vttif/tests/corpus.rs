//! Replays the committed corpus of the fuzz targets that belong to this crate.
#![allow(unreachable_pub, reason = "the fuzz targets share the files")]

#[path = "../../../fuzz/src/vttif.rs"]
mod checks;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/");

#[test]
fn matrix() {
    replay(CORPUS.to_owned() + "matrix", checks::matrix);
}

#[test]
fn capture() {
    replay(CORPUS.to_owned() + "capture", checks::capture);
}
