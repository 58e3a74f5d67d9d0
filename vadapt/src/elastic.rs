//! Demands of a congested application: relative weights, not requirements.
//!
//! What is measured of a congested application is what it *gets*, not what it *wants*. Taken at
//! face value, such a matrix makes the present, bad state look sufficient; taken as a
//! peak, it may fit nowhere. So it is read as relative weights: [`elastic`] scales it to a
//! fraction of what the network could carry if every demand grew alike, and a placement is
//! judged by its [`growth`]: the factor by which all demands can grow together.

use crate::network::Network;
use crate::objective::Objective;
use crate::problem::{HostId, Problem, ProblemError};
use crate::run::Run;
use crate::solution::Path;
use crate::solver::{SolveError, Solver};

/// Why demands couldn't be scaled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ElasticError {
    /// No placement was found even for demands of almost nothing.
    #[error("no placement, however little the demands are: {0}")]
    Solve(#[from] SolveError),
    /// The scaled demands aren't figures.
    #[error("demands can't be scaled: {0}")]
    Problem(#[from] ProblemError),
}

/// The largest factor by which all demands can be multiplied while their `paths` carry
/// them; at least 1 means that all fit. Infinite when nothing crosses the network; 0
/// when a demand between different hosts has no path.
///
/// `paths[i]` is that of demand `i`; `None`: it has none. For demands that share links and grow
/// alike, as those of a BSP program do, this is what the application's speed is
/// proportional to (the maximum concurrent flow of the given routing).
pub fn growth<'a>(
    problem: &Problem,
    mapping: &[HostId],
    paths: impl IntoIterator<Item = Option<&'a Path>>,
) -> f64 {
    let net = Network::new(problem);
    let mut load = vec![0.0; net.capacity.len()];
    for (demand, path) in problem.demands().iter().zip(paths) {
        let apart = mapping[demand.from.index()] != mapping[demand.to.index()];
        let hops: Vec<_> = path.into_iter().flat_map(Path::hops).collect();
        if apart && hops.is_empty() && demand.bandwidth > 0.0 {
            return 0.0;
        }
        for (a, b) in hops {
            let edge = net.edge(a.index() as u32, b.index() as u32);
            if edge == crate::network::NONE {
                return 0.0;
            }
            net.resources(edge).for_each(|resource| load[resource as usize] += demand.bandwidth);
        }
    }
    let used = load.iter().zip(&net.capacity).filter(|(load, _)| **load > 0.0);
    used.map(|(load, capacity)| capacity / load).fold(f64::INFINITY, f64::min)
}

/// The problem with its demands scaled to `fill` (0 to 1; 0.5 is a good choice) of what
/// the network could carry if all grew alike, and the factor that did it.
///
/// What it could carry is found by placing demands of almost nothing with `solver`, which
/// looks at capacities alone, and measuring the [`growth`] there. A problem without demands is
/// returned as it is.
pub fn elastic(
    problem: &Problem,
    fill: f64,
    solver: &dyn Solver,
    objective: &dyn Objective,
    run: &mut Run<'_>,
) -> Result<(Problem, f64), ElasticError> {
    let total: f64 = problem.demands().iter().map(|demand| demand.bandwidth).sum();
    let net = Network::new(problem);
    let positive = net.capacity.iter().copied().filter(|capacity| *capacity > 0.0);
    let narrowest = positive.fold(f64::INFINITY, f64::min);
    if total <= 0.0 || !narrowest.is_finite() {
        return Ok((problem.clone(), 1.0));
    }
    let mut tiny = problem.clone();
    let shrink = 1e-6 * narrowest / total;
    tiny.scale_demands(shrink)?;
    let solution = solver.solve(&tiny, objective, run)?;
    let reach = growth(&tiny, &solution.mapping, solution.paths.iter().map(Some));
    // All VMs on one host: nothing crosses the network, and any scale is as good.
    let factor = if reach.is_finite() { shrink * reach * fill } else { 1.0 };
    let mut scaled = problem.clone();
    scaled.scale_demands(factor)?;
    Ok((scaled, factor))
}
