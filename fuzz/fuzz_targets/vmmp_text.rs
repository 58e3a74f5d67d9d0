//! VMMP 1.0, as text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vmmp::text(bytes));
