//! The parsers of `vnetd`: its configuration file and its journal.

use std::fs;

use ::vnetd::config::{ConfigError, load};

// It is no part of the library's interface.
#[path = "../../bins/vnetd/src/journal/record.rs"]
mod record;

/// A configuration file.
pub fn config(bytes: &[u8]) {
    let path = std::env::temp_dir().join(format!("virtuoso-fuzz-{}.toml", std::process::id()));
    fs::write(&path, bytes).expect("there is room for a temporary file");
    let loaded = load(&path);
    fs::remove_file(&path).expect("it is there");
    match loaded {
        Ok(config) => assert_eq!(config.problems(), [""; 0]),
        Err(ConfigError::Line { line, column, .. }) => {
            let text = std::str::from_utf8(bytes).expect("other bytes have no lines");
            let line = text.split('\n').nth(line - 1).expect("the line is in the text");
            assert!(column <= line.chars().count() + 1, "column {column} of {line:?}");
        }
        Err(error) => assert!(error.to_string().contains("virtuoso-fuzz"), "{error} names no file"),
    }
}

/// What a daemon finds on disk when it starts: as it is, and with the
/// checksums put right, which a fuzzer can hardly do.
pub fn journal(bytes: &[u8]) {
    check_journal(bytes);
    check_journal(&with_right_checksums(bytes));
}

fn with_right_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.get_mut(record::HEADER.len()..).unwrap_or_default();
    while let Some((checksum, envelopes)) = rest.split_first_chunk_mut::<4>()
        && let Some(length) = envelopes.first_chunk::<4>()
        && let Some((envelope, behind)) =
            envelopes.split_at_mut_checked((u32::from_be_bytes(*length) as usize).saturating_add(4))
    {
        *checksum = crc32fast::hash(envelope).to_be_bytes();
        rest = behind;
    }
    bytes
}

fn check_journal(bytes: &[u8]) {
    let Ok(contents) = record::from_bytes(bytes) else { return };
    assert!(contents.valid <= bytes.len());
    let whole = record::from_bytes(&bytes[..contents.valid]).expect("it begins like a journal");
    assert_eq!(format!("{:?}", whole.entries), format!("{:?}", contents.entries));
    assert_eq!((whole.valid, whole.end), (contents.valid, record::End::Clean));

    let mut again = record::HEADER.to_vec();
    for entry in &contents.entries {
        again.extend(record::to_bytes(entry).expect("what was read can be written"));
    }
    let again = record::from_bytes(&again).expect("it begins like a journal");
    assert_eq!(format!("{:?}", again.entries), format!("{:?}", contents.entries));
    assert_eq!(again.end, record::End::Clean);
}
