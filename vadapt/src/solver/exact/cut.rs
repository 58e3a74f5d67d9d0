//! What demands lose at least because those of one host share the edges there.
//!
//! Every demand takes one of the edges that leave its source, and one of those that enter its
//! destination. At each host the best split of the demands over the edges is found by dynamic
//! programming over subsets. A demand's loss is at least any mean of what it loses at its two
//! ends; which mean is best is found by subgradient steps (Lagrangean decomposition).

use crate::solver::exact::route::Routing;

/// Demands that are weighed together at a host, at most.
const TOGETHER: usize = 7;

/// How a group of demands does at a host.
struct Split {
    loss: f64,
    /// What each loses.
    each: Vec<f64>,
}

/// The demands at one host, and an edge there.
struct Side<'s> {
    demands: &'s [usize],
    host: usize,
    leaves: bool,
    /// Routed demands must be charged once only.
    charges_routed: bool,
}

impl Routing<'_> {
    /// What open demands lose at least together; ends early at `enough`.
    pub(super) fn least_loss(&mut self, enough: f64, steps: usize) -> f64 {
        let mut best = 0.0f64;
        let hosts = self.table.hosts;
        let mut difference = vec![0.0; self.ends.len()];
        for step in 0..steps {
            difference.fill(0.0);
            let mut loss = 0.0;
            for side in 0..2 * hosts {
                let (host, leaves) = (side / 2, side % 2 == 0);
                let here = |demand: &usize| host == self.end(*demand, leaves);
                let demands: Vec<usize> = self.open.iter().copied().filter(here).collect();
                for (index, demands) in demands.chunks(TOGETHER).enumerate() {
                    let split = self.split(&Side { demands, host, leaves, charges_routed: index == 0 });
                    loss += split.loss;
                    for (demand, each) in demands.iter().zip(split.each) {
                        difference[*demand] += if leaves { each } else { -each };
                    }
                }
            }
            best = best.max(loss);
            // Where a first look comes nowhere near, more won't do.
            if best >= enough || best < 0.3 * enough {
                break;
            }
            let norm: f64 = self.open.iter().map(|demand| difference[*demand].powi(2)).sum();
            if norm <= 0.0 || !norm.is_finite() {
                break;
            }
            // Towards what is asked for (Polyak's rule), a little less far each time.
            let wanted = if enough.is_finite() { enough - loss } else { 0.2 * loss };
            let length = wanted.min(loss.max(1e-9)) / norm / (1.0 + 0.1 * step as f64);
            for demand in &self.open {
                let share = &mut self.share[*demand];
                *share = (*share + length * difference[*demand]).clamp(0.0, 1.0);
            }
        }
        best
    }

    fn end(&self, demand: usize, leaves: bool) -> usize {
        let (a, b) = self.ends[demand];
        if leaves { a } else { b }
    }

    fn charged(&self, demand: usize, leaves: bool) -> f64 {
        if leaves { self.share[demand] } else { 1.0 - self.share[demand] }
    }

    fn split(&self, side: &Side<'_>) -> Split {
        let net = &self.table.fixed.net;
        let host = side.host as u32;
        let edges = if side.leaves { net.edges_from(host) } else { net.edges_to(host) };
        let sets = 1usize << side.demands.len();
        let mut bandwidth = vec![0.0; sets];
        for set in 1..sets {
            let first = side.demands[set.trailing_zeros() as usize];
            bandwidth[set] = bandwidth[set & (set - 1)] + self.table.fixed.bandwidth[first];
        }
        let mut least = vec![f64::INFINITY; sets];
        least[0] = 0.0;
        let mut next = least.clone();
        let mut alone = vec![0.0; sets];
        // Which demands take each edge in the best split of each set over the edges so far.
        let mut taken = vec![0u8; sets * edges.len()];
        for (index, edge) in edges.iter().enumerate() {
            self.alone(side, *edge, &bandwidth, &mut alone);
            let taken = &mut taken[index * sets..(index + 1) * sets];
            for set in 0..sets {
                let mut best = (least[set], 0);
                let mut part = set;
                while part != 0 {
                    let loss = alone[part] + least[set & !part];
                    if loss < best.0 {
                        best = (loss, part);
                    }
                    part = (part - 1) & set;
                }
                (next[set], taken[set]) = (best.0, best.1 as u8);
            }
            std::mem::swap(&mut least, &mut next);
        }
        let mut each = vec![0.0; side.demands.len()];
        let mut set = sets - 1;
        for (index, edge) in edges.iter().enumerate().rev() {
            let part = taken[index * sets + set] as usize;
            for at in (0..each.len()).filter(|at| part >> at & 1 == 1) {
                each[at] = self.lack_over(side, *edge, side.demands[at], bandwidth[part]);
            }
            set &= !part;
        }
        Split { loss: least[sets - 1], each }
    }

    /// What is lost when each set of demands takes `edge`.
    fn alone(&self, side: &Side<'_>, edge: u32, bandwidth: &[f64], alone: &mut [f64]) {
        let room = self.table.fixed.net.residual(edge, &self.load);
        let users = self.users[edge as usize].iter().map(|user| *user as usize);
        let routed: Vec<usize> =
            users.filter(|user| side.charges_routed && side.host == self.end(*user, side.leaves)).collect();
        let mut beyond = [0.0; TOGETHER];
        let mut charged = [0.0; TOGETHER];
        for (at, demand) in side.demands.iter().enumerate() {
            beyond[at] = self.beyond(side, edge, *demand);
            charged[at] = self.charged(*demand, side.leaves);
        }
        for set in 1..alone.len() {
            let left = room - bandwidth[set];
            let mut sum = 0.0;
            let mut rest = set;
            while rest != 0 {
                let at = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                sum += charge(charged[at], self.lack_with(side.demands[at], left.min(beyond[at])));
            }
            for user in &routed {
                sum += charge(self.charged(*user, side.leaves), self.fall(*user, left));
            }
            alone[set] = sum;
        }
    }

    /// What `demand` lacks over `edge` when demands of `bandwidth` in all take it.
    fn lack_over(&self, side: &Side<'_>, edge: u32, demand: usize, bandwidth: f64) -> f64 {
        let room = self.table.fixed.net.residual(edge, &self.load) - bandwidth;
        self.lack_with(demand, room.min(self.beyond(side, edge, demand)))
    }

    fn lack_with(&self, demand: usize, residual: f64) -> f64 {
        let (a, b) = self.ends[demand];
        self.lack(demand, residual, self.table.latency[a * self.table.hosts + b], 1)
    }

    /// What is left at most for `demand` between `edge` and its other end.
    fn beyond(&self, side: &Side<'_>, edge: u32, demand: usize) -> f64 {
        let (net, hosts) = (&self.table.fixed.net, self.table.hosts);
        let (a, b) = self.ends[demand];
        let pair = match side.leaves {
            true => net.to[edge as usize] as usize * hosts + b,
            false => a * hosts + net.from[edge as usize] as usize,
        };
        self.width[pair] - self.table.fixed.bandwidth[demand]
    }
}

/// A share of a loss; what can't be is lost whoever pays.
fn charge(share: f64, loss: f64) -> f64 {
    if loss == f64::INFINITY { loss } else { share * loss }
}
