//! Proven limits: no solution is better.
//!
//! Two relaxations. *Pairs*: a demand whose VMs are on two hosts gets at most what the widest path
//! between them leaves when nobody else is there. *Stars*: seen from one VM on one host, its
//! partners share what room there is beside it, and get at most the best pair elsewhere.
//! Each demand is split between the stars of its two VMs. Hosts have room for so many VMs
//! only: that constraint is priced (Lagrangean relaxation of the generalised assignment
//! problem), and the prices improved by subgradient steps; the limit holds for any prices.

use crate::fixed::Fixed;
use crate::network::{NONE, Network};
use crate::objective::{Objective, Sense, Service};
use crate::problem::Problem;
use crate::routes::{all_fastest, all_widest};
use crate::run::Run;

/// Subgradient steps, at most.
const STEPS: usize = 300;

/// A value that no feasible solution of `problem` exceeds (or, where `objective` is minimised,
/// undercuts). `None` if the objective isn't [monotone](Objective::is_monotone), if the run ended
/// before there was a limit, or if some VM fits on no host.
///
/// Up to 600 hosts: `O(H * E log H + VMs * H * (H + degree log degree))`, then `O(VMs * H)` per step, and
/// `O(H^2)` memory. Above, paths are judged by the edges at their ends alone, which costs some
/// tightness: `O(E + VMs * H * degree log degree)` and `O(VMs * H)` memory.
///
/// ```
/// use std::time::Duration;
/// use vadapt::bound::upper_bound;
/// use vadapt::generate::Generate;
/// use vadapt::{GreedyMapping, ResidualBandwidth, Run, Solver, StepClock};
///
/// let problem = Generate::default().problem()?;
/// let clock = StepClock::default();
/// let mut run = Run::new(&clock, Duration::from_secs(1));
/// let solution = GreedyMapping::repaired().solve(&problem, &ResidualBandwidth, &mut run)?;
/// let bound = upper_bound(&problem, &ResidualBandwidth, &mut run).expect("it is monotone");
/// assert!(solution.objective <= bound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn upper_bound(problem: &Problem, objective: &dyn Objective, run: &mut Run<'_>) -> Option<f64> {
    if !objective.is_monotone() || problem.graph().node_count() == 0 {
        return None;
    }
    let fixed = Fixed::new(problem, objective);
    let pairs = Pairs::new(&fixed, objective);
    let stars = Stars::new(&pairs, run)?;
    let limit = Some(stars.limit(run)).filter(|limit| limit.is_finite())?;
    Some(if objective.sense() == Sense::Maximise { limit } else { -limit })
}

/// What a demand gets at most, by the hosts of its VMs.
pub(crate) struct Pairs<'f> {
    pub(crate) fixed: &'f Fixed<'f>,
    objective: &'f dyn Objective,
    reach: Reach,
}

/// Up to so many hosts, all pairs are looked at.
const ALL_PAIRS: usize = 600;

/// What is known about paths between hosts.
enum Reach {
    /// Widest path and least latency between each pair of hosts, by rows of the start.
    Pairs { width: Vec<f32>, latency: Vec<f32> },
    /// Width and latency of the best edge that leaves and that enters each host: no path is better.
    Ends { out: Vec<(f64, f64)>, into: Vec<(f64, f64)> },
}

impl Reach {
    fn new(net: &Network) -> Self {
        if net.hosts <= ALL_PAIRS {
            return Self::Pairs { width: all_widest(net), latency: all_fastest(net) };
        }
        let nothing = vec![0.0; net.capacity.len()];
        let best = |edges: &[u32]| {
            edges.iter().fold((-1.0f64, f64::INFINITY), |(width, latency), edge| {
                (width.max(net.residual(*edge, &nothing)), latency.min(net.latency[*edge as usize]))
            })
        };
        let hosts = || 0..net.hosts as u32;
        Self::Ends {
            out: hosts().map(|host| best(net.edges_from(host))).collect(),
            into: hosts().map(|host| best(net.edges_to(host))).collect(),
        }
    }

    /// The most width and the least latency from `a` to `b`.
    fn best(&self, hosts: usize, a: usize, b: usize) -> (f64, f64) {
        // Single precision rounds by less than a part in ten million.
        let slack = 1.0 + 2e-7;
        match self {
            Self::Pairs { width, latency } => {
                let pair = a * hosts + b;
                (f64::from(width[pair]) * slack, f64::from(latency[pair]) / slack)
            }
            Self::Ends { out, into } => (out[a].0.min(into[b].0), out[a].1.max(into[b].1)),
        }
    }
}

impl<'f> Pairs<'f> {
    pub(crate) fn new(fixed: &'f Fixed<'f>, objective: &'f dyn Objective) -> Self {
        Self { reach: Reach::new(&fixed.net), fixed, objective }
    }

    /// The most that `demand` can be worth (to maximise) from host `a` to host `b`; minus infinity
    /// where it can't be served at all.
    pub(crate) fn value(&self, demand: usize, a: usize, b: usize) -> f64 {
        self.judge(demand, self.service(demand, a, b))
    }

    fn judge(&self, demand: usize, service: Service) -> f64 {
        let asked = &self.fixed.problem.demands()[demand];
        if service.latency > self.fixed.latency_bound[demand] * (1.0 + 1e-9)
            || service.residual < -1e-6 * asked.bandwidth.max(1e-9)
        {
            return f64::NEG_INFINITY;
        }
        let service = Service { residual: service.residual.max(0.0), ..service };
        self.objective.gain(asked, service)
    }

    /// The best of everything that `demand` can get from host `a` to host `b`, each on a path of its own.
    pub(crate) fn service(&self, demand: usize, a: usize, b: usize) -> Service {
        if a == b {
            return Service { residual: self.fixed.net.internal[a], latency: 0.0, hops: 0 };
        }
        let (width, latency) = self.reach.best(self.fixed.net.hosts, a, b);
        Service { residual: width - self.fixed.bandwidth[demand], latency, hops: 1 }
    }

    /// The most that demands of `vm` on `host` can be worth together with `partner` elsewhere.
    fn elsewhere(&self, vm: usize, host: usize, partner: usize, demands: &[usize]) -> f64 {
        match &self.reach {
            Reach::Pairs { .. } => {
                let others = 0..self.fixed.net.hosts;
                let others = others.filter(|other| *other != host && self.may_be(partner, *other));
                others.map(|other| self.at(vm, host, other, demands)).fold(f64::NEG_INFINITY, f64::max)
            }
            Reach::Ends { out, into } => {
                let value = |demand: &usize| {
                    let leaves = self.fixed.from[*demand] as usize == vm;
                    let (width, latency) = if leaves { out[host] } else { into[host] };
                    let residual = width - self.fixed.bandwidth[*demand];
                    self.judge(*demand, Service { residual, latency, hops: 1 })
                };
                demands.iter().map(value).sum()
            }
        }
    }

    /// The most that demands of `vm` on `host` can be worth together with the partner on `other`.
    fn at(&self, vm: usize, host: usize, other: usize, demands: &[usize]) -> f64 {
        let value = |demand: &usize| match self.fixed.from[*demand] as usize == vm {
            true => self.value(*demand, host, other),
            false => self.value(*demand, other, host),
        };
        demands.iter().map(value).sum()
    }

    /// Whether `vm` may be on `host`, all by itself.
    pub(crate) fn may_be(&self, vm: usize, host: usize) -> bool {
        let (need, room, pin) = (self.fixed.need[vm], self.fixed.room[host], self.fixed.pin[vm]);
        let fits = (0..2).all(|kind| need[kind] <= room[kind] * (1.0 + 1e-9));
        fits && (pin == NONE || pin as usize == host)
    }
}

/// What the star of each VM is worth at most on each host: half of each of its demands.
struct Stars<'p, 'f> {
    pairs: &'p Pairs<'f>,
    /// By rows of VMs; minus infinity where the VM can't be.
    value: Vec<f64>,
}

impl<'p, 'f> Stars<'p, 'f> {
    fn new(pairs: &'p Pairs<'f>, run: &Run<'_>) -> Option<Self> {
        let fixed = pairs.fixed;
        let (vms, hosts) = (fixed.need.len(), fixed.net.hosts);
        let mut value = vec![f64::NEG_INFINITY; vms * hosts];
        for vm in 0..vms {
            if run.is_over() {
                return None;
            }
            for host in (0..hosts).filter(|host| pairs.may_be(vm, *host)) {
                value[vm * hosts + host] = star(pairs, vm, host);
            }
        }
        Some(Self { pairs, value })
    }

    /// The Lagrangean dual of the assignment of VMs to hosts, improved step by step.
    fn limit(&self, run: &mut Run<'_>) -> f64 {
        let fixed = self.pairs.fixed;
        let (vms, hosts) = (fixed.need.len(), fixed.net.hosts);
        // A price per unit of compute and of size on each host.
        let mut price = vec![[0.0f64; 2]; hosts];
        let mut best = f64::INFINITY;
        let (mut scale, mut stale) = (0.5, 0);
        for step in 0..STEPS {
            if step > 0 && (run.is_over() || scale < 1e-3) {
                break;
            }
            let mut limit = 0.0;
            let mut over: Vec<[f64; 2]> = fixed.room.iter().map(|room| [-room[0], -room[1]]).collect();
            for (price, room) in price.iter().zip(&fixed.room) {
                limit += price[0] * room[0] + price[1] * room[1];
            }
            for vm in 0..vms {
                let need = fixed.need[vm];
                let paid = |host: usize| {
                    self.value[vm * hosts + host] - price[host][0] * need[0] - price[host][1] * need[1]
                };
                let mut chosen = (f64::NEG_INFINITY, 0);
                for host in 0..hosts {
                    let paid = paid(host);
                    if paid > chosen.0 {
                        chosen = (paid, host);
                    }
                }
                limit += chosen.0;
                over[chosen.1] = [over[chosen.1][0] + need[0], over[chosen.1][1] + need[1]];
            }
            // Steps that hardly help are as good as none.
            let helps = limit < best - 1e-6 * limit.abs();
            best = best.min(limit);
            stale = if helps { 0 } else { stale + 1 };
            if stale > 8 {
                (scale, stale) = (scale * 0.6, 0);
            }
            if !best.is_finite() {
                break;
            }
            // Units differ: measure each kind by what a host has.
            let norm: f64 = over
                .iter()
                .zip(&fixed.room)
                .flat_map(|(over, room)| (0..2).map(|kind| over[kind].max(0.0) / room[kind].max(1e-9)))
                .map(|share| share * share)
                .sum();
            if norm <= 0.0 && price.iter().all(|price| *price == [0.0; 2]) {
                break;
            }
            let length = scale * best.abs().max(1e-9) * 0.05 / norm.max(1e-9).sqrt();
            for host in 0..hosts {
                for kind in 0..2 {
                    let room = fixed.room[host][kind].max(1e-9);
                    let move_by = length * (over[host][kind] / room).clamp(-0.3, 3.0) / room;
                    price[host][kind] = (price[host][kind] + move_by).max(0.0);
                }
            }
        }
        best
    }
}

/// Half of what the demands of `vm` are worth at most when it is on `host`.
fn star(pairs: &Pairs<'_>, vm: usize, host: usize) -> f64 {
    let fixed = pairs.fixed;
    // Per partner: the best elsewhere, and what it gains more by sharing the host.
    let mut partners: Vec<(usize, Vec<usize>)> = Vec::new();
    for demand in &fixed.demands_of[vm] {
        let demand = *demand as usize;
        let (from, to) = (fixed.from[demand] as usize, fixed.to[demand] as usize);
        let partner = if from == vm { to } else { from };
        match partners.iter_mut().find(|(other, _)| *other == partner) {
            Some((_, demands)) => demands.push(demand),
            None => partners.push((partner, vec![demand])),
        }
    }
    let mut sum = 0.0;
    let mut sharing: Vec<(f64, [f64; 2])> = Vec::new();
    for (partner, demands) in &partners {
        let elsewhere = pairs.elsewhere(vm, host, *partner, demands);
        let may = pairs.may_be(*partner, host);
        let here = if may { pairs.at(vm, host, host, demands) } else { f64::NEG_INFINITY };
        if elsewhere == f64::NEG_INFINITY {
            sum += here;
        } else {
            sum += elsewhere;
            if here > elsewhere {
                sharing.push((here - elsewhere, fixed.need[*partner]));
            }
        }
    }
    let left = [0, 1].map(|kind| fixed.room[host][kind] * (1.0 + 1e-9) - fixed.need[vm][kind]);
    let gain = [0, 1].map(|kind| fractional_knapsack(&mut sharing, kind, left[kind]));
    0.5 * (sum + gain[0].min(gain[1]))
}

/// The most gain that fits into `room` if things could be cut.
pub(crate) fn fractional_knapsack(things: &mut [(f64, [f64; 2])], kind: usize, mut room: f64) -> f64 {
    let density = |thing: &(f64, [f64; 2])| thing.0 / thing.1[kind].max(1e-12);
    things.sort_by(|x, y| density(y).total_cmp(&density(x)));
    let mut gain = 0.0;
    for (worth, need) in things.iter() {
        if need[kind] >= room {
            return gain + worth * (room / need[kind].max(1e-12)).clamp(0.0, 1.0);
        }
        gain += worth;
        room -= need[kind];
    }
    gain
}
