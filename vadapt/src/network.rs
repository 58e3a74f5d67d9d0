//! The host graph as flat arrays, the form that solvers work on.
//!
//! What limits a demand are *resources*: every edge, and every access link that has a
//! limit. A hop over an edge takes from the edge, from the uplink of the host that it
//! leaves and from the downlink of the host that it enters.

use crate::problem::Problem;

/// No edge, no resource.
pub(crate) const NONE: u32 = u32::MAX;

/// Up to this many hosts, edges are found in a dense table.
const DENSE: usize = 512;

/// Adjacency in compressed sparse rows: the edges of node `n` are `edges[start[n]..start[n + 1]]`.
#[derive(Debug, Clone)]
struct Rows {
    start: Vec<u32>,
    edges: Vec<u32>,
}

impl Rows {
    fn new(nodes: usize, node_of_edge: &[u32]) -> Self {
        let mut start = vec![0u32; nodes + 1];
        for node in node_of_edge {
            start[*node as usize + 1] += 1;
        }
        for node in 0..nodes {
            start[node + 1] += start[node];
        }
        let mut next = start.clone();
        let mut edges = vec![0; node_of_edge.len()];
        for (edge, node) in node_of_edge.iter().enumerate() {
            edges[next[*node as usize] as usize] = edge as u32;
            next[*node as usize] += 1;
        }
        Self { start, edges }
    }

    /// Orders the edges of each node, the one with most `capacity` first.
    fn sort_by_capacity(&mut self, capacity: &[f64]) {
        for node in 1..self.start.len() {
            let row = &mut self.edges[self.start[node - 1] as usize..self.start[node] as usize];
            row.sort_by(|x, y| capacity[*y as usize].total_cmp(&capacity[*x as usize]));
        }
    }

    fn of(&self, node: u32) -> &[u32] {
        &self.edges[self.start[node as usize] as usize..self.start[node as usize + 1] as usize]
    }
}

/// Finds the edge between two hosts.
#[derive(Debug, Clone)]
enum EdgeIndex {
    Dense(Vec<u32>),
    /// For each host, the hosts that its edges lead to, in order, with the edges.
    Sparse {
        start: Vec<u32>,
        ends: Vec<(u32, u32)>,
    },
}

/// The host graph of a problem.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Number of hosts.
    pub(crate) hosts: usize,
    /// Start of each edge.
    pub(crate) from: Vec<u32>,
    /// End of each edge.
    pub(crate) to: Vec<u32>,
    /// Latency of each edge, in microseconds.
    pub(crate) latency: Vec<f64>,
    /// Capacity of each resource, in Mbit/s; resource `e` is edge `e`, access links follow.
    pub(crate) capacity: Vec<f64>,
    /// Internal bandwidth of each host; negative: none.
    pub(crate) internal: Vec<f64>,
    /// Whether any access link has a limit.
    pub(crate) has_access_limits: bool,
    /// The opposite of each edge, where all edges and access links are alike in both directions.
    pub(crate) reverse: Option<Vec<u32>>,
    up: Vec<u32>,
    down: Vec<u32>,
    out: Rows,
    into: Rows,
    index: EdgeIndex,
}

impl Network {
    pub(crate) fn new(problem: &Problem) -> Self {
        let graph = problem.graph();
        let hosts = graph.node_count();
        let from: Vec<u32> = graph.raw_edges().iter().map(|e| e.source().index() as u32).collect();
        let to: Vec<u32> = graph.raw_edges().iter().map(|e| e.target().index() as u32).collect();
        let latency = graph.raw_edges().iter().map(|e| e.weight.latency).collect();
        let mut capacity: Vec<f64> = graph.raw_edges().iter().map(|e| e.weight.bandwidth).collect();
        let mut access = |limit: Option<f64>| match limit {
            Some(limit) => {
                capacity.push(limit);
                (capacity.len() - 1) as u32
            }
            None => NONE,
        };
        let up: Vec<u32> = graph.node_weights().map(|host| access(host.uplink)).collect();
        let down: Vec<u32> = graph.node_weights().map(|host| access(host.downlink)).collect();
        let internal = graph.node_weights().map(|host| host.internal_bandwidth.unwrap_or(-1.0)).collect();
        let index = if hosts <= DENSE {
            let mut table = vec![NONE; hosts * hosts];
            for edge in 0..from.len() {
                table[from[edge] as usize * hosts + to[edge] as usize] = edge as u32;
            }
            EdgeIndex::Dense(table)
        } else {
            let Rows { start, edges } = Rows::new(hosts, &from);
            let mut ends: Vec<(u32, u32)> = edges.iter().map(|edge| (to[*edge as usize], *edge)).collect();
            for host in 0..hosts {
                ends[start[host] as usize..start[host + 1] as usize].sort_unstable();
            }
            EdgeIndex::Sparse { start, ends }
        };
        let has_access_limits = capacity.len() > from.len();
        let (mut out, into) = (Rows::new(hosts, &from), Rows::new(hosts, &to));
        out.sort_by_capacity(&capacity);
        let net = Self {
            hosts,
            latency,
            capacity,
            internal,
            has_access_limits,
            up,
            down,
            out,
            into,
            index,
            from,
            to,
            reverse: None,
        };
        let reverse = net.reversed();
        Self { reverse, ..net }
    }

    fn reversed(&self) -> Option<Vec<u32>> {
        let limit = |resource: u32| self.capacity.get(resource as usize).copied();
        let alike = (0..self.hosts).all(|host| limit(self.up[host]) == limit(self.down[host]));
        let opposite = |edge: usize| {
            let back = self.edge(self.to[edge], self.from[edge]);
            let same = back != NONE
                && self.capacity[back as usize] == self.capacity[edge]
                && self.latency[back as usize] == self.latency[edge];
            same.then_some(back)
        };
        if alike { (0..self.from.len()).map(opposite).collect() } else { None }
    }

    /// Edges that leave `host`, the widest first.
    pub(crate) fn edges_from(&self, host: u32) -> &[u32] {
        self.out.of(host)
    }

    /// Edges that enter `host`.
    pub(crate) fn edges_to(&self, host: u32) -> &[u32] {
        self.into.of(host)
    }

    /// The edge from `a` to `b`, or [`NONE`].
    pub(crate) fn edge(&self, a: u32, b: u32) -> u32 {
        match &self.index {
            EdgeIndex::Dense(table) => table[a as usize * self.hosts + b as usize],
            EdgeIndex::Sparse { start, ends } => {
                let ends = &ends[start[a as usize] as usize..start[a as usize + 1] as usize];
                ends.binary_search_by_key(&b, |(end, _)| *end).map_or(NONE, |at| ends[at].1)
            }
        }
    }

    /// What a hop over `edge` takes from: the edge, then the access links that have limits.
    pub(crate) fn resources(&self, edge: u32) -> impl Iterator<Item = u32> + use<> {
        let up = self.up[self.from[edge as usize] as usize];
        let down = self.down[self.to[edge as usize] as usize];
        [edge, up, down].into_iter().filter(|resource| *resource != NONE)
    }

    /// The capacity of a hop over `edge`, access links included.
    pub(crate) fn most(&self, edge: u32) -> f64 {
        let capacity = |resource: u32| self.capacity[resource as usize];
        self.resources(edge).map(capacity).fold(f64::INFINITY, f64::min)
    }

    /// What is left for a hop over `edge` when each resource carries `load`.
    #[inline]
    pub(crate) fn residual(&self, edge: u32, load: &[f64]) -> f64 {
        let left = |resource: u32| self.capacity[resource as usize] - load[resource as usize];
        if !self.has_access_limits {
            return left(edge);
        }
        self.resources(edge).map(left).fold(f64::INFINITY, f64::min)
    }
}
