//! Everything that touches the world: threads, sockets, devices, the clock.
#![allow(clippy::disallowed_methods)]

pub mod config;
pub mod plane;
pub mod port;
mod sys;
mod worker;

pub use config::{DataPlaneConfig, Event, PlaneError, StartError};
pub use plane::DataPlane;
pub use port::Port;
