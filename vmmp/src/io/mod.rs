//! What touches the world: connections and the journal's file.
#![allow(clippy::disallowed_methods)]

pub mod channel;
pub mod greeting;
pub mod journal;
pub mod stream;
