//! Drafts: mappings judged by what is near what, without routes.
//!
//! In a large network a move with all its routes takes microseconds to milliseconds. A draft
//! judges a pair of hosts by a small neighbourhood of each and takes everything outside for far, so
//! that a move costs some table look-ups; routes follow when the mapping is good.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::fixed::{Fixed, TOLERANCE};
use crate::network::NONE;
use crate::objective::{Objective, Service};
use crate::routes::Key;
use crate::run::Run;

/// Hosts in a neighbourhood.
const NEAR: usize = 64;

/// Hops of a path to somewhere far.
const FAR: u32 = 8;

/// What a Mbit/s takes from others at each hop, in Mbit/s.
const TOLL: f64 = 2.0;

/// Moves between two looks at the clock.
const BATCH: u64 = 64;

/// Moves per VM after which a draft is as good as it gets.
const MOVES: u64 = 4000;

/// A host near another.
#[derive(Debug, Clone, Copy)]
struct Near {
    host: u32,
    hops: u32,
    width: f64,
    latency: f64,
}

/// A mapping under change.
pub(super) struct Draft<'f> {
    fixed: &'f Fixed<'f>,
    objective: &'f dyn Objective,
    pub(super) host: Vec<u32>,
    vms_on: Vec<Vec<u32>>,
    left: Vec<[f64; 2]>,
    /// The neighbourhood of each host that was asked for, in order of hosts.
    near: HashMap<u32, Box<[Near]>>,
    far: Near,
    typical_width: f64,
    // Scratch of searches: cost and way so far.
    reached: HashMap<u32, (f64, Near)>,
}

impl<'f> Draft<'f> {
    /// A draft in which only pinned VMs are placed.
    pub(super) fn new(fixed: &'f Fixed<'f>, objective: &'f dyn Objective) -> Self {
        let net = &fixed.net;
        let nothing = vec![0.0; net.capacity.len()];
        let mut widths: Vec<f64> =
            (0..net.from.len() as u32).map(|edge| net.residual(edge, &nothing)).collect();
        widths.sort_by(f64::total_cmp);
        let share = |part: usize| widths.get(widths.len() * part / 20).copied().unwrap_or(1.0).max(1e-9);
        let mean_latency = net.latency.iter().sum::<f64>() / net.latency.len().max(1) as f64;
        // Paths to far hosts are shared: they have half of what the narrow edges have.
        let far =
            Near { host: NONE, hops: FAR, width: 0.5 * share(1), latency: mean_latency * f64::from(FAR) };
        let mut draft = Self {
            fixed,
            objective,
            host: vec![NONE; fixed.need.len()],
            vms_on: vec![Vec::new(); net.hosts],
            left: fixed.room.clone(),
            near: HashMap::new(),
            far,
            typical_width: share(10),
            reached: HashMap::new(),
        };
        for (vm, pin) in (0..).zip(&fixed.pin).filter(|(_, pin)| **pin != NONE) {
            draft.put(vm, *pin);
        }
        draft
    }

    /// Places all VMs, those with most demands to placed ones first, beginning at the first of
    /// the `promising` hosts.
    pub(super) fn grow(&mut self, promising: &[u32]) {
        let fixed = self.fixed;
        let mut pull = vec![0u32; fixed.need.len()];
        for vm in (0..fixed.pin.len()).filter(|vm| fixed.pin[*vm] != NONE) {
            self.partners(vm as u32).for_each(|partner| pull[partner as usize] += 1);
        }
        let mut waiting = fixed.movable.clone();
        let mut first = 0;
        while !waiting.is_empty() {
            let rank =
                |at: &usize| (pull[waiting[*at] as usize], fixed.demands_of[waiting[*at] as usize].len());
            let vm = waiting.swap_remove((0..waiting.len()).max_by_key(rank).unwrap_or(0));
            let mut candidates: Vec<u32> = Vec::new();
            for partner in self.partners(vm) {
                let host = self.host[partner as usize];
                if host != NONE && !candidates.contains(&host) {
                    candidates.push(host);
                }
            }
            candidates.truncate(12);
            for at in 0..candidates.len() {
                let beside = fixed.net.edges_from(candidates[at]).iter().take(8);
                candidates.extend(beside.map(|edge| fixed.net.to[*edge as usize]));
            }
            while first < promising.len() && self.left[promising[first] as usize][0] <= 0.0 {
                first += 1;
            }
            let open = promising[first..].iter().copied().find(|host| self.has_room(*host, vm));
            candidates.extend(open);
            let mut best = (f64::NEG_INFINITY, open.unwrap_or(0));
            for host in candidates {
                if self.has_room(host, vm) {
                    let worth = self.worth(vm, host);
                    if worth > best.0 {
                        best = (worth, host);
                    }
                }
            }
            self.put(vm, best.1);
            self.partners(vm).for_each(|partner| pull[partner as usize] += 1);
        }
    }

    /// Anneals until `end`, or until that hardly helps any more.
    pub(super) fn anneal(&mut self, end: Duration, run: &Run<'_>, rng: &mut Xoshiro256PlusPlus) {
        let movable = self.fixed.movable.len() as u64;
        let (begin, most) = (run.elapsed(), MOVES * movable);
        let whole = end.saturating_sub(begin).as_secs_f64().max(1e-9);
        let start = 0.5 * self.fixed.unit.min(self.mean_worth());
        let (mut temperature, mut value, mut steps) = (start, 0.0, 0);
        for step in 1..=most {
            steps = step;
            if step.is_multiple_of(BATCH) {
                let now = run.elapsed();
                if now >= end || run.is_cancelled() {
                    break;
                }
                let by_time = now.saturating_sub(begin).as_secs_f64() / whole;
                temperature = start * 1e-3f64.powf(by_time.max(step as f64 / most as f64));
            }
            let least = temperature * rng.random::<f64>().max(1e-300).ln();
            if let Some(delta) = self.step(least, rng) {
                value += delta;
            }
        }
        tracing::debug!(value, steps, elapsed = ?run.elapsed(), "draft");
    }

    /// One random shift or swap, kept if it changes the value by `least` or more.
    fn step(&mut self, least: f64, rng: &mut Xoshiro256PlusPlus) -> Option<f64> {
        let fixed = self.fixed;
        let vm = fixed.movable[rng.random_range(0..fixed.movable.len())];
        let demands = &fixed.demands_of[vm as usize];
        let demand = *demands.get(rng.random_range(0..demands.len().max(1)))? as usize;
        let partner = if fixed.from[demand] == vm { fixed.to[demand] } else { fixed.from[demand] };
        let (host, mut target) = (self.host[vm as usize], self.host[partner as usize]);
        if fixed.net.internal[target as usize] < 0.0 || rng.random::<f64>() < 0.5 {
            let ways = fixed.net.edges_from(target);
            let r: f64 = rng.random();
            target = fixed.net.to[*ways.get((r * r * ways.len() as f64) as usize)? as usize];
        }
        if target == host {
            return None;
        }
        let others = &self.vms_on[target as usize];
        let fits = self.has_room(target, vm);
        if fits && (others.is_empty() || rng.random::<f64>() < 0.75) {
            let delta = self.worth(vm, target) - self.worth(vm, host);
            if delta < least {
                return None;
            }
            self.lift(vm);
            self.put(vm, target);
            return Some(delta);
        }
        let other = *others.get(rng.random_range(0..others.len().max(1)))?;
        if fixed.pin[other as usize] != NONE {
            return None;
        }
        let mut delta = self.worth(vm, target) - self.worth(vm, host);
        self.lift(vm);
        let other_fits = self.has_room(host, other);
        if !other_fits {
            self.put(vm, host);
            return None;
        }
        self.put(vm, target);
        delta += self.worth(other, host) - self.worth(other, target);
        self.lift(other);
        let now_fits = (0..2)
            .all(|kind| self.left[target as usize][kind] >= -TOLERANCE * fixed.room[target as usize][kind]);
        if now_fits && delta >= least {
            self.put(other, host);
            return Some(delta);
        }
        self.put(other, target);
        self.lift(vm);
        self.put(vm, host);
        None
    }

    fn partners(&self, vm: u32) -> impl Iterator<Item = u32> + use<'f> {
        let fixed = self.fixed;
        fixed.demands_of[vm as usize].iter().map(move |demand| {
            let (from, to) = (fixed.from[*demand as usize], fixed.to[*demand as usize]);
            if from == vm { to } else { from }
        })
    }

    fn has_room(&self, host: u32, vm: u32) -> bool {
        let (left, need) = (self.left[host as usize], self.fixed.need[vm as usize]);
        (0..2).all(|kind| need[kind] <= left[kind] + TOLERANCE * self.fixed.room[host as usize][kind])
    }

    fn put(&mut self, vm: u32, host: u32) {
        self.host[vm as usize] = host;
        self.vms_on[host as usize].push(vm);
        (0..2).for_each(|kind| self.left[host as usize][kind] -= self.fixed.need[vm as usize][kind]);
    }

    fn lift(&mut self, vm: u32) {
        let host = self.host[vm as usize];
        self.host[vm as usize] = NONE;
        self.vms_on[host as usize].retain(|other| *other != vm);
        (0..2).for_each(|kind| self.left[host as usize][kind] += self.fixed.need[vm as usize][kind]);
    }

    /// The mean of what a VM is worth now.
    fn mean_worth(&mut self) -> f64 {
        let vms = self.host.len() as u32;
        let sum: f64 = (0..vms).map(|vm| self.worth(vm, self.host[vm as usize]).abs()).sum();
        sum / f64::from(vms.max(1))
    }

    /// What the demands of `vm` with placed partners are worth if it is on `host`.
    fn worth(&mut self, vm: u32, host: u32) -> f64 {
        let fixed = self.fixed;
        let mut sum = -fixed.distance_from_home(vm, host);
        for demand in &fixed.demands_of[vm as usize] {
            let index = *demand as usize;
            let (from, to) = (fixed.from[index], fixed.to[index]);
            let (a, b) =
                if from == vm { (host, self.host[to as usize]) } else { (self.host[from as usize], host) };
            if a != NONE && b != NONE {
                sum += self.pair(index, a, b);
            }
        }
        sum
    }

    fn pair(&mut self, demand: usize, a: u32, b: u32) -> f64 {
        let fixed = self.fixed;
        let asked = &fixed.problem.demands()[demand];
        if a == b {
            let residual = fixed.net.internal[a as usize];
            if residual < 0.0 {
                return -2.0 * fixed.unit;
            }
            return self.objective.gain(asked, Service { residual, latency: 0.0, hops: 0 });
        }
        let way = self.way(a, b);
        let residual = way.width - asked.bandwidth;
        let hops = way.hops as usize;
        let service = Service { residual: residual.max(0.0), latency: way.latency, hops };
        let mut worth = self.objective.gain(asked, service) - TOLL * asked.bandwidth * hops as f64;
        if residual < 0.0 {
            worth -= 0.5 * fixed.unit;
        }
        if way.latency > fixed.latency_bound[demand] {
            worth -= fixed.unit;
        }
        worth
    }

    fn way(&mut self, a: u32, b: u32) -> Near {
        if !self.near.contains_key(&a) {
            let near = self.neighbourhood(a);
            self.near.insert(a, near);
        }
        let near = &self.near[&a];
        near.binary_search_by_key(&b, |near| near.host).map_or(self.far, |at| near[at])
    }

    /// The nearest hosts of `root`, by width and hops.
    fn neighbourhood(&mut self, root: u32) -> Box<[Near]> {
        let net = &self.fixed.net;
        self.reached.clear();
        let mut heap = BinaryHeap::new();
        let mut found = Vec::with_capacity(NEAR);
        let start = Near { host: root, hops: 0, width: f64::INFINITY, latency: 0.0 };
        self.reached.insert(root, (0.0, start));
        heap.push(Reverse((Key(0.0), root)));
        while let Some(Reverse((Key(so_far), at))) = heap.pop() {
            let (cost, way) = self.reached[&at];
            if so_far > cost {
                continue;
            }
            found.push(way);
            if found.len() > NEAR {
                break;
            }
            // The widest edges come first; hubs have too many.
            for edge in net.edges_from(at).iter().take(2 * NEAR) {
                let (next, width) = (net.to[*edge as usize], net.capacity[*edge as usize]);
                let reached = so_far + 0.2 + self.typical_width / width.max(1e-9);
                if self.reached.get(&next).is_none_or(|(cost, _)| reached < *cost) {
                    let latency = way.latency + net.latency[*edge as usize];
                    let near = Near { host: next, hops: way.hops + 1, width: way.width.min(width), latency };
                    self.reached.insert(next, (reached, near));
                    heap.push(Reverse((Key(reached), next)));
                }
            }
        }
        found.sort_by_key(|near| near.host);
        found.into_boxed_slice()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::generate::{Generate, NetworkShape};
    use crate::objective::ResidualBandwidth;
    use crate::problem::VmId;
    use crate::run::StepClock;

    #[test]
    fn drafts_keep_pins_and_room_and_get_better() {
        for seed in 0..6 {
            let network =
                [NetworkShape::TwoTier, NetworkShape::Waxman, NetworkShape::Torus][seed as usize % 3];
            let what = Generate { hosts: 300, vms: 60, network, fill: 0.05, seed, ..Generate::default() };
            let mut problem = what.problem().unwrap();
            let pin = problem.graph().node_indices().nth(7).unwrap();
            problem.pin(VmId::new(0), pin).unwrap();
            let fixed = Fixed::new(&problem, &ResidualBandwidth);
            let mut draft = Draft::new(&fixed, &ResidualBandwidth);
            draft.grow(&(0..300).collect::<Vec<_>>());
            let worth = |draft: &mut Draft<'_>| draft.mean_worth();
            let grown = worth(&mut draft);
            let clock = StepClock::default();
            let run = Run::new(&clock, Duration::from_secs(1));
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            draft.anneal(Duration::from_millis(2), &run, &mut rng);
            assert!(worth(&mut draft) >= 0.95 * grown, "seed {seed}");
            assert_eq!(draft.host[0], 7, "seed {seed}");
            let mut used = vec![[0.0; 2]; 300];
            for (vm, host) in draft.host.iter().enumerate() {
                (0..2).for_each(|kind| used[*host as usize][kind] += fixed.need[vm][kind]);
            }
            for (used, room) in used.iter().zip(&fixed.room) {
                assert!((0..2).all(|kind| used[kind] <= room[kind] * (1.0 + 1e-6)), "seed {seed}");
            }
        }
    }
}
