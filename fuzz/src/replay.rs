//! The committed inputs once more, for the tests of the crates that own the parsers.

use std::fs;
use std::path::Path;

/// Calls `check` with every committed input in `folder`.
pub fn replay(folder: impl AsRef<Path>, check: fn(&[u8])) {
    let folder = folder.as_ref();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut replayed = 0;
    for entry in entries {
        let entry = entry.expect("the folder can be listed");
        // Others are what a run of the fuzzer has left.
        if !entry.file_name().to_string_lossy().starts_with("seed-") {
            continue;
        }
        eprintln!("{}", entry.path().display());
        check(&fs::read(entry.path()).expect("the input can be read"));
        replayed += 1;
    }
    assert!(replayed >= 5, "{} holds {replayed} inputs", folder.display());
}
