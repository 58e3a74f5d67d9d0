//! Control messages on their way through a daemon, which looks into as few of
//! them as it can: answers to requests that it handed on pass as bytes.

use vnet_core::control::{CodecError, Envelope, MAX_RECORD, decode, encode};

// Offsets in a record: see the table in `vnet_core::control`.
const LENGTH: usize = 4;
const HEAD: usize = 8;
const CLASS_AT: usize = 5;
const ID_AT: usize = 8;
const RESPONSE: u8 = 2;

/// One whole message as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record(Vec<u8>);

impl Record {
    pub(crate) fn new(envelope: &Envelope) -> Result<Self, CodecError> {
        encode(envelope).map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_response(&self) -> bool {
        self.0[CLASS_AT] == RESPONSE
    }

    pub(crate) fn id(&self) -> u32 {
        let mut id = [0; 4];
        id.copy_from_slice(&self.0[ID_AT..ID_AT + 4]);
        u32::from_be_bytes(id)
    }

    pub(crate) fn set_id(&mut self, id: u32) {
        self.0[ID_AT..ID_AT + 4].copy_from_slice(&id.to_be_bytes());
    }

    pub(crate) fn envelope(&self) -> Result<Envelope, CodecError> {
        match decode(&self.0)? {
            Some((envelope, _)) => Ok(envelope),
            // A record is whole by construction.
            None => Err(CodecError::TooShort { length: self.0.len() }),
        }
    }
}

/// Cuts a stream of bytes into records.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    buffer: Vec<u8>,
    start: usize,
}

impl Cutter {
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole record. After an error the stream can't be read on.
    pub(crate) fn next_record(&mut self) -> Result<Option<Record>, CodecError> {
        let rest = &self.buffer[self.start..];
        let Some((length, _)) = rest.split_first_chunk::<LENGTH>() else {
            self.tidy();
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_RECORD {
            return Err(CodecError::TooLong { length });
        }
        if length < HEAD {
            return Err(CodecError::TooShort { length });
        }
        let Some(record) = rest.get(..LENGTH + length) else { return Ok(None) };
        let record = Record(record.to_vec());
        self.start += LENGTH + length;
        self.tidy();
        Ok(Some(record))
    }

    /// Bytes of a record that isn't whole yet.
    pub(crate) fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    // A connection that once carried a long record should not hold its memory.
    fn tidy(&mut self) {
        if self.pending() == 0 {
            self.start = 0;
            self.buffer.clear();
            self.buffer.shrink_to(4096);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vnet_core::control::{Body, Reply, Request};

    use super::*;

    proptest! {
        #[test]
        fn records_come_out_as_they_went_in_however_the_stream_is_cut(
            ids in proptest::collection::vec(any::<u32>(), 0..10), chunk in 1_usize..40,
        ) {
            let records: Vec<_> = ids
                .iter()
                .map(|&id| Record::new(&Envelope { id, body: Body::Request(None, Request::Ping) }).unwrap())
                .collect();
            let stream: Vec<u8> = records.iter().flat_map(|record| record.bytes().to_vec()).collect();
            let mut cutter = Cutter::default();
            let mut out = Vec::new();
            for bytes in stream.chunks(chunk) {
                cutter.extend(bytes);
                while let Some(record) = cutter.next_record().unwrap() {
                    out.push(record);
                }
            }
            prop_assert_eq!(out, records);
            prop_assert_eq!(cutter.pending(), 0);
        }

        #[test]
        fn any_bytes_are_cut_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut cutter = Cutter::default();
            cutter.extend(&bytes);
            while let Ok(Some(record)) = cutter.next_record() {
                let _ = (record.is_response(), record.id(), record.envelope());
            }
        }
    }

    #[test]
    fn a_new_number_leaves_the_rest_alone() {
        let mut record = Record::new(&Envelope { id: 7, body: Body::Response(Ok(Reply::Done)) }).unwrap();
        assert!(record.is_response());
        record.set_id(9);
        assert_eq!(record.id(), 9);
        assert_eq!(record.envelope().unwrap(), Envelope { id: 9, body: Body::Response(Ok(Reply::Done)) });
    }
}
