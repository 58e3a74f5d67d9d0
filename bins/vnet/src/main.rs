//! TEMPORARY.
fn main() {}
