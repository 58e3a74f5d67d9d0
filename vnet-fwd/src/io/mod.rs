//! Everything that touches the world: threads, sockets, devices, the clock.
#![allow(clippy::disallowed_methods)]

mod arrivals;
mod bind;
mod cargo;
pub mod channel;
mod commands;
pub mod config;
mod interfaces;
mod keys;
mod mtu;
mod open;
mod outlets;
mod packet;
pub mod plane;
pub mod port;
mod queue;
mod report;
pub mod stream;
mod sys;
mod tap;
mod tcp;
mod token;
mod train;
mod udp;
mod worker;

pub use config::{
    DataPlaneConfig, Encryption, Event, InterfaceMtu, LinkChange, OffloadSwitches, PlaneError, StartError,
};
pub use keys::KeyFileError;
pub use plane::DataPlane;
pub use port::Port;
pub use stream::StreamPort;
