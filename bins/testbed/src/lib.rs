//! A laboratory with daemons on its hosts and VMs behind them.
//!
//! What the demonstration, the end-to-end tests and the benches stand on: real
//! daemons as processes in the hosts of a [`vlab::Lab`], real VMs (namespaces)
//! attached to them, the workload of the papers and a flood that counts what is
//! lost.
//!
//! ```no_run
//! use testbed::{NETWORK, Testbed};
//! use vnet_core::shape::Shape;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First of all: this program may be a daemon of its own test bed.
//!     if let Some(code) = testbed::dispatch() {
//!         std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 1 });
//!     }
//!     vlab::enter()?;
//!     let spec = vlab::LabSpec::papers();
//!     let mut bed = Testbed::start(&spec)?;
//!     bed.attach_all()?;
//!     let star = bed.overlay(Shape::Star)?;
//!     println!("{} rules make the star of {NETWORK}", star.rule_count());
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

mod alternation;
mod bed;
mod error;
mod flood;
mod flooding;
mod harness;
mod role;
mod workload;

pub use alternation::Alternation;
pub use bed::{CONTROL_PORT, DATA_PORT, NETWORK, Testbed};
pub use error::Error;
pub use flood::{Flood, FloodReport, FloodTotal, Received};
pub use flooding::Flooding;
pub use harness::{Test, harness};
pub use role::{Role, dispatch};
pub use workload::Application;
