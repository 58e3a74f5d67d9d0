//! What must hold of every input: one function for each parser of untrusted bytes.
//!
//! The targets in `fuzz_targets/` call them with what the fuzzer makes up; the
//! tests of the crates that own the parsers include these files and call them
//! with the committed corpus.

pub mod patterns;
pub mod replay;
pub mod vadapt;
pub mod vmmp;
pub mod vnet_core;
pub mod vnet_fwd;
pub mod vnet_fwd_secure;
pub mod vnetd;
pub mod vsched;
pub mod vttif;
