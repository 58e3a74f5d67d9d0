//! The network under virtual networks: what is left of hosts and links, and searches in it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use crate::online::{Embedding, OnlineError, Request};

/// How much longer a link seems when nothing of it is left.
const SCARCITY: f64 = 0.3;

/// Hosts and undirected links with what is left of them.
#[derive(Debug, Clone)]
pub struct Ground {
    compute: Vec<f64>,
    compute_left: Vec<f64>,
    bandwidth: Vec<f64>,
    bandwidth_left: Vec<f64>,
    /// Neighbour and link, per host.
    ways: Vec<Vec<(u32, u32)>>,
    // Scratch of searches.
    epoch: u32,
    mark: Vec<u32>,
    distance: Vec<f64>,
    via: Vec<(u32, u32)>,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// Hosts settled by searches so far: the measure of work.
    pub(super) work: u64,
}

/// Distances from a host over links with enough bandwidth: `distance[host]` where `mark` says so.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    /// Host and distance, in order of distance.
    pub(super) settled: Vec<(u32, f64)>,
}

impl Ground {
    pub(super) fn new(compute: &[f64], links: &[(usize, usize, f64)]) -> Result<Self, OnlineError> {
        check(compute, links)?;
        let hosts = compute.len();
        let mut ways = vec![Vec::new(); hosts];
        let mut joined = HashSet::new();
        for (link, (a, b, _)) in links.iter().enumerate() {
            if !joined.insert((a.min(b), a.max(b))) {
                return Err(OnlineError::Duplicate { link, a: *a, b: *b });
            }
            ways[*a].push((*b as u32, link as u32));
            ways[*b].push((*a as u32, link as u32));
        }
        let bandwidth: Vec<f64> = links.iter().map(|(_, _, bandwidth)| *bandwidth).collect();
        Ok(Self {
            compute: compute.to_vec(),
            compute_left: compute.to_vec(),
            bandwidth_left: bandwidth.clone(),
            bandwidth,
            ways,
            epoch: 0,
            mark: vec![0; hosts],
            distance: vec![0.0; hosts],
            via: vec![(0, 0); hosts],
            heap: BinaryHeap::new(),
            work: 0,
        })
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.compute.len()
    }

    /// What is left of the compute of `host`.
    ///
    /// # Panics
    ///
    /// If there is no such host.
    pub fn compute_left(&self, host: usize) -> f64 {
        self.compute_left[host]
    }

    /// What is left of the bandwidth of the link at `link` of the list given at the start.
    ///
    /// # Panics
    ///
    /// If there is no such link.
    pub fn bandwidth_left(&self, link: usize) -> f64 {
        self.bandwidth_left[link]
    }

    /// Takes what an embedding needs, `times` 1, or frees it, `times` -1.
    pub(super) fn take(&mut self, request: &Request, embedding: &Embedding, times: f64) {
        for (host, need) in embedding.nodes.iter().zip(&request.compute) {
            self.compute_left[*host] -= times * need;
        }
        for ((_, _, bandwidth), path) in request.links.iter().zip(&embedding.paths) {
            for hop in path.windows(2) {
                if let Some((_, link)) = self.ways[hop[0]].iter().find(|(to, _)| *to as usize == hop[1]) {
                    self.bandwidth_left[*link as usize] -= times * bandwidth;
                }
            }
        }
    }

    /// Takes `bandwidth` from links; negative gives it back.
    pub(super) fn reserve(&mut self, links: &[u32], bandwidth: f64) {
        for link in links {
            self.bandwidth_left[*link as usize] -= bandwidth;
        }
    }

    /// How attractive a host is as the centre of a request: its compute times the bandwidth around.
    pub(super) fn appeal(&self, host: usize) -> f64 {
        let around: f64 = self.ways[host].iter().map(|(_, link)| self.bandwidth_left[*link as usize]).sum();
        self.compute_left[host] * around
    }

    /// How much of `host` is in use, 0 to 1.
    pub(super) fn use_of(&self, host: usize) -> f64 {
        1.0 - self.compute_left[host] / self.compute[host].max(1e-9)
    }

    /// The nearest hosts of `start` over links that have `bandwidth` left, at most `most`, and until
    /// `end` is settled, if given. Distances are hops, a little more over scarce links.
    pub(super) fn reach(
        &mut self,
        start: u32,
        bandwidth: f64,
        most: usize,
        end: Option<u32>,
        reach: &mut Reach,
    ) {
        reach.settled.clear();
        self.epoch += 1;
        self.heap.clear();
        self.mark[start as usize] = self.epoch;
        self.distance[start as usize] = 0.0;
        self.heap.push(Reverse((0f64.to_bits(), start)));
        while let Some(Reverse((bits, at))) = self.heap.pop() {
            let so_far = f64::from_bits(bits);
            if so_far > self.distance[at as usize] {
                continue;
            }
            self.work += 1;
            reach.settled.push((at, so_far));
            if reach.settled.len() >= most || end == Some(at) {
                break;
            }
            for (next, link) in &self.ways[at as usize] {
                let left = self.bandwidth_left[*link as usize] - bandwidth;
                if left < 0.0 {
                    continue;
                }
                let scarce = 1.0 - left / self.bandwidth[*link as usize].max(1e-9);
                let distance = so_far + 1.0 + SCARCITY * scarce * scarce;
                let host = *next as usize;
                if self.mark[host] != self.epoch || distance < self.distance[host] {
                    self.mark[host] = self.epoch;
                    self.distance[host] = distance;
                    self.via[host] = (at, *link);
                    // Distances are not negative, so that their bits are in their order.
                    self.heap.push(Reverse((distance.to_bits(), *next)));
                }
            }
        }
    }

    /// Hosts and links of the nearest path from `start` to `end` with `bandwidth`, and its distance.
    pub(super) fn path(&mut self, start: u32, end: u32, bandwidth: f64, reach: &mut Reach) -> Option<Route> {
        self.reach(start, bandwidth, usize::MAX, Some(end), reach);
        let (last, distance) = *reach.settled.last()?;
        if last != end {
            return None;
        }
        let (mut hosts, mut links, mut at) = (vec![end], Vec::new(), end);
        while at != start {
            let (before, link) = self.via[at as usize];
            links.push(link);
            hosts.push(before);
            at = before;
        }
        hosts.reverse();
        Some(Route { hosts, links, distance })
    }
}

/// A path of a virtual link.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Route {
    pub(super) hosts: Vec<u32>,
    pub(super) links: Vec<u32>,
    pub(super) distance: f64,
}

/// Checks nodes and links of a network or a request.
pub(super) fn check(compute: &[f64], links: &[(usize, usize, f64)]) -> Result<(), OnlineError> {
    let figure = |place: String, value: f64| {
        if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(OnlineError::Figure { place, value }) }
    };
    for (node, compute) in compute.iter().enumerate() {
        figure(format!("nodes[{node}]"), *compute)?;
    }
    for (link, (a, b, bandwidth)) in links.iter().enumerate() {
        for node in [*a, *b] {
            if node >= compute.len() {
                return Err(OnlineError::UnknownNode { link, node, last: compute.len().saturating_sub(1) });
            }
        }
        if a == b {
            return Err(OnlineError::Loop { link, node: *a });
        }
        figure(format!("links[{link}]"), *bandwidth)?;
    }
    Ok(())
}
