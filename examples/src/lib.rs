//! Short programs over the crates of Virtuoso: `cargo run --example NAME`.
//!
//! | example | shows |
//! | --- | --- |
//! | `forwarder` | frames forwarded between ports in memory |
//! | `port` | the engine in a program with a port type of its own |
//! | `virtual_machine` | a QEMU guest that joins without any privilege |
//! | `infer` | the topology of an application from its traffic matrix |
//! | `plan` | where VMs should run and which links they need |
//! | `daemon` | a minimal daemon, put together from the crates |
