//! The parser of files of tasks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virtuoso_fuzz::vsched::task_set(bytes));
