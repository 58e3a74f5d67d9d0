//! The parser of messages of vschedd's socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vsched::vsched_protocol(bytes));
