//! VMMP, the virtual machine migration protocol: a machine moves between providers,
//! and at every moment at most one of them can run it.
//!
//! The core does no I/O: [`Agent`] and [`Provider`] take messages and times in and
//! give [`Action`]s out, which are carried out in order. Version 1.0 is text
//! ([`text`], the papers' five messages), version 2 is frames ([`wire`]).
//!
//! ```
//! use vmmp::text::Message;
//!
//! let message: Message = "<VMMP 1.0 QUERY vm-1 METHODS>".parse()?;
//! assert_eq!(message.to_string(), "<VMMP 1.0 QUERY vm-1 METHODS>");
//! # Ok::<(), vmmp::text::TextError>(())
//! ```
//!
//! How a migration can't lose or double a machine: [`origin`] and [`destination`]
//! have the state diagrams. In short, the origin gives the machine up (it is in its
//! journal that it can't run there) before the destination takes it (it is in its
//! journal that it is there), and from then on the destination's word counts. The
//! [`simulator`] tries crashes, cuts and delays at every message, every journal write
//! and every effect.
//!
//! | module | holds |
//! | --- | --- |
//! | [`text`], [`wire`] | both wire formats |
//! | [`message`], [`action`], [`record`] | what goes between parties, to the driver, and into journals |
//! | [`agent`], [`origin`], [`destination`], [`provider`] | the state machines |
//! | [`delta`], [`copy`] | methods: only what is missing, or all; they do I/O |
//! | [`io`] | encrypted connections, and the journal's file |
//! | [`simulator`] | a network, disks and monitors with faults, and what must hold |
#![forbid(unsafe_code)]

pub mod action;
pub mod agent;
pub mod copy;
pub mod delta;
pub mod destination;
pub mod io;
pub mod message;
mod name;
pub mod origin;
pub mod provider;
pub mod record;
pub mod simulator;
pub mod text;
mod timing;
pub mod wire;

pub use action::{Action, Effect, Outcome, Party};
pub use agent::{Agent, News, RefusedRequest};
pub use message::{Message, Progress, Request};
pub use name::{MachineId, MethodName, MigrationId, NameError, PeerName, Ticket};
pub use provider::Provider;
pub use record::Record;
pub use timing::{Moment, Timing};
