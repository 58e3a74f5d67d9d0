//! `patterns`: a bulk synchronous parallel (BSP) program over TCP, the workload
//! of the VTTIF and VADAPT papers.
//!
//! Every rank is a process, in the papers one in each VM. It alternates dummy
//! compute phases with communication phases: an [`Operation`] on a
//! [`Shape`](vnet_core::Shape) with messages of a fixed size. It reports how many
//! iterations it gets through, and every connection that breaks.
//!
//! | module | holds |
//! | --- | --- |
//! | [`pattern`] | who talks to whom |
//! | [`workload`], [`options`] | what a run does |
//! | [`bsp`] | a rank as a state machine, without sockets and clocks |
//! | [`wire`], [`payload`] | the bytes on a connection, and their parser |
//! | [`report`] | what a run reports, reading it, and rates over time |
//!
//! All ranks of a run in one process, over loopback:
//!
//! ```
//! use patterns::{Operation, Workload};
//! use vnet_core::Shape;
//!
//! let workload = Workload {
//!     shape: Shape::Ring,
//!     operation: Operation::Neighbour,
//!     message: 1 << 10,
//!     iterations: Some(20),
//!     ..Workload::default()
//! };
//! let summaries = patterns::local(&workload, 4, None, |_record| Ok(()))?;
//! assert!(summaries.iter().all(|s| s.total.iterations == 20 && s.total.connections_lost == 0));
//! assert!(summaries.iter().all(|s| s.total.bytes_received == 20 * 2 * 1024));
//! # Ok::<(), patterns::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod bsp;
mod cli;
pub mod error;
mod io;
mod local;
pub mod options;
pub mod pattern;
pub mod payload;
pub mod report;
pub mod units;
pub mod wire;
pub mod workload;

pub use cli::main_from_args;
pub use error::Error;
pub use io::{ReportTo, Sink, StopSignal, Stopper, Worker, stop_pair};
pub use local::{Local, local};
pub use options::Options;
pub use pattern::{Operation, Pattern, Role};
pub use report::Summary;
pub use workload::{Compute, Workload};

/// Runs one rank to its end, reporting to [`Options::report`].
///
/// # Errors
///
/// See [`Worker::bind`] and [`Worker::run`]; or the report can't be written.
pub fn run(options: Options) -> Result<Summary, Error> {
    let (_stopper, stop) =
        stop_pair().map_err(|error| Error::System { what: "can't make a pair of sockets", error })?;
    io::run_to_report(options, &stop)
}
