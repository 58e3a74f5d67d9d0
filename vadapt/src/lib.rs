//! Decides VM placement, overlay links and routes for the traffic of an application.
//!
//! The adaptation problem (GAPVEE): given hosts and the edges between them, VMs and the
//! demands between them, find a host for each VM and a path for each demand so that no
//! capacity is exceeded and the application has the most room to grow. [`Problem`] states
//! it, a [`Solver`] solves it, [`verify`] judges the [`Solution`] independently, and a
//! [`Plan`] says how to get there from what is in force, and why.
//!
//! | module | holds |
//! | --- | --- |
//! | [`problem`], [`solution`], [`json`] | the model and its JSON form |
//! | [`objective`] | what is worth having: residual bandwidth, tight fit, single hop, your own |
//! | [`verify`] | an independent checker, which shares no code with the solvers |
//! | [`run`], [`io`] | deadline, seed, progress, cancellation; real time |
//! | [`solver`] | solvers behind one trait |
//! | [`balance`] | the adaptation manager of VIOLIN: demand prediction, two-tier balance |
//! | [`bound`] | proven limits |
//! | [`elastic`] | demands as relative weights, for congested applications |
//! | [`online`] | virtual networks that come and go |
//! | [`generate`] | problems to try solvers on |
//! | [`plan`] | migrations, links and routes with their gain and reason |
//!
//! ```
//! use std::time::Duration;
//! use vadapt::{GreedyMapping, Plan, Problem, ResidualBandwidth, Run, Solver, StepClock, verify};
//!
//! let problem = Problem::from_json(r#"{
//!     "hosts": [{"name": "fast1", "compute": 2, "size": 8}, {"name": "fast2", "compute": 2, "size": 8},
//!               {"name": "far", "compute": 2, "size": 8}],
//!     "edges": [{"from": "fast1", "to": "fast2", "bandwidth": 1000, "latency": 100},
//!               {"from": "fast1", "to": "far", "bandwidth": 10, "latency": 40000}],
//!     "vms": [{"name": "web", "compute": 2, "size": 4}, {"name": "db", "compute": 2, "size": 4}],
//!     "demands": [{"from": "web", "to": "db", "bandwidth": 5}],
//!     "current": {"mapping": {"web": "fast1", "db": "far"}, "paths": [["fast1", "far"]]}
//! }"#)?;
//! let clock = StepClock::default();
//! let mut run = Run::new(&clock, Duration::from_secs(1));
//! let solution = GreedyMapping::repaired().solve(&problem, &ResidualBandwidth, &mut run)?;
//! verify::verify(&problem, &solution, &ResidualBandwidth).expect("solvers return what holds");
//! let plan = Plan::new(&problem, &solution, &ResidualBandwidth);
//! assert!(plan.is_worthwhile());
//! assert_eq!(plan.migrations.len(), 1);
//! println!("{}", plan.migrations[0].reason);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod balance;
pub mod bound;
pub mod elastic;
mod finder;
mod fixed;
pub mod generate;
pub mod io;
pub mod json;
mod network;
pub mod objective;
pub mod online;
pub mod plan;
mod pool;
pub mod problem;
mod routes;
pub mod run;
pub mod solution;
pub mod solver;
mod state;
pub mod verify;

pub use objective::{Objective, ResidualAndLatency, ResidualBandwidth, Sense, Service, SingleHop, TightFit};
pub use plan::{Migration, NewLink, Plan, Route};
pub use problem::{Costs, Current, Demand, Edge, EdgeId, Host, HostId, Problem, ProblemError, Vm, VmId};
pub use run::{Clock, Progress, Run, StepClock};
pub use solution::{Path, Solution};
pub use solver::{
    Annealing, Exact, FastPath, GreedyMapping, GreedyVariant, PricedRouting, Readapt, Search, SolveError,
    Solver, greedy_topology,
};
