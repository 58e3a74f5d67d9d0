//! Replays the committed corpus of the fuzz targets that belong to this crate.
#![allow(unreachable_pub, reason = "the fuzz targets share the files")]

#[path = "../../fuzz/src/vmmp.rs"]
mod checks;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/");

#[test]
fn text() {
    replay(CORPUS.to_owned() + "vmmp_text", checks::text);
}

#[test]
fn wire() {
    replay(CORPUS.to_owned() + "vmmp_wire", checks::wire);
}

#[test]
fn journal() {
    replay(CORPUS.to_owned() + "vmmp_journal", checks::journal);
}

#[test]
fn delta() {
    replay(CORPUS.to_owned() + "vmmp_delta", checks::delta);
}
