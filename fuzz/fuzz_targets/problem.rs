//! The parsers of adaptation problems and their solutions.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vadapt::problem(bytes));
