//! The forwarding engine of the Virtuoso overlay: rule table, cache, ports and links.
#![deny(unsafe_code)]

pub mod book;
pub mod io;
pub mod link;
pub mod publish;
pub mod stats;
pub mod table;
pub mod traffic;
mod trie;

pub use book::{RuleBook, RuleError};
pub use io::{DataPlane, DataPlaneConfig, Event, PlaneError, Port, StartError};
pub use link::LinkTiming;
pub use stats::{DropReason, Drops, PortCounters};
