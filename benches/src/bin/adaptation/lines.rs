//! Measurements that aren't one solver on one class.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;
use vadapt::generate::{ApplicationShape, Generate, NetworkShape};
use vadapt::{
    Clock, Current, Edge, HostId, Plan, Problem, Readapt, ResidualBandwidth, Run, Search, Solution, Solver,
};
use vnet_benches::exponent;

use crate::measure::CpuClock;

const STEPS: usize = 100;

/// A VM that is back within so many steps has moved for nothing.
const RETURN: usize = 10;

/// Re-adaptation of one network over all steps.
#[derive(Debug, Serialize)]
pub(crate) struct Drift {
    pub(crate) network: String,
    pub(crate) hosts: usize,
    pub(crate) vms: usize,
    pub(crate) limit_ms: f64,
    pub(crate) slowest_ms: f64,
    /// Objective against solving from scratch with five times the time, mean and least.
    pub(crate) quality: f64,
    pub(crate) worst: f64,
    pub(crate) migrations: usize,
    pub(crate) scratch_migrations: usize,
    pub(crate) returns: usize,
    /// Steps of an unchanged problem with a plan that isn't empty, of ten.
    pub(crate) restless: usize,
}

pub(crate) fn readapt() -> anyhow::Result<Vec<Drift>> {
    let networks = [NetworkShape::TwoTier, NetworkShape::Waxman, NetworkShape::Complete];
    let sizes = [(16, 10, 5), (32, 20, 10), (64, 40, 20), (128, 64, 40)];
    let each = sizes.into_iter().flat_map(|size| networks.map(|network| (network, size)));
    each.map(|(network, (hosts, vms, limit))| drift(network, hosts, vms, Duration::from_millis(limit)))
        .collect()
}

fn drift(network: NetworkShape, hosts: usize, vms: usize, limit: Duration) -> anyhow::Result<Drift> {
    let seed = 7000 + hosts as u64;
    let mut problem = Generate { hosts, vms, network, load: 0.02, seed, ..Generate::default() }.problem()?;
    let (first, _) = solve(&Search, &problem, limit * 5, 1)?;
    adopt(&mut problem, &first)?;
    let mut restless = 0;
    for seed in 0..10 {
        let (again, _) = solve(&Readapt::default(), &problem, limit, seed)?;
        restless += usize::from(!Plan::new(&problem, &again, &ResidualBandwidth).is_empty());
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut qualities, mut migrations, mut scratch_migrations) = (Vec::new(), 0, 0);
    let mut slowest = Duration::ZERO;
    let mut before = first.mapping.clone();
    let mut history: Vec<Vec<HostId>> = vec![first.mapping];
    for step in 0..STEPS as u64 {
        change(&mut problem, &mut rng)?;
        let (scratch, _) = solve(&Search, &problem, limit * 5, 100 + step)?;
        scratch_migrations += before.iter().zip(&scratch.mapping).filter(|(a, b)| a != b).count();
        before.clone_from(&scratch.mapping);
        let (adapted, time) = solve(&Readapt::default(), &problem, limit, step)?;
        slowest = slowest.max(time);
        migrations += Plan::new(&problem, &adapted, &ResidualBandwidth).migrations.len();
        qualities.push(adapted.objective / scratch.objective);
        adopt(&mut problem, &adapted)?;
        history.push(adapted.mapping);
    }
    Ok(Drift {
        network: format!("{network:?}"),
        hosts,
        vms,
        limit_ms: limit.as_secs_f64() * 1e3,
        slowest_ms: slowest.as_secs_f64() * 1e3,
        quality: qualities.iter().sum::<f64>() / STEPS as f64,
        worst: qualities.iter().copied().fold(f64::INFINITY, f64::min),
        migrations,
        scratch_migrations,
        returns: (0..vms).map(|vm| returns(&history, vm)).sum(),
        restless,
    })
}

/// How often `vm` left a host and was back soon after.
fn returns(history: &[Vec<HostId>], vm: usize) -> usize {
    let at = |step: usize| history[step][vm];
    let left = |step: &usize| at(*step) != at(*step + 1);
    let back =
        |step: &usize| (step + 2..history.len().min(step + 1 + RETURN)).any(|later| at(later) == at(*step));
    (0..history.len() - 1).filter(left).filter(back).count()
}

fn change(problem: &mut Problem, rng: &mut Xoshiro256PlusPlus) -> anyhow::Result<()> {
    for demand in 0..problem.demands().len() {
        let bandwidth = problem.demands()[demand].bandwidth * rng.random_range(0.93..1.07);
        problem.set_demand_bandwidth(demand, bandwidth)?;
    }
    for edge in problem.graph().edge_indices() {
        let Edge { bandwidth, latency } = problem.graph()[edge];
        problem.set_edge(edge, Edge { bandwidth: bandwidth * rng.random_range(0.97..1.03), latency })?;
    }
    Ok(())
}

fn adopt(problem: &mut Problem, solution: &Solution) -> anyhow::Result<()> {
    let paths = solution.paths.iter().cloned().map(Some).collect();
    Ok(problem.set_current(Current { mapping: solution.mapping.clone(), paths, links: None })?)
}

fn solve(
    solver: &dyn Solver,
    problem: &Problem,
    limit: Duration,
    seed: u64,
) -> anyhow::Result<(Solution, Duration)> {
    let clock = CpuClock;
    let begin = clock.now();
    let solution = solver.solve(problem, &ResidualBandwidth, &mut Run::new(&clock, limit).with_seed(seed))?;
    Ok((solution, clock.now().saturating_sub(begin)))
}

/// What one size costs.
#[derive(Debug, Serialize)]
pub(crate) struct Size {
    /// Which figure grows.
    pub(crate) grows: &'static str,
    pub(crate) hosts: usize,
    pub(crate) vms: usize,
    pub(crate) demands: usize,
    /// Time to the first answer of the search: one whole construction.
    pub(crate) first_ms: f64,
    /// Moves tried per second after that.
    pub(crate) moves_per_second: f64,
    /// Highest resident memory during two seconds of search, the problem included, in MB.
    pub(crate) memory_mb: f64,
}

/// The exponents of time and memory against what grows.
#[derive(Debug, Serialize)]
pub(crate) struct Exponents {
    pub(crate) grows: &'static str,
    pub(crate) time: f64,
    pub(crate) memory: f64,
}

pub(crate) fn growth() -> anyhow::Result<(Vec<Size>, Vec<Exponents>)> {
    let sizes = [
        ("hosts", [(250, 200, 6.0), (500, 200, 6.0), (1000, 200, 6.0), (2000, 200, 6.0), (4000, 200, 6.0)]),
        ("VMs", [(2000, 50, 6.0), (2000, 100, 6.0), (2000, 200, 6.0), (2000, 400, 6.0), (2000, 500, 6.0)]),
        (
            "demands",
            [(2000, 200, 3.0), (2000, 200, 6.0), (2000, 200, 12.0), (2000, 200, 24.0), (2000, 200, 40.0)],
        ),
    ];
    let (mut table, mut exponents) = (Vec::new(), Vec::new());
    for (grows, list) in sizes {
        let begin = table.len();
        for (hosts, vms, degree) in list {
            table.push(size(grows, hosts, vms, degree)?);
        }
        let rows: &[Size] = &table[begin..];
        let of = |row: &Size| match grows {
            "hosts" => row.hosts as f64,
            "VMs" => row.vms as f64,
            _ => row.demands as f64,
        };
        let fit = |figure: fn(&Size) -> f64| {
            exponent(&rows.iter().map(|row| (of(row), figure(row))).collect::<Vec<_>>())
        };
        exponents.push(Exponents { grows, time: fit(|row| row.first_ms), memory: fit(|row| row.memory_mb) });
    }
    Ok((table, exponents))
}

fn size(grows: &'static str, hosts: usize, vms: usize, degree: f64) -> anyhow::Result<Size> {
    // Linux starts the highest mark anew on this; elsewhere it can't be measured.
    fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")?;
    let application = ApplicationShape::Random { degree };
    let network = NetworkShape::Waxman;
    let what = Generate { hosts, vms, network, application, load: 0.005, seed: 8000, ..Generate::default() };
    let problem = what.problem()?;
    let (clock, now) = (CpuClock, AtomicBool::new(true));
    let begin = clock.now();
    let mut run = Run::new(&clock, Duration::from_secs(60)).with_cancel(&now);
    Search.solve(&problem, &ResidualBandwidth, &mut run)?;
    let first = clock.now().saturating_sub(begin);
    let mut last = (Duration::ZERO, 0);
    let mut run = Run::new(&clock, first + Duration::from_secs(2)).with_progress(|progress| {
        last = (progress.elapsed, progress.moves);
        std::ops::ControlFlow::Continue(())
    });
    Search.solve(&problem, &ResidualBandwidth, &mut run)?;
    drop(run);
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kilobytes: f64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    Ok(Size {
        grows,
        hosts,
        vms,
        demands: problem.demands().len(),
        first_ms: first.as_secs_f64() * 1e3,
        moves_per_second: last.1 as f64 / last.0.saturating_sub(first).as_secs_f64().max(1e-9),
        memory_mb: kilobytes / 1024.0,
    })
}
