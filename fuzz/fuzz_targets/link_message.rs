//! What daemons say to each other about a link.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vnet_fwd::link_message(bytes));
