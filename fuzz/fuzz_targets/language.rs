//! Programs of the description language.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vnet_core::language(bytes));
