//! What the method DELTA hears and finds beside files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vmmp::delta(bytes));
