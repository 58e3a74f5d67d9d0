//! Replays the committed corpus of the fuzz targets that belong to this crate.
#![allow(unreachable_pub, reason = "the fuzz targets share the files")]
#![allow(clippy::disallowed_methods, reason = "a fuzz target starts its own clock")]

#[path = "../../fuzz/src/vnet_fwd.rs"]
mod checks;
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/vnet_fwd_secure.rs"]
mod secure;

use replay::replay;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/");

#[test]
fn link_message() {
    replay(CORPUS.to_owned() + "link_message", checks::link_message);
}

#[test]
fn links() {
    replay(CORPUS.to_owned() + "links", checks::links);
}

#[test]
fn secure() {
    replay(CORPUS.to_owned() + "secure", secure::secure);
}
