//! The forwarding engine of the Virtuoso overlay: rules, cache, ports and links.
//!
//! The core does no I/O. A [`RuleBook`] holds the rule sets that an operator
//! changes; it compiles them as they change and publishes them to a [`Forwarder`],
//! which says where each frame goes and counts it. [`link::LinkSet`] is the
//! life of the links to other daemons: messages and times in, messages out.
//!
//! ```
//! use vnet_core::{Action, Destination, HostName, InterfaceName, MacAddr, NetworkId, Rule, Source};
//! use vnet_fwd::{Forwarder, FrameInfo, Ingress, RuleBook};
//!
//! let (network, vm1, vm2) = (NetworkId(1), InterfaceName::new("vm1")?, InterfaceName::new("vm2")?);
//! let mut book = RuleBook::new(HostName::new("alpha")?);
//! let destination = Destination::Exact(MacAddr::local(2));
//! book.add(network, Rule { source: Source::Any, destination, action: Action::Interface(vm2.clone()) })?;
//!
//! let mut forwarder = Forwarder::new(book.reader(), 64, 1024, 1024);
//! let [vm1, vm2] = [vm1, vm2].map(|name| forwarder.add_interface(name, network));
//! let frame = FrameInfo { source: MacAddr::local(1), destination: MacAddr::local(2), bytes: 60, frames: 1 };
//! let mut outputs = Vec::new();
//! forwarder.forward(Ingress::Interface(vm1), frame, |port, _label| Ok(outputs.push(port)));
//! assert_eq!(outputs, [vm2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`io`] puts that to work: a [`DataPlane`] is a thread that forwards between
//! TAP devices, packet sockets, in-memory [`channel`]s, the sockets of QEMU guests
//! ([`StreamPort`]), ports of your own (see [`Port`]), and links over UDP and TCP.
//!
//! | module | holds |
//! | --- | --- |
//! | [`book`], [`table`], [`publish`] | rule sets, compiled, and on their way to workers |
//! | [`engine`], `cache` | what happens to a frame |
//! | [`stats`], [`traffic`] | counters of drops and ports; the local traffic matrix |
//! | [`offload`] | checksums and segments that the sender of a frame has left undone |
//! | [`link`] | links between daemons |
//! | [`secure`] | their encryption |
//! | [`io`] | threads, sockets, devices, the clock |
#![deny(unsafe_code)]

pub mod book;
mod cache;
mod checksum;
pub mod engine;
pub mod io;
mod limit;
pub mod link;
pub mod offload;
pub mod port;
pub mod publish;
pub mod secure;
pub mod stats;
pub mod table;
pub mod traffic;
mod trie;

pub use book::{RuleBook, RuleError};
pub use engine::{Forwarder, FrameInfo, Ingress, Label};
pub use io::{
    DataPlane, DataPlaneConfig, Encryption, Event, InterfaceMtu, KeyFileError, LinkChange, OffloadSwitches,
    PlaneError, Port, StartError, StreamPort, channel,
};
pub use link::LinkTiming;
pub use port::PortId;
pub use publish::Reader;
pub use secure::PrivateKey;
pub use stats::{DropReason, Drops, PortCounters};
pub use table::RuleTable;
pub use traffic::Untracked;
