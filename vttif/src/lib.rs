//! Infers the topology and traffic matrix of an application from its Ethernet frames.
//!
//! VTTIF ("Virtual Topology and Traffic Inference Framework", A. Gupta and P. A.
//! Dinda, JSSPP 2004) watches what virtual machines send each other. Each daemon
//! counts bytes per address pair and reports them to the Proxy; there an
//! [`Aggregator`] smooths them, decides which pairs belong to the application's
//! topology, reports when it has changed, and names it. [`classify`] names the
//! topology of any traffic matrix.
//!
//! Everything here is pure: reports and instants in, views and changes out.
//!
//! ```
//! use vttif::{ClassifyOptions, TrafficMatrix, classify};
//!
//! let matrix = TrafficMatrix::from_csv(
//!     "source,destination,bytes
//!      a,b,900
//!      b,c,800
//!      c,d,900
//!      d,a,850
//!      a,c,12",
//! )?;
//! let found = classify(&matrix, &ClassifyOptions::default());
//! let names: Vec<String> = found.names().iter().map(ToString::to_string).collect();
//! assert_eq!(names, ["ring", "hypercube 2", "mesh 2x2", "torus 2x2"]);
//! assert_eq!(found.layers[0].position[&0], [0]);
//! # Ok::<(), vttif::MatrixError>(())
//! ```
#![forbid(unsafe_code)]

mod aggregator;
mod classify;
mod detector;
mod flow;
mod ledger;
mod matrix;
mod name;
mod parameters;
pub mod render;

pub use aggregator::{Aggregator, Change};
pub use classify::{Classification, ClassifyOptions, Layer, Leftover, classify};
pub use ledger::Receipt;
pub use matrix::{MAX_AMOUNT, MAX_VERTICES, MatrixError, TrafficMatrix};
pub use name::{ParseNameError, TopologyName};
pub use parameters::{ParameterError, Parameters};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
