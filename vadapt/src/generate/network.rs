//! Networks.

use std::collections::HashSet;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::generate::{Generate, PublicMap};
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
    /// A fat tree of `k` pods (Al-Fares, Loukissas, Vahdat 2008), the smallest with enough places
    /// for hosts; switches are further hosts without compute. 1,000 Mbit/s everywhere, with up to
    /// 40 % in use; 20 us a hop.
    FatTree,
    /// A grid, as square as the number of hosts allows; 50 to 1,000 Mbit/s, 50 to 500 us.
    Grid,
    /// A grid whose opposite ends are joined.
    Torus,
    /// A real network, with 50 to 1,000 Mbit/s and 5 us per km. Hosts beyond its nodes hang on them
    /// one by one, over 1,000 Mbit/s.
    Public(PublicMap),
}

/// Adds hosts and edges to `problem`.
pub(super) fn build(
    what: &Generate,
    rng: &mut Xoshiro256PlusPlus,
    problem: &mut Problem,
) -> Result<(), ProblemError> {
    let least = if let NetworkShape::Public(map) = what.network { map.nodes() } else { 2 };
    for index in 0..what.hosts.max(least) {
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
        NetworkShape::FatTree => fat_tree(rng, problem),
        NetworkShape::Grid => grid(rng, problem, false),
        NetworkShape::Torus => grid(rng, problem, true),
        NetworkShape::Public(map) => public(rng, problem, map),
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

fn fat_tree(rng: &mut Xoshiro256PlusPlus, problem: &mut Problem) -> Result<(), ProblemError> {
    let hosts: Vec<HostId> = problem.graph().node_indices().collect();
    let half = (1..).find(|half: &usize| 2 * half.pow(3) >= hosts.len()).unwrap_or(1);
    let pods = hosts.len().div_ceil(half * half);
    let mut switch = |name: String| problem.add_host(Host::new(name, 0.0, 0.0));
    let core: Vec<HostId> = (0..half * half).map(|i| switch(format!("core{i}"))).collect::<Result<_, _>>()?;
    let tier = |kind: &str, switch: &mut dyn FnMut(String) -> Result<HostId, ProblemError>| {
        let name = |pod: usize, i: usize| format!("{kind}{pod}-{i}");
        (0..pods * half).map(|i| switch(name(i / half, i % half))).collect::<Result<Vec<HostId>, _>>()
    };
    let (aggregation, edge) = (tier("aggregation", &mut switch)?, tier("edge", &mut switch)?);
    let mut join = |a: HostId, b: HostId| {
        // Other traffic differs by direction.
        for (a, b) in [(a, b), (b, a)] {
            let bandwidth = 1000.0 * rng.random_range(0.6..1.0);
            problem.add_edge(a, b, Edge { bandwidth, latency: 20.0 })?;
        }
        Ok(())
    };
    for (index, host) in hosts.iter().enumerate() {
        join(*host, edge[index / half])?;
    }
    for pod in 0..pods {
        for a in 0..half {
            (0..half).try_for_each(|e| join(aggregation[pod * half + a], edge[pod * half + e]))?;
            (0..half).try_for_each(|c| join(aggregation[pod * half + a], core[a * half + c]))?;
        }
    }
    Ok(())
}

fn grid(rng: &mut Xoshiro256PlusPlus, problem: &mut Problem, wraps: bool) -> Result<(), ProblemError> {
    let hosts: Vec<HostId> = problem.graph().node_indices().collect();
    let columns = (hosts.len() as f64).sqrt().ceil() as usize;
    let mut pairs = Vec::new();
    for index in 0..hosts.len() {
        let (row, column) = (index / columns, index % columns);
        let right = if column + 1 < columns { index + 1 } else { row * columns };
        let below = if index + columns < hosts.len() { index + columns } else { column };
        if right < hosts.len() && (wraps || column + 1 < columns) {
            pairs.push((index.min(right), index.max(right)));
        }
        if wraps || index + columns < hosts.len() {
            pairs.push((index.min(below), index.max(below)));
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    for (a, b) in pairs.into_iter().filter(|(a, b)| a != b) {
        let (bandwidth, latency) = (rng.random_range(50.0..1000.0), rng.random_range(50.0..500.0));
        problem.add_link(hosts[a], hosts[b], Edge { bandwidth, latency })?;
    }
    Ok(())
}

fn public(rng: &mut Xoshiro256PlusPlus, problem: &mut Problem, map: PublicMap) -> Result<(), ProblemError> {
    let hosts: Vec<HostId> = problem.graph().node_indices().collect();
    for (a, b, km) in map.links() {
        let (bandwidth, latency) = (rng.random_range(50.0..1000.0), 50.0 + 5.0 * km);
        problem.add_link(hosts[a], hosts[b], Edge { bandwidth, latency })?;
    }
    for index in map.nodes()..hosts.len() {
        let node = hosts[index % map.nodes()];
        problem.add_link(node, hosts[index], Edge { bandwidth: 1000.0, latency: 50.0 })?;
    }
    Ok(())
}
