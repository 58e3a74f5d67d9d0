//! The encryption of links, with somebody in between.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vnet_fwd_secure::secure(bytes));
