//! Journals of migrations.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vmmp::journal(bytes));
