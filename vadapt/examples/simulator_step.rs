//! One step of a simulator that links `vadapt`, with an objective of its own.
//!
//! Run it with `cargo run -p vadapt --example simulator_step`.

use std::time::Duration;

use vadapt::generate::{ApplicationShape, Generate, NetworkShape};
use vadapt::io::WallClock;
use vadapt::{Current, Demand, Objective, Plan, Readapt, Run, Search, Service, Solver};

/// Half of what is left, weighted by what was asked for, less the latency in milliseconds.
struct Responsive;

impl Objective for Responsive {
    fn name(&self) -> &str {
        "responsive"
    }

    fn value(&self, demand: &Demand, service: Service) -> f64 {
        0.5 * demand.bandwidth.min(service.residual) - service.latency / 1000.0
    }

    // Never worse with more bandwidth, less latency, fewer hops: moves may be judged ahead.
    fn is_monotone(&self) -> bool {
        true
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (network, application) = (NetworkShape::Waxman, ApplicationShape::Torus);
    let mut problem =
        Generate { hosts: 24, vms: 12, network, application, ..Generate::default() }.problem()?;
    let clock = WallClock::start();
    let run = || Run::new(&clock, Duration::from_millis(200)).with_seed(1);
    let solution = Search.solve(&problem, &Responsive, &mut run())?;
    println!("placed: {} is {:.2}", Responsive.name(), solution.objective);

    // A step later: what is decided is in force, and one edge has lost most of its bandwidth.
    let paths = solution.paths.iter().cloned().map(Some).collect();
    problem.set_current(Current { mapping: solution.mapping, paths, links: None })?;
    let edge = problem.graph().edge_indices().next().ok_or("the network has edges")?;
    let mut figures = problem.graph()[edge];
    figures.bandwidth *= 0.05;
    problem.set_edge(edge, figures)?;
    let next = Readapt::default().solve(&problem, &Responsive, &mut run())?;
    println!("{}", Plan::new(&problem, &next, &Responsive).reason);
    Ok(())
}
