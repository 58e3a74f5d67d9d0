//! Version 1.0, byte for byte.

use proptest::prelude::*;
use vmmp::text::{Decoder, MAX_MESSAGE, Message};
use vmmp::{MachineId, MethodName};

fn machine() -> MachineId {
    MachineId::new("2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00").expect("a UUID is an identifier")
}

fn method(name: &str) -> MethodName {
    MethodName::new(name).expect("it is a name")
}

#[test]
fn the_printed_messages_are_produced_and_accepted() {
    let machine = machine();
    let messages = [
        Message::Query { machine: machine.clone() },
        Message::Results { machine: machine.clone(), methods: vec![method("RSYNC"), method("SCP")] },
        Message::Results { machine: machine.clone(), methods: vec![] },
        Message::Req {
            machine: machine.clone(),
            version: 7,
            origin: "10.0.0.1:4000".parse().unwrap(),
            central: "10.0.0.9:10000".parse().unwrap(),
            method: method("RSYNC"),
        },
        Message::Heartbeat { machine: machine.clone() },
        Message::Resp { machine: machine.clone(), version: 8, success: true },
        Message::Resp { machine, version: 7, success: false },
    ];
    let printed: Vec<String> = messages.iter().map(Message::to_string).collect();
    insta::assert_snapshot!(printed.join("\n"), @r"
    <VMMP 1.0 QUERY 2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00 METHODS>
    <VMMP 1.0 RESULTS 2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00 2 RSYNC SCP>
    <VMMP 1.0 RESULTS 2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00 0>
    <VMMP 1.0 REQ 2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00 7 10.0.0.1 4000 10.0.0.9 10000 RSYNC>
    <VMMP 1.0 HEARTBEAT 2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00>
    <VMMP 1.0 RESP 2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00 8 SUCCESS>
    <VMMP 1.0 RESP 2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00 7 FAIL>
    ");
    for (text, message) in printed.iter().zip(&messages) {
        assert_eq!(text.parse().as_ref(), Ok(message));
    }
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    let cases = [
        ("VMMP 1.0 QUERY a METHODS>", "begins with `<VMMP 1.0 `"),
        ("<VMMP 1.1 QUERY a METHODS>", "`VMMP 1.1` is not `VMMP 1.0`"),
        ("<HTTP 1.0 QUERY a METHODS>", "`HTTP 1.0` is not"),
        ("<VMMP 1.0 STEAL a>", "`STEAL` is no message"),
        ("<VMMP 1.0 QUERY a>", "QUERY has 1 words after its name; 2 are wanted"),
        ("<VMMP 1.0 QUERY a METHODS b>", "QUERY has 3 words"),
        ("<VMMP 1.0 QUERY  METHODS>", "MACHINE_ID of QUERY is ``"),
        ("<VMMP 1.0 QUERY ../etc METHODS>", "MACHINE_ID of QUERY is `../etc`"),
        ("<VMMP 1.0 RESULTS a 2 SCP>", "N of RESULTS is `2`: 1 methods follow"),
        ("<VMMP 1.0 RESULTS a 99 SCP>", "16 methods at most"),
        ("<VMMP 1.0 REQ a -1 1.2.3.4 1 1.2.3.4 1 SCP>", "VERSION of REQ is `-1`"),
        ("<VMMP 1.0 REQ a 01 1.2.3.4 1 1.2.3.4 1 SCP>", "a decimal number is wanted"),
        ("<VMMP 1.0 REQ a 1 1.2.3 1 1.2.3.4 1 SCP>", "ORIG_IP of REQ is `1.2.3`"),
        ("<VMMP 1.0 REQ a 1 1.2.3.4 1 1.2.3.4 70000 SCP>", "CENTRAL_PORT of REQ is `70000`"),
        ("<VMMP 1.0 REQ a 1 1.2.3.4 1 1.2.3.4 1 scp>", "METHOD of REQ is `scp`"),
        ("<VMMP 1.0 RESP a 1 MAYBE>", "SUCCESS|FAIL of RESP is `MAYBE`"),
        ("<VMMP 1.0 RESP a 1 \u{e9}>", "octet 0xc3"),
    ];
    for (text, reason) in cases {
        let error = text.parse::<Message>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_stream_is_cut_into_messages_and_limited() {
    let mut decoder = Decoder::default();
    let text = "<VMMP 1.0 HEARTBEAT a>\r\n<VMMP 1.0 HEARTBEAT b><VMMP 1.0 HEART";
    let mut found = Vec::new();
    for byte in text.bytes() {
        decoder.push(&[byte]);
        while let Some(message) = decoder.next_message() {
            found.push(message.unwrap().to_string());
        }
    }
    assert_eq!(found, ["<VMMP 1.0 HEARTBEAT a>", "<VMMP 1.0 HEARTBEAT b>"]);

    let mut decoder = Decoder::default();
    decoder.push(&vec![b'<'; MAX_MESSAGE - 1]);
    assert!(decoder.next_message().is_none());
    decoder.push(b"<");
    assert!(decoder.next_message().unwrap().unwrap_err().to_string().contains("more than"));
}

proptest! {
    #[test]
    fn what_is_read_is_written_the_same(text in "<VMMP 1.0 (QUERY|RESP|HEARTBEAT|REQ|RESULTS)( [0-9A-Za-z.:]{1,9}){1,8}>") {
        if let Ok(message) = text.parse::<Message>() {
            prop_assert_eq!(message.to_string(), text);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        while let Some(Ok(_)) = decoder.next_message() {}
    }
}
