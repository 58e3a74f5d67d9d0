//! Trees of routes in dense networks, by scanning a matrix.

use crate::network::{NONE, Network};
use crate::routes::{HOP, NARROW, Tree};

/// Capacities as a matrix, by rows of start and of end.
#[derive(Debug)]
pub(super) struct Matrix {
    by_start: Vec<f32>,
    by_end: Vec<f32>,
}

impl Matrix {
    pub(super) fn new(net: &Network, width: &[f64]) -> Self {
        let mut matrix =
            Self { by_start: vec![-1.0; net.hosts * net.hosts], by_end: vec![-1.0; net.hosts * net.hosts] };
        for (edge, width) in width.iter().enumerate() {
            let (from, to) = (net.from[edge] as usize, net.to[edge] as usize);
            matrix.by_start[from * net.hosts + to] = *width as f32;
            matrix.by_end[to * net.hosts + from] = *width as f32;
        }
        matrix
    }

    /// Dijkstra without a heap: `O(H^2)` in straight loops, the best for dense networks.
    pub(super) fn widest_tree(&self, net: &Network, root: u32, into: bool) -> Tree {
        let hosts = net.hosts;
        let rows = if into { &self.by_end } else { &self.by_start };
        let mut width = vec![-1.0f32; hosts].into_boxed_slice();
        // Width of hosts that aren't settled yet; settled ones drop out as negative.
        let mut open = vec![-1.0f32; hosts];
        let mut parent = vec![NONE; hosts];
        (width[root as usize], open[root as usize]) = (f32::INFINITY, f32::INFINITY);
        loop {
            let mut next = (0.0f32, NONE);
            for (host, width) in open.iter().enumerate() {
                if *width > next.0 {
                    next = (*width, host as u32);
                }
            }
            let (reach, at) = next;
            if at == NONE {
                break;
            }
            open[at as usize] = f32::NEG_INFINITY;
            let row = &rows[at as usize * hosts..(at as usize + 1) * hosts];
            for host in 0..hosts {
                let through = reach.min(row[host]);
                if through > width[host] {
                    width[host] = through;
                    open[host] = through;
                    parent[host] = at;
                }
            }
        }
        Tree { edge: Self::edges(net, &parent, into), width }
    }

    /// The same for [`Kind::Balanced`].
    pub(super) fn balanced_tree(&self, net: &Network, root: u32, into: bool, typical_width: f32) -> Tree {
        let hosts = net.hosts;
        let rows = if into { &self.by_end } else { &self.by_start };
        let mut width = vec![-1.0f32; hosts].into_boxed_slice();
        let mut cost = vec![f32::INFINITY; hosts];
        // Cost of hosts that aren't settled yet; settled ones drop out as infinite.
        let mut open = vec![f32::INFINITY; hosts];
        let mut settled = vec![false; hosts];
        let mut parent = vec![NONE; hosts];
        width[root as usize] = f32::INFINITY;
        (cost[root as usize], open[root as usize]) = (0.0, 0.0);
        loop {
            let mut next = (f32::INFINITY, NONE);
            for (host, cost) in open.iter().enumerate() {
                if *cost < next.0 {
                    next = (*cost, host as u32);
                }
            }
            let (so_far, at) = next;
            if at == NONE {
                break;
            }
            open[at as usize] = f32::INFINITY;
            settled[at as usize] = true;
            let row = &rows[at as usize * hosts..(at as usize + 1) * hosts];
            let wide = width[at as usize];
            for host in 0..hosts {
                let through = so_far + HOP as f32 + (typical_width / row[host].max(1e-9)).min(NARROW as f32);
                if through < cost[host] && row[host] >= 0.0 && !settled[host] {
                    (cost[host], open[host]) = (through, through);
                    width[host] = wide.min(row[host]);
                    parent[host] = at;
                }
            }
        }
        Tree { edge: Self::edges(net, &parent, into), width }
    }

    /// The edges between hosts and their parents in a tree.
    fn edges(net: &Network, parent: &[u32], into: bool) -> Box<[u32]> {
        let edge = |(host, parent): (usize, &u32)| match (*parent, into) {
            (NONE, _) => NONE,
            (parent, true) => net.edge(host as u32, parent),
            (parent, false) => net.edge(parent, host as u32),
        };
        parent.iter().enumerate().map(edge).collect()
    }
}
