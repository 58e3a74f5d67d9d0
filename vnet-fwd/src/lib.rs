//! The forwarding engine of the Virtuoso overlay: rule table, cache, ports and links.
#![deny(unsafe_code)]

pub mod book;
mod cache;
mod checksum;
pub mod engine;
pub mod io;
mod limit;
pub mod link;
pub mod port;
pub mod publish;
pub mod stats;
pub mod table;
pub mod traffic;
mod trie;

pub use book::{RuleBook, RuleError};
pub use engine::{Forwarder, FrameInfo, Ingress, Label};
pub use io::channel;
pub use io::{DataPlane, DataPlaneConfig, Event, PlaneError, Port, StartError};
pub use link::LinkTiming;
pub use port::PortId;
pub use stats::{DropReason, Drops, PortCounters};
