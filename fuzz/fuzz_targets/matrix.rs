//! Traffic matrices.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vttif::matrix(bytes));
