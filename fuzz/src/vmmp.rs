//! The parsers of `vmmp`: both wire formats, the journal, and the method DELTA.

use ::vmmp::delta::chunks::Chunks;
use ::vmmp::delta::piece::{MAX_STRETCH, Stretch};
use ::vmmp::delta::table::Table;
use ::vmmp::record::{self, Record};
use ::vmmp::{text, wire};

/// A stream of version 1.0.
pub fn text(bytes: &[u8]) {
    let mut decoder = text::Decoder::default();
    // Cut anywhere, a stream is the same.
    for part in bytes.chunks(7) {
        decoder.push(part);
        while let Some(found) = decoder.next_message() {
            let Ok(message) = found else { return };
            let printed = message.to_string();
            assert!(printed.len() <= text::MAX_MESSAGE);
            assert_eq!(printed.parse(), Ok(message));
            assert!(bytes.windows(printed.len()).any(|window| window == printed.as_bytes()));
        }
    }
}

/// A stream of version 2.
pub fn wire(bytes: &[u8]) {
    let mut decoder = wire::Decoder::default();
    for part in bytes.chunks(7) {
        decoder.push(part);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let mut written = Vec::new();
            wire::encode(&frame, &mut written).expect("what was read can be written");
            let mut again = wire::Decoder::default();
            again.push(&written);
            assert_eq!(again.next_frame(), Ok(Some(frame)));
        }
    }
}

/// What a party finds on disk when it starts: as it is, and with the checksums put
/// right, which a fuzzer can hardly do.
pub fn journal(bytes: &[u8]) {
    check_journal(bytes);
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.get_mut(record::HEADER.len()..).unwrap_or_default();
    while let Some((checksum, behind)) = rest.split_first_chunk_mut::<4>()
        && let Some((length, behind)) = behind.split_first_chunk_mut::<4>()
        && let Some((body, behind)) = behind.split_at_mut_checked(u32::from_be_bytes(*length) as usize)
    {
        *checksum = crc32fast::hash(body).to_be_bytes();
        rest = behind;
    }
    check_journal(&bytes);
}

fn check_journal(bytes: &[u8]) {
    let Ok((records, whole)) = record::read(bytes) else { return };
    assert!(whole <= bytes.len());
    let mut written = record::HEADER.to_vec();
    written.extend(records.iter().flat_map(Record::to_bytes));
    assert_eq!(record::read(&written), Ok((records, written.len())));
}

/// A stretch of a file, its chunks, and its table.
pub fn delta(bytes: &[u8]) {
    if let Ok(stretch) = Stretch::from_bytes(bytes) {
        assert!(stretch.length() <= MAX_STRETCH as u64 && stretch.data_length <= MAX_STRETCH);
        assert_eq!(stretch.to_bytes(), bytes);
    }
    if let Some(table) = Table::from_bytes(bytes) {
        assert_eq!(table.to_bytes(), bytes);
    }
    let length = bytes.chunks_exact(20).map(|entry| u64::from(entry[0])).sum();
    let chunks = Chunks::from_bytes(bytes, length);
    assert!(chunks.is_none_or(|chunks| bytes.is_empty() || chunks.find(&[0; 16]).is_none_or(|(at, _)| at <= length)));
}
