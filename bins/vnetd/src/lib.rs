//! The VNET daemon and the client library for it.
#![forbid(unsafe_code)]

pub mod client;
pub mod config;

pub use config::{Config, Role};
