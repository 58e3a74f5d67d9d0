//! The links of a daemon with peers of every kind.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vnet_fwd::links(bytes));
