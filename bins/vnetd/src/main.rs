//! The VNET daemon.
fn main() {}
