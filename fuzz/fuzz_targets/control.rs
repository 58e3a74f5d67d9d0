//! Control connections.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vnet_core::control(bytes));
