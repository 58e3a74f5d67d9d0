//! Networks.

use std::collections::HashSet;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::generate::Generate;
use crate::problem::{Edge, Host, HostId, Problem, ProblemError};

/// Hosts of one cluster of a two-tier network.
const CLUSTER: usize = 8;

/// What hosts are joined by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkShape {
    /// Clusters of eight hosts: each pair within a cluster has 1,000 Mbit/s (a third of the clusters:
    /// 100) and 50 to 150 us, a gateway host per cluster has 155 to 622 Mbit/s and 5 to 40 ms to
    /// the gateways of a ring and of some chords.
    TwoTier,
    /// Hosts at random places of a square of 20 ms; a link with probability `0.4 exp(-d / 0.2 L)`, with
    /// 50 to 1,000 Mbit/s.
    Waxman,
    /// Each new host joins two of those there, the likelier the more links they have; 50 to
    /// 1,000 Mbit/s.
    BarabasiAlbert,
    /// Every ordered pair has an edge of its own, 10 to 1,000 Mbit/s, 0.1 to 40 ms.
    Complete,
}

/// Adds hosts and edges to `problem`.
pub(super) fn build(
    what: &Generate,
    rng: &mut Xoshiro256PlusPlus,
    problem: &mut Problem,
) -> Result<(), ProblemError> {
    for index in 0..what.hosts.max(2) {
        let cores = [4.0, 8.0, 16.0][rng.random_range(0..3)];
        let mut host = Host::new(format!("h{index}"), 100.0 * cores, 8.0 * cores);
        host.internal_bandwidth = what.internal.then_some(10_000.0);
        problem.add_host(host)?;
    }
    match what.network {
        NetworkShape::TwoTier => two_tier(rng, problem),
        NetworkShape::Waxman => waxman(rng, problem),
        NetworkShape::BarabasiAlbert => barabasi_albert(rng, problem),
        NetworkShape::Complete => complete(rng, problem),
    }
}

fn two_tier(rng: &mut Xoshiro256PlusPlus, problem: &mut Problem) -> Result<(), ProblemError> {
    let hosts: Vec<HostId> = problem.graph().node_indices().collect();
    let clusters: Vec<&[HostId]> = hosts.chunks(CLUSTER).collect();
    for cluster in &clusters {
        let bandwidth = if rng.random_range(0..3) == 0 { 100.0 } else { 1000.0 };
        for (index, a) in cluster.iter().enumerate() {
            for b in &cluster[index + 1..] {
                let bandwidth = bandwidth * rng.random_range(0.7..1.0);
                problem.add_link(*a, *b, Edge { bandwidth, latency: rng.random_range(50.0..150.0) })?;
            }
        }
    }
    let mut wan = |a: &[HostId], b: &[HostId], rng: &mut Xoshiro256PlusPlus| {
        let (bandwidth, latency) = (rng.random_range(155.0..622.0), rng.random_range(5_000.0..40_000.0));
        problem.add_link(a[0], b[0], Edge { bandwidth, latency })
    };
    let count = clusters.len();
    for index in 1..count {
        wan(clusters[index - 1], clusters[index], rng)?;
    }
    if count > 2 {
        wan(clusters[count - 1], clusters[0], rng)?;
    }
    let mut joined = HashSet::new();
    for _ in 0..count / 2 {
        let (a, b) = (rng.random_range(0..count), rng.random_range(0..count));
        let apart = a.abs_diff(b) > 1 && a.abs_diff(b) < count - 1;
        if apart && joined.insert((a.min(b), a.max(b))) {
            wan(clusters[a], clusters[b], rng)?;
        }
    }
    Ok(())
}

fn waxman(rng: &mut Xoshiro256PlusPlus, problem: &mut Problem) -> Result<(), ProblemError> {
    let hosts: Vec<HostId> = problem.graph().node_indices().collect();
    let places: Vec<(f64, f64)> = hosts.iter().map(|_| (rng.random(), rng.random())).collect();
    let distance = |a: usize, b: usize| {
        let (x, y) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
        (x * x + y * y).sqrt()
    };
    // Larger networks get a smaller probability, so that the mean degree stays near eight.
    let density = (60.0 / hosts.len() as f64).min(1.0);
    let mut link = |a: usize, b: usize, rng: &mut Xoshiro256PlusPlus| {
        let (bandwidth, latency) = (rng.random_range(50.0..1000.0), 50.0 + 20_000.0 * distance(a, b));
        problem.add_link(hosts[a], hosts[b], Edge { bandwidth, latency })
    };
    for b in 1..hosts.len() {
        // The nearest host before it, so that the network is connected.
        let near = (0..b).min_by(|x, y| distance(*x, b).total_cmp(&distance(*y, b))).unwrap_or(0);
        link(near, b, rng)?;
        for a in (0..b).filter(|a| *a != near) {
            if rng.random::<f64>() < 0.4 * density * (-distance(a, b) / (0.2 * 2f64.sqrt())).exp() {
                link(a, b, rng)?;
            }
        }
    }
    Ok(())
}

fn barabasi_albert(rng: &mut Xoshiro256PlusPlus, problem: &mut Problem) -> Result<(), ProblemError> {
    let hosts: Vec<HostId> = problem.graph().node_indices().collect();
    // Every end of every link, so that a uniform draw is one by degree.
    let mut ends = vec![0usize];
    for b in 1..hosts.len() {
        let mut chosen = HashSet::new();
        while chosen.len() < 2.min(b) {
            chosen.insert(ends[rng.random_range(0..ends.len())]);
            if chosen.len() < 2.min(b) {
                chosen.insert(rng.random_range(0..b));
            }
        }
        let mut chosen: Vec<usize> = chosen.into_iter().collect();
        chosen.sort_unstable();
        for a in chosen {
            let (bandwidth, latency) = (rng.random_range(50.0..1000.0), rng.random_range(100.0..10_000.0));
            problem.add_link(hosts[a], hosts[b], Edge { bandwidth, latency })?;
            ends.extend([a, b]);
        }
    }
    Ok(())
}

fn complete(rng: &mut Xoshiro256PlusPlus, problem: &mut Problem) -> Result<(), ProblemError> {
    let hosts: Vec<HostId> = problem.graph().node_indices().collect();
    for a in &hosts {
        for b in hosts.iter().filter(|b| *b != a) {
            let bandwidth = 10.0 * 100f64.powf(rng.random());
            problem.add_edge(*a, *b, Edge { bandwidth, latency: 100.0 * 400f64.powf(rng.random()) })?;
        }
    }
    Ok(())
}
