//! The parser of journals of vschedd.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vsched::vsched_journal(bytes));
