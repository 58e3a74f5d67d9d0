//! Names, rules, topologies and wire formats of the Virtuoso overlay.
//!
//! Everything here is data and pure functions: no I/O, no clock, no threads.
//!
//! | module | holds |
//! | --- | --- |
//! | [`mac`], [`name`], [`network`], [`key`], [`units`] | the vocabulary |
//! | [`frame`] | Ethernet frames, read in place |
//! | [`rule`], [`link`], [`topology`] | rules and the strength of their matches; links; whole overlays |
//! | [`shape`] | star, ring, mesh and the other graphs that have a name |
//! | [`lang`] | the language that describes overlays |
//! | [`generate`] | overlays from hosts, VMs and a shape |
//! | [`mod@route`] | what rules do with a frame: the reference model |
//! | [`change`] | what two overlays differ in, and how to change one into the other under traffic |
//! | [`encap`] | the header of everything that crosses a link |
//! | [`control`] | the control protocol |
//!
//! ```
//! use vnet_core::{Action, Destination, InterfaceName, MacAddr, Rule, Source};
//!
//! let rule = Rule {
//!     source: Source::Any,
//!     destination: Destination::Exact(MacAddr::local(2)),
//!     action: Action::Interface(InterfaceName::new("vm2")?),
//! };
//! let default = Rule { destination: Destination::Default, ..rule.clone() };
//! let (from, to) = (MacAddr::local(1), MacAddr::local(2));
//! assert!(rule.strength(from, to) > default.strength(from, to));
//! assert_eq!(rule.strength(from, MacAddr::BROADCAST), None);
//! # Ok::<(), vnet_core::name::NameError>(())
//! ```
#![forbid(unsafe_code)]

pub mod change;
pub mod control;
pub mod encap;
pub mod frame;
pub mod generate;
pub mod key;
pub mod lang;
pub mod link;
pub mod mac;
pub mod name;
pub mod network;
pub mod route;
pub mod rule;
pub mod shape;
#[cfg(test)]
mod strategies;
pub mod topology;
pub mod units;

pub use frame::Frame;
pub use key::PublicKey;
pub use link::{Link, LinkId, LinkKind};
pub use mac::MacAddr;
pub use name::{HostName, InterfaceName, UserName};
pub use network::{NetworkId, RuleVersion};
pub use rule::{Action, Destination, EdgeRef, Rule, Source, Strength};
pub use shape::Shape;
pub use topology::{Host, Topology, TopologyWarning};
pub use units::Bandwidth;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
