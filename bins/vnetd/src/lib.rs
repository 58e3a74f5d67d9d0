//! The VNET daemon and the client library for it.
//!
//! A daemon runs on every host. It carries frames between its interfaces and
//! the links to other daemons, by rules that clients give it over its control
//! socket. One of the daemons is the Proxy: the others register with it, keep
//! a link to it, and through it every daemon can be reached from every other.
//!
//! | part | does |
//! | --- | --- |
//! | [`run`], [`spawn`] | a daemon as this process, or on a thread of it |
//! | [`main_from_args`] | the program `vnetd` |
//! | [`Config`], [`config`] | what a daemon is told at its start |
//! | [`client`] | calls to daemons, and the reconfiguration of whole overlays |
//!
//! A daemon keeps what it has accepted in a journal and comes back with it
//! after a crash. It needs no privileges unless it has TAP or packet interfaces.
//!
//! ```
//! use vnet_core::control::{Reply, Request};
//! use vnetd::client::{Address, Client};
//! use vnetd::{Config, Role};
//!
//! let loopback = "127.0.0.1:0".parse()?;
//! let proxy = vnetd::spawn(Config {
//!     data: loopback,
//!     control_tcp: Some(loopback),
//!     role: Role::Proxy,
//!     ..Config::new("proxy".parse()?)
//! })?;
//! let address = proxy.control_tcp().ok_or("the Proxy listens")?.to_string();
//! let host = vnetd::spawn(Config {
//!     data: loopback,
//!     role: Role::Member { proxy: address.clone() },
//!     ..Config::new("host".parse()?)
//! })?;
//!
//! // The host is asked through the Proxy as soon as it has registered there.
//! let mut client = Client::connect(&Address::Tcp(address))?;
//! let target = "host".parse()?;
//! while client.call(Some(&target), Request::Ping).is_err() {
//!     std::thread::sleep(std::time::Duration::from_millis(10));
//! }
//! assert_eq!(client.call(Some(&target), Request::Ping)?, Reply::Done);
//! # drop(host);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod client;
pub mod config;
mod control;
mod daemon;
mod io;
mod journal;
mod metrics;
mod program;
mod quiet;
mod reporter;
mod state;
mod uplink;

pub use config::{Config, Role};
pub use control::listener::ListenError;
pub use daemon::{Handle, Reload, StartError, spawn};
pub use io::runtime::run;
pub use journal::JournalError;
pub use program::main_from_args;
