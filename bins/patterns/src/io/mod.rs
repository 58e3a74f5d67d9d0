//! Everything that touches the world: sockets, clocks, signals, files.

mod clock;
mod connection;
mod peers;
mod progress;
mod run;
mod sink;
mod stop;

pub use run::Worker;
pub(crate) use run::run_to_report;
pub use sink::{ReportTo, Sink};
pub use stop::{StopSignal, Stopper, stop_pair};
