//! Everything that touches the world: sockets, clocks, signals, files.

mod admission;
mod clock;
mod connection;
mod peers;
mod progress;
mod run;
mod sink;
mod stop;
mod traffic;
mod worker;

pub use sink::{ReportTo, Sink};
pub use stop::{StopSignal, Stopper, stop_pair};
pub use worker::Worker;
pub(crate) use worker::run_to_report;
