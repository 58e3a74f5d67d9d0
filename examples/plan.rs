//! Plans an adaptation: three VMs that talk, spread over a fast cluster and a far host.

use std::time::Duration;

use vadapt::io::WallClock;
use vadapt::{Current, Demand, Edge, Host, Plan, Problem, Readapt, ResidualBandwidth, Run, Solver, Vm};

fn main() -> anyhow::Result<()> {
    let mut problem = Problem::new();
    let fast1 = problem.add_host(Host::new("fast1", 2.0, 8.0).with_nic(1000.0))?;
    let fast2 = problem.add_host(Host::new("fast2", 2.0, 8.0).with_nic(1000.0))?;
    let far = problem.add_host(Host::new("far", 2.0, 8.0).with_nic(10.0))?;
    problem.add_link(fast1, fast2, Edge { bandwidth: 1000.0, latency: 100.0 })?;
    problem.add_link(fast1, far, Edge { bandwidth: 10.0, latency: 25_000.0 })?;
    problem.add_link(fast2, far, Edge { bandwidth: 10.0, latency: 25_000.0 })?;

    let web = problem.add_vm(Vm::new("web", 1.0, 4.0))?;
    let app = problem.add_vm(Vm::new("app", 1.0, 4.0))?;
    let db = problem.add_vm(Vm::new("db", 1.0, 4.0))?;
    for (from, to, bandwidth) in [(web, app, 4.0), (app, web, 2.0), (app, db, 8.0), (db, app, 8.0)] {
        problem.add_demand(Demand { from, to, bandwidth, latency: None })?;
    }
    problem.set_current(Current { mapping: vec![fast1, fast2, far], ..Current::default() })?;

    let clock = WallClock::start();
    let mut run = Run::new(&clock, Duration::from_secs(1));
    let solution = Readapt::default().solve(&problem, &ResidualBandwidth, &mut run)?;
    let plan = Plan::new(&problem, &solution, &ResidualBandwidth);
    println!("{}", plan.reason);
    for migration in &plan.migrations {
        println!("  {}", migration.reason);
    }
    for link in &plan.links {
        println!("  {}", link.reason);
    }
    Ok(())
}
