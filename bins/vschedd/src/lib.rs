//! The parts of `vschedd` that its client shares: the client itself, and the
//! scheduler in a process, with its journal and watchdog.
//!
//! ```no_run
//! use vsched::protocol::{Request, Response};
//! use vschedd::Client;
//!
//! let mut client = Client::connect(vschedd::SOCKET.as_ref())?;
//! if let Response::Tasks { tasks } = client.ask(&Request::List)? {
//!     println!("{} tasks", tasks.len());
//! }
//! # Ok::<(), vschedd::ClientError>(())
//! ```
#![forbid(unsafe_code)]

mod client;
mod scheduler;
mod server;

pub use client::{Client, ClientError};
pub use scheduler::{Scheduler, SchedulerOptions, watchdog};
pub use server::Server;

/// Where the daemon keeps its journal, by default.
pub const STATE: &str = "/run/vsched";

/// Where the daemon listens, by default.
pub const SOCKET: &str = "/run/vsched/socket";
