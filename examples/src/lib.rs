//! Short programs over the crates of Virtuoso: `cargo run --example NAME`.
//!
//! | example | shows |
//! | --- | --- |
//! | `forwarder` | frames forwarded between ports in memory |
//! | `infer` | the topology of an application from its traffic matrix |
//! | `plan` | where VMs should run and which links they need |
//! | `daemon` | a minimal daemon, put together from the crates |
