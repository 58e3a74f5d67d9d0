//! Replays the committed corpus of the fuzz targets that belong to this crate.
#![allow(unreachable_pub, reason = "the fuzz targets share the files")]

#[path = "../../fuzz/src/vnet_core.rs"]
mod checks;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/");

#[test]
fn frame() {
    replay(CORPUS.to_owned() + "frame", checks::frame);
}

#[test]
fn encap() {
    replay(CORPUS.to_owned() + "encap", checks::encap);
}

#[test]
fn control() {
    replay(CORPUS.to_owned() + "control", checks::control);
}

#[test]
fn language() {
    replay(CORPUS.to_owned() + "language", checks::language);
}
