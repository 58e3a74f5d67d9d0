//! The parsers of `vnet-core`.

use ::vnet_core::control::{self, Decoder};
use ::vnet_core::encap::{HEADER, Header, Kind};
use ::vnet_core::{Frame, lang};

/// An Ethernet frame.
pub fn frame(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(bytes) else { return };
    assert_eq!(frame.destination().0, bytes[..6]);
    assert_eq!(frame.source().0, bytes[6..12]);
    assert_eq!(frame.ethertype().to_be_bytes(), bytes[12..14]);
    assert_eq!(frame.payload(), &bytes[14..]);
    assert_eq!(frame.bytes(), bytes);
}

/// A message on a link, and the frame in it.
pub fn encap(bytes: &[u8]) {
    let Ok((header, payload)) = Header::decode(bytes) else { return };
    assert_eq!(header.encode(), bytes[..HEADER]);
    assert_eq!(payload, &bytes[HEADER..]);
    if header.kind == Kind::Frame {
        frame(payload);
    }
}

/// What arrives on a control connection.
pub fn control(bytes: &[u8]) {
    let mut decoder = Decoder::new();
    decoder.extend(bytes);
    let mut rest = bytes;
    loop {
        let decoded = control::decode(rest);
        let from_stream = decoder.next_envelope();
        // Compared as text: a number in it may be none, which equals nothing.
        let without_length = decoded.clone().map(|decoded| decoded.map(|(envelope, _)| envelope));
        assert_eq!(format!("{without_length:?}"), format!("{from_stream:?}"));
        let Ok(Some((envelope, length))) = decoded else { return };
        let again = control::encode(&envelope).expect("what was decoded can be encoded");
        let (meaning, used) = control::decode(&again).expect("and decoded again").expect("whole");
        assert_eq!(used, again.len());
        assert_eq!(format!("{meaning:?}"), format!("{envelope:?}"));
        rest = &rest[length..];
    }
}

/// A program of the description language.
pub fn language(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let program = match lang::parse("fuzz", text) {
        Ok(program) => program,
        Err(error) => return check_place(&error, text),
    };
    assert_eq!(lang::parse("printed", &program.to_string()).as_ref(), Ok(&program));
    match program.topology() {
        Ok(topology) => assert_eq!(lang::read("printed", &topology.to_string()), Ok(topology)),
        Err(fault) => check_place(&fault.locate("fuzz", text), text),
    }
}

fn check_place(error: &lang::LangError, text: &str) {
    let line = text.split('\n').nth(error.line - 1).expect("the line is in the text");
    assert!(error.column <= line.chars().count() + 1, "{error}");
    assert_eq!(error.to_string().split('\n').count(), 4, "{error}");
}
