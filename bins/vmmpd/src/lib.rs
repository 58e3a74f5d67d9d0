//! Migration of virtual machines: the daemon of a provider (`vmmpd`), the migration
//! agent (`vmmpa`) and their client (`vmmp`).
//!
//! What a migration is and why it can't lose a machine stands in the library [`vmmp`],
//! whose state machines run here with real sockets, journals and monitors.
//!
//! ```no_run
//! use vmmpd::client::{Agent, Target};
//!
//! let agent = Agent::connect(&Target::local("/run/vmmpa/control.sock"))?;
//! let version = agent.migrate("vm-1".parse()?, "provider-2".parse()?, None, |progress| {
//!     println!("{} of {} bytes", progress.done, progress.total);
//! })?;
//! println!("it is there, as version {version}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`config`] | the daemons' configuration |
//! | [`provider`] | machines, methods, the overlay that follows |
//! | [`agent`] | places and migrations, for many users at once |
//! | [`client`], [`control`] | what users say to both |
#![forbid(unsafe_code)]

pub mod agent;
mod cli;
pub mod client;
pub mod config;
pub mod control;
mod error;
mod links;
mod log;
pub mod provider;
mod server;

pub use error::Error;
