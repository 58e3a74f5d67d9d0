//! What demands are worth at most between each pair of hosts, worked out once.

use std::collections::VecDeque;

use crate::fixed::Fixed;
use crate::network::Network;
use crate::objective::{Objective, Service};

/// Above this many hosts nothing is enumerated.
const MOST_HOSTS: usize = 64;

/// Two VMs that talk, with what that is worth at most by the hosts of both.
pub(super) struct Talk {
    /// The partner.
    pub(super) other: usize,
    /// Which table, and whether this VM is the one by whose host rows are ordered.
    pub(super) table: usize,
    pub(super) first: bool,
}

/// Limits by hosts: no routing gives a demand more.
pub(super) struct Table<'f> {
    pub(super) fixed: &'f Fixed<'f>,
    pub(super) objective: &'f dyn Objective,
    pub(super) hosts: usize,
    /// Least latency between hosts, by rows of the start.
    pub(super) latency: Vec<f64>,
    /// The most that each demand can be worth, by demand, host of its source and of its destination.
    value: Vec<f64>,
    /// The same, summed over the demands between two VMs.
    between: Vec<Vec<f64>>,
    /// Partners of each VM.
    pub(super) talks: Vec<Vec<Talk>>,
}

impl<'f> Table<'f> {
    /// `None` if the network is too large to enumerate anything.
    pub(super) fn new(fixed: &'f Fixed<'f>, objective: &'f dyn Objective) -> Option<Self> {
        let hosts = fixed.net.hosts;
        if hosts > MOST_HOSTS {
            return None;
        }
        let (fronts, latency) = fronts(&fixed.net);
        let mut table = Self {
            fixed,
            objective,
            hosts,
            latency,
            value: Vec::with_capacity(fixed.from.len() * hosts * hosts),
            between: Vec::new(),
            talks: (0..fixed.need.len()).map(|_| Vec::new()).collect(),
        };
        for demand in 0..fixed.from.len() {
            let hops = hops(&fixed.net, fixed.bandwidth[demand]);
            for pair in 0..hosts * hosts {
                table.value.push(table.most(demand, pair, &fronts[pair], hops[pair]));
            }
        }
        table.group();
        Some(table)
    }

    /// The most that `demand` can be worth from host `a` to host `b`; minus infinity where it can't
    /// be served.
    pub(super) fn value(&self, demand: usize, a: usize, b: usize) -> f64 {
        self.value[(demand * self.hosts + a) * self.hosts + b]
    }

    /// The most that the demands between a VM on `host` and a partner on `other` can be worth.
    pub(super) fn between(&self, talk: &Talk, host: usize, other: usize) -> f64 {
        let (row, column) = if talk.first { (host, other) } else { (other, host) };
        self.between[talk.table][row * self.hosts + column]
    }

    /// What `demand` is worth with this residual, latency and number of hops.
    pub(super) fn gain(&self, demand: usize, residual: f64, latency: f64, hops: usize) -> f64 {
        let service = Service { residual: residual.max(0.0), latency, hops };
        self.objective.gain(&self.fixed.problem.demands()[demand], service)
    }

    /// Whether a residual on something of this capacity is no overload.
    pub(super) fn is_enough(&self, residual: f64, demand: usize) -> bool {
        residual >= -1e-10 * self.fixed.bandwidth[demand].max(1e-9)
    }

    fn most(&self, demand: usize, pair: usize, front: &[(f64, f64)], hops: usize) -> f64 {
        let fixed = self.fixed;
        let (a, b) = (pair / self.hosts, pair % self.hosts);
        if a == b {
            let residual = fixed.net.internal[a];
            return if residual < 0.0 { f64::NEG_INFINITY } else { self.gain(demand, residual, 0.0, 0) };
        }
        if hops == usize::MAX {
            return f64::NEG_INFINITY;
        }
        let bound = fixed.latency_bound[demand] * (1.0 + 1e-10);
        let worth = |(width, latency): &(f64, f64)| {
            let residual = width - fixed.bandwidth[demand];
            match self.is_enough(residual, demand) && *latency <= bound {
                true => self.gain(demand, residual, *latency, hops),
                false => f64::NEG_INFINITY,
            }
        };
        front.iter().map(worth).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Sums up the demands between each two VMs.
    fn group(&mut self) {
        let pairs = self.hosts * self.hosts;
        for demand in 0..self.fixed.from.len() {
            let (from, to) = (self.fixed.from[demand] as usize, self.fixed.to[demand] as usize);
            let known = self.talks[from].iter().find(|talk| talk.other == to);
            let (table, first) = known.map_or((self.between.len(), true), |talk| (talk.table, talk.first));
            if table == self.between.len() {
                self.between.push(vec![0.0; pairs]);
                self.talks[from].push(Talk { other: to, table, first: true });
                self.talks[to].push(Talk { other: from, table, first: false });
            }
            for a in 0..self.hosts {
                for b in 0..self.hosts {
                    let cell = if first { a * self.hosts + b } else { b * self.hosts + a };
                    self.between[table][cell] += self.value[(demand * self.hosts + a) * self.hosts + b];
                }
            }
        }
    }
}

/// For each pair of hosts the paths that none is both wider and faster than, as `(width, latency)`,
/// the widest first; and the least latency. Edges are added one by one, the widest first.
fn fronts(net: &Network) -> (Vec<Vec<(f64, f64)>>, Vec<f64>) {
    let hosts = net.hosts;
    let nothing = vec![0.0; net.capacity.len()];
    let mut edges: Vec<(f64, usize)> =
        (0..net.from.len()).map(|edge| (net.residual(edge as u32, &nothing), edge)).collect();
    edges.sort_by(|x, y| y.0.total_cmp(&x.0));
    let mut fronts = vec![Vec::new(); hosts * hosts];
    let mut latency = vec![f64::INFINITY; hosts * hosts];
    (0..hosts).for_each(|host| latency[host * hosts + host] = 0.0);
    for (width, edge) in edges {
        let (from, to) = (net.from[edge] as usize, net.to[edge] as usize);
        for a in 0..hosts {
            let before = latency[a * hosts + from] + net.latency[edge];
            if before >= latency[a * hosts + to] {
                continue;
            }
            for b in 0..hosts {
                let through = before + latency[to * hosts + b];
                if through < latency[a * hosts + b] {
                    latency[a * hosts + b] = through;
                    fronts[a * hosts + b].push((width, through));
                }
            }
        }
    }
    (fronts, latency)
}

/// Fewest hops between hosts over edges with room for `bandwidth`; `usize::MAX` where there is no path.
fn hops(net: &Network, bandwidth: f64) -> Vec<usize> {
    let nothing = vec![0.0; net.capacity.len()];
    let mut hops = vec![usize::MAX; net.hosts * net.hosts];
    for start in 0..net.hosts {
        let row = &mut hops[start * net.hosts..(start + 1) * net.hosts];
        row[start] = 0;
        let mut waiting = VecDeque::from([start]);
        while let Some(at) = waiting.pop_front() {
            for edge in net.edges_from(at as u32) {
                let next = net.to[*edge as usize] as usize;
                let fits = net.residual(*edge, &nothing) >= bandwidth - 1e-10 * bandwidth.max(1e-9);
                if row[next] == usize::MAX && fits {
                    row[next] = row[at] + 1;
                    waiting.push_back(next);
                }
            }
        }
    }
    hops
}
