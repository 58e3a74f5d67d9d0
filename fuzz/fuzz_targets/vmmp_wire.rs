//! VMMP 2, as frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vmmp::wire(bytes));
