//! The connections of `patterns`.

use ::patterns::wire::{Decoder, Event, HEADER_BYTES, HELLO_BYTES, Header, MAX_MESSAGE};

/// What comes over a connection, in pieces of the first byte's length and whole: the
/// same either way.
pub fn patterns(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let whole = events(stream, stream.len().max(1));
    let pieces = events(stream, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
}

/// The events but for the bytes of payloads, of which the sums count; and the error.
fn events(stream: &[u8], piece: usize) -> (Vec<String>, Option<String>) {
    let (mut decoder, mut found, mut carried, mut wanted) = (Decoder::default(), Vec::new(), 0_u64, 0_u64);
    for mut input in stream.chunks(piece) {
        loop {
            let before = input.len();
            match decoder.next(&mut input) {
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
                Ok(Some(Event::Hello(hello))) => {
                    assert_eq!(hello.encode().len(), HELLO_BYTES);
                    found.push(format!("{hello:?}"));
                }
                Ok(Some(Event::Header(header))) => {
                    assert_eq!(header.encode(0).len(), HEADER_BYTES);
                    if let Header::Data { length, .. } = header {
                        assert!(length <= MAX_MESSAGE, "{length}");
                        (carried, wanted) = (0, length);
                    }
                    found.push(format!("{header:?}"));
                }
                Ok(Some(Event::Payload { offset, bytes, last, .. })) => {
                    assert!(!bytes.is_empty() && offset == carried);
                    carried += bytes.len() as u64;
                    assert_eq!(last, carried == wanted);
                    if last {
                        found.push(format!("{wanted} bytes"));
                    }
                }
            }
            assert!(input.len() < before || before == 0, "no progress");
        }
    }
    (found, None)
}
