//! The journal as bytes.
//!
//! A journal is [`HEADER`] and then records:
//!
//! | bytes | field |
//! | --- | --- |
//! | 4 | CRC-32 (IEEE 802.3) of the rest of the record, big-endian |
//! | n | an envelope of the control protocol, its length first |
//!
//! The envelope is a request with number 0 (a change that was accepted), a
//! batch with number 1 (what the configuration asked for when it was last
//! applied) or a `Peer` notice (the address of a daemon).

use vnet_core::control::{Body, CodecError, Envelope, Notice, PeerAddress, Request, VERSION, decode, encode};

/// The first bytes of a journal; the digit is the version of its format.
pub(super) const HEADER: &[u8; 16] = b"vnetd journal 1\n";

const CHECKSUM: usize = 4;
const CHANGE: u32 = 0;
const BASELINE: u32 = 1;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    /// A change that was accepted.
    Change(Request),
    /// What the configuration asked for when it was last applied.
    Baseline(Vec<Request>),
    /// Where a daemon is.
    Peer(PeerAddress),
}

/// What a journal holds.
#[derive(Debug, PartialEq)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    /// Length of the header and the records that are whole.
    pub(super) valid: usize,
    pub(super) end: End,
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After a whole record.
    Clean,
    /// In the middle of a record: the daemon or the machine died while it was written.
    Torn,
    /// Before bytes that no interrupted write explains: records follow them.
    Damaged,
}

/// The journal is not one, or of another version.
#[derive(Debug, PartialEq)]
pub(super) struct ForeignHeader;

pub(super) fn to_bytes(entry: &Entry) -> Result<Vec<u8>, CodecError> {
    let envelope = match entry {
        Entry::Change(request) => Envelope { id: CHANGE, body: Body::Request(None, request.clone()) },
        Entry::Baseline(requests) => {
            Envelope { id: BASELINE, body: Body::Request(None, Request::Batch(requests.clone())) }
        }
        Entry::Peer(peer) => Envelope { id: CHANGE, body: Body::Notice(Notice::Peer(peer.clone())) },
    };
    let envelope = encode(&envelope)?;
    let mut bytes = Vec::with_capacity(CHECKSUM + envelope.len());
    bytes.extend_from_slice(&crc32fast::hash(&envelope).to_be_bytes());
    bytes.extend_from_slice(&envelope);
    Ok(bytes)
}

pub(super) fn from_bytes(bytes: &[u8]) -> Result<Contents, ForeignHeader> {
    let mut contents = Contents { entries: Vec::new(), valid: 0, end: End::Clean };
    if bytes.len() < HEADER.len() {
        if !HEADER.starts_with(bytes) && !is_zero(bytes) {
            return Err(ForeignHeader);
        }
        contents.end = if bytes.is_empty() { End::Clean } else { End::Torn };
        return Ok(contents);
    }
    if !bytes.starts_with(HEADER) {
        return Err(ForeignHeader);
    }
    contents.valid = HEADER.len();
    loop {
        let rest = &bytes[contents.valid..];
        if rest.is_empty() {
            return Ok(contents);
        }
        match read_record(rest) {
            Some((entry, length)) => {
                contents.entries.push(entry);
                contents.valid += length;
            }
            None => {
                contents.end = if holds_a_record(&rest[1..]) { End::Damaged } else { End::Torn };
                return Ok(contents);
            }
        }
    }
}

fn read_record(bytes: &[u8]) -> Option<(Entry, usize)> {
    let (checksum, rest) = bytes.split_first_chunk::<CHECKSUM>()?;
    let length = rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize)?;
    let envelope = rest.get(..length.checked_add(4)?)?;
    if crc32fast::hash(envelope) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let (envelope, length) = decode(envelope).ok()??;
    let entry = match (envelope.id, envelope.body) {
        (CHANGE, Body::Request(None, request)) => Entry::Change(request),
        (BASELINE, Body::Request(None, Request::Batch(requests))) => Entry::Baseline(requests),
        (CHANGE, Body::Notice(Notice::Peer(peer))) => Entry::Peer(peer),
        _ => return None,
    };
    Some((entry, CHECKSUM + length))
}

// Records are written one after the other, so that an interrupted write leaves
// none behind it.
fn holds_a_record(bytes: &[u8]) -> bool {
    const VERSION_AT: usize = CHECKSUM + 4;
    (0..bytes.len())
        .filter(|at| bytes.get(at + VERSION_AT) == Some(&VERSION))
        .any(|at| read_record(&bytes[at..]).is_some())
}

// A file system may lengthen a file before it writes the data.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vnet_core::network::NetworkId;
    use vnet_core::{Action, Destination, MacAddr, Rule, Source};

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let rule = (any::<[u8; 6]>(), 0_u32..3).prop_map(|(mac, network)| {
            Request::AddRule(vnet_core::control::RuleEntry {
                network: NetworkId(network),
                rule: Rule {
                    source: Source::Any,
                    destination: Destination::Exact(MacAddr(mac)),
                    action: Action::Interface("vm1".parse().unwrap()),
                },
            })
        });
        let request = prop_oneof![rule, (1_u64..99).prop_map(Request::SetConfigurationBound)];
        prop_oneof![
            request.clone().prop_map(Entry::Change),
            proptest::collection::vec(request, 0..4).prop_map(Entry::Baseline),
            (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Entry::Peer(PeerAddress {
                host: "b".parse().unwrap(),
                address: (ip, port).into(),
            })),
        ]
    }

    fn journal(entries: &[Entry]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = HEADER.to_vec();
        let mut ends = vec![bytes.len()];
        for entry in entries {
            bytes.extend(to_bytes(entry).unwrap());
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    proptest! {
        #[test]
        fn write_then_read_is_the_identity(entries in proptest::collection::vec(entry(), 0..8)) {
            let (bytes, _) = journal(&entries);
            let contents = from_bytes(&bytes).unwrap();
            prop_assert_eq!(&contents, &Contents { entries, valid: bytes.len(), end: End::Clean });
        }

        #[test]
        fn a_torn_tail_costs_no_whole_record(
            entries in proptest::collection::vec(entry(), 1..8), cut in any::<proptest::sample::Index>(), zeros in 0_usize..40,
        ) {
            let (mut bytes, ends) = journal(&entries);
            bytes.truncate(cut.index(bytes.len()));
            let whole = ends.iter().filter(|end| **end <= bytes.len()).count().saturating_sub(1);
            let length = bytes.len();
            bytes.resize(length + zeros, 0);
            if length >= HEADER.len() || zeros == 0 {
                let contents = from_bytes(&bytes).unwrap();
                // Zeros may complete a record whose missing bytes were zeros.
                prop_assert!(contents.entries.len() >= whole);
                prop_assert_eq!(&contents.entries[..whole], &entries[..whole]);
                if zeros == 0 {
                    prop_assert_ne!(contents.end, End::Damaged);
                }
            }
        }

        #[test]
        fn a_flipped_bit_costs_its_record_and_what_follows(
            entries in proptest::collection::vec(entry(), 1..8), at in any::<proptest::sample::Index>(), bit in 0_u8..8,
        ) {
            let (mut bytes, ends) = journal(&entries);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            match from_bytes(&bytes) {
                Err(ForeignHeader) => prop_assert!(at < HEADER.len()),
                Ok(contents) => {
                    let before = ends.iter().filter(|end| **end <= at).count() - 1;
                    prop_assert_eq!(&contents.entries[..], &entries[..before]);
                    prop_assert_ne!(contents.end, End::Clean);
                }
            }
        }

        #[test]
        fn any_bytes_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_bytes(&bytes);
            let _ = from_bytes(&[HEADER.as_slice(), &bytes].concat());
        }
    }

    #[test]
    fn damage_before_a_whole_record_is_told_from_a_torn_tail() {
        let entry = Entry::Change(Request::SetConfigurationBound(7));
        let (mut bytes, ends) = journal(&[entry.clone(), entry]);
        bytes[ends[0]] ^= 1;
        assert_eq!(from_bytes(&bytes).unwrap().end, End::Damaged);
        assert_eq!(from_bytes(b"#!/bin/sh\necho hello world"), Err(ForeignHeader));
    }
}
