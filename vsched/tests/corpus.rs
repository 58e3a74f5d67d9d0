//! Replays the committed corpus of the fuzz targets that belong to this crate.
#![allow(unreachable_pub, reason = "the fuzz targets share the files")]

#[path = "../../fuzz/src/vsched.rs"]
mod checks;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/");

#[test]
fn task_set() {
    replay(CORPUS.to_owned() + "task_set", checks::task_set);
}

#[test]
fn vsched_protocol() {
    replay(CORPUS.to_owned() + "vsched_protocol", checks::vsched_protocol);
}

#[test]
fn vsched_journal() {
    replay(CORPUS.to_owned() + "vsched_journal", checks::vsched_journal);
}
