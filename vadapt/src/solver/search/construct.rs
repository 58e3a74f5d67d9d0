//! Starts: VMs in the order in which they are drawn to those already placed.

use std::collections::{HashSet, VecDeque};

use rand::RngExt;

use crate::fixed::Fixed;
use crate::network::NONE;
use crate::run::Run;
use crate::solver::search::Searcher;

/// Candidate hosts that are rated for each VM, at most.
const CANDIDATES: usize = 28;

/// With fewer candidates around the partners, hosts beyond are looked at: so many hosts, at most.
const BEYOND: usize = 6;
const LOOKED_AT: usize = 400;

/// Those of them whose effect is worked out.
const RATED: usize = 10;

/// Hosts from the most to the least promising: those with much internal bandwidth and with
/// wide edges to roomy neighbours.
pub(super) fn promising_hosts(fixed: &Fixed<'_>) -> Vec<u32> {
    let net = &fixed.net;
    let vms = fixed.need.len().max(1);
    let mean = fixed.need.iter().fold([0.0; 2], |sum, need| [sum[0] + need[0], sum[1] + need[1]]);
    let mean = [mean[0] / vms as f64, mean[1] / vms as f64];
    // How many mean VMs a host takes.
    let slots: Vec<f64> = fixed
        .room
        .iter()
        .map(|room| {
            let fit = |kind: usize| if mean[kind] > 0.0 { room[kind] / mean[kind] } else { vms as f64 };
            fit(0).min(fit(1)).min(vms as f64)
        })
        .collect();
    let nothing = vec![0.0; net.capacity.len()];
    let own: Vec<f64> = (0..net.hosts)
        .map(|host| {
            let mut ways: Vec<(f64, f64)> = net
                .edges_from(host as u32)
                .iter()
                .map(|edge| (net.residual(*edge, &nothing), slots[net.to[*edge as usize] as usize]))
                .collect();
            ways.sort_by(|x, y| y.0.total_cmp(&x.0));
            let mut left = vms as f64;
            let mut appeal = net.internal[host].max(0.0) * (slots[host] - 1.0).clamp(0.0, left);
            left -= slots[host];
            for (width, slots) in ways {
                if left <= 0.0 {
                    break;
                }
                appeal += width * slots.min(left);
                left -= slots.max(0.05);
            }
            if slots[host] < 0.5 { appeal * 0.5 } else { appeal }
        })
        .collect();
    // A host is as good as its surroundings: one step of diffusion.
    let around = |host: u32| {
        let ways = net.edges_from(host);
        let sum: f64 = ways.iter().map(|edge| own[net.to[*edge as usize] as usize]).sum();
        own[host as usize] + sum / ways.len().max(1) as f64
    };
    let mut rated: Vec<(f64, u32)> = (0..net.hosts as u32).map(|host| (around(host), host)).collect();
    rated.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
    rated.into_iter().map(|(_, host)| host).collect()
}

impl Searcher<'_> {
    /// Places all VMs anew; `index` 0 begins at the most promising host, others elsewhere.
    pub(super) fn construct(&mut self, index: usize, run: &Run<'_>) {
        let fixed = self.fixed;
        self.clear();
        for vm in 0..fixed.pin.len() as u32 {
            if fixed.pin[vm as usize] != NONE {
                self.put(vm, fixed.pin[vm as usize]);
            }
        }
        let mut pull = self.pulls();
        let mut waiting: Vec<u32> = fixed.movable.clone();
        while !waiting.is_empty() {
            let by_pull = |vm: u32| (pull[vm as usize], fixed.demands_of[vm as usize].len());
            let best = (0..waiting.len()).max_by(|x, y| {
                let (x, y) = (by_pull(waiting[*x]), by_pull(waiting[*y]));
                x.0.total_cmp(&y.0).then(x.1.cmp(&y.1))
            });
            let vm = waiting.swap_remove(best.unwrap_or(0));
            let elapsed = run.elapsed();
            let host = if pull[vm as usize] <= 0.0 || elapsed > run.limit() {
                // Past the deadline any host with room will do.
                self.seed_host(vm, index)
            } else if elapsed > run.limit() / 2 {
                // An answer in time counts more than a good start.
                self.nearby(vm).unwrap_or_else(|| self.seed_host(vm, index))
            } else {
                self.best_candidate(vm)
            };
            self.put(vm, host);
            for demand in &fixed.demands_of[vm as usize] {
                let (from, to) = (fixed.from[*demand as usize], fixed.to[*demand as usize]);
                pull[if from == vm { to } else { from } as usize] += 1.0;
            }
        }
    }

    /// How many demands each VM has with placed VMs.
    fn pulls(&self) -> Vec<f64> {
        let fixed = self.fixed;
        let mut pull = vec![0.0; fixed.need.len()];
        for (from, to) in fixed.from.iter().zip(&fixed.to) {
            pull[*from as usize] += f64::from(u8::from(self.state.host[*to as usize] != NONE));
            pull[*to as usize] += f64::from(u8::from(self.state.host[*from as usize] != NONE));
        }
        pull
    }

    /// Takes all VMs away.
    pub(super) fn clear(&mut self) {
        let nobody = vec![NONE; self.fixed.need.len()];
        self.state.restore(&nobody, &vec![Vec::new(); self.fixed.from.len()]);
    }

    pub(super) fn put(&mut self, vm: u32, host: u32) {
        self.state.try_shift(&[(vm, host)], &mut self.routes);
        self.state.commit();
    }

    fn seed_host(&mut self, vm: u32, index: usize) -> u32 {
        let skip = if index == 0 {
            0
        } else {
            // Further starts lie among the better half, rather near the front.
            let most = (self.promising.len() / 2).max(1);
            let r: f64 = self.rng.random();
            (r * r * most as f64) as usize
        };
        let order = self.promising.iter().skip(skip).chain(self.promising.iter().take(skip));
        let fitting = order.copied().find(|host| self.state.has_room(*host, vm) && self.may_join(*host, vm));
        fitting.or_else(|| self.roomiest()).unwrap_or(0)
    }

    /// Whether `vm` has no partner on `host`, or one that it can talk to there.
    fn may_join(&self, host: u32, vm: u32) -> bool {
        let fixed = self.fixed;
        let partner = |demand: &u32| {
            let (a, b) = (fixed.from[*demand as usize], fixed.to[*demand as usize]);
            if a == vm { b } else { a }
        };
        fixed.net.internal[host as usize] >= 0.0
            || !fixed.demands_of[vm as usize].iter().any(|d| self.state.host[partner(d) as usize] == host)
    }

    /// Adds the hosts with room that are fewest hops from `start`.
    fn add_nearest(&self, start: u32, vm: u32, candidates: &mut Vec<u32>) {
        let net = &self.fixed.net;
        let (mut seen, mut waiting) = (HashSet::from([start]), VecDeque::from([start]));
        while let Some(at) = waiting.pop_front() {
            if seen.len() > LOOKED_AT || candidates.len() >= 2 * BEYOND {
                return;
            }
            for edge in net.edges_from(at).iter().take(CANDIDATES) {
                let next = net.to[*edge as usize];
                if seen.insert(next) {
                    waiting.push_back(next);
                    if self.state.has_room(next, vm) && !candidates.contains(&next) {
                        candidates.push(next);
                    }
                }
            }
        }
    }

    /// The width between `host` and the placed partners of `vm`, summed; less where they are too far.
    fn promise(&mut self, vm: u32, host: u32) -> f64 {
        let fixed = self.fixed;
        let mut sum = 0.0;
        for demand in &fixed.demands_of[vm as usize] {
            let (from, to) = (fixed.from[*demand as usize], fixed.to[*demand as usize]);
            let other = self.state.host[if from == vm { to } else { from } as usize];
            if other == NONE {
                continue;
            }
            let (a, b) = if from == vm { (host, other) } else { (other, host) };
            sum += match a == b {
                true if fixed.net.internal[host as usize] < 0.0 => -fixed.unit,
                true => fixed.net.internal[host as usize],
                false => self.routes.widest(&fixed.net, a, b, other),
            };
            let bound = fixed.latency_bound[*demand as usize];
            if a != b && bound.is_finite() && self.routes.fastest(&fixed.net, a, b, other) > bound {
                sum -= fixed.unit;
            }
        }
        sum
    }

    /// A host with room where a placed partner is, or at the widest edge of one.
    fn nearby(&self, vm: u32) -> Option<u32> {
        let fixed = self.fixed;
        let fits = |host: &u32| self.state.has_room(*host, vm) && self.may_join(*host, vm);
        let partners = fixed.demands_of[vm as usize].iter().map(|demand| {
            let (a, b) = (fixed.from[*demand as usize], fixed.to[*demand as usize]);
            self.state.host[if a == vm { b } else { a } as usize]
        });
        let placed: Vec<u32> = partners.filter(|host| *host != NONE).collect();
        let beside = |host: &u32| fixed.net.edges_from(*host).iter().map(|edge| fixed.net.to[*edge as usize]);
        placed.iter().copied().find(fits).or_else(|| placed.iter().flat_map(beside).find(fits))
    }

    fn roomiest(&self) -> Option<u32> {
        let room = |host: &u32| {
            let [compute, size] = self.state.room_left(*host);
            compute.min(size)
        };
        (0..self.fixed.net.hosts as u32).max_by(|x, y| room(x).total_cmp(&room(y)))
    }

    /// The best of the hosts of placed partners, their neighbours and the promising ones.
    fn best_candidate(&mut self, vm: u32) -> u32 {
        let fixed = self.fixed;
        let mut candidates: Vec<u32> = Vec::with_capacity(4 * CANDIDATES);
        let mut partners: Vec<u32> = Vec::new();
        for demand in &fixed.demands_of[vm as usize] {
            let (a, b) = (fixed.from[*demand as usize], fixed.to[*demand as usize]);
            let host = self.state.host[if a == vm { b } else { a } as usize];
            if host != NONE && !partners.contains(&host) {
                partners.push(host);
            }
        }
        candidates.extend(partners.iter().copied().filter(|host| self.state.has_room(*host, vm)));
        for host in &partners {
            let ways = fixed.net.edges_from(*host);
            // The widest edges lead to the best neighbours.
            for way in ways.iter().take(CANDIDATES / 2) {
                let to = fixed.net.to[*way as usize];
                if candidates.len() < CANDIDATES && self.state.has_room(to, vm) && !candidates.contains(&to) {
                    candidates.push(to);
                }
            }
        }
        if let Some(host) = partners.first().filter(|_| candidates.len() < BEYOND) {
            self.add_nearest(*host, vm, &mut candidates);
        }
        let promising = self.promising.iter().copied().filter(|host| self.state.has_room(*host, vm));
        for host in promising.take(CANDIDATES / 3) {
            if !candidates.contains(&host) {
                candidates.push(host);
            }
        }
        // A look at the widths first, the whole effect for those that seem best.
        let mut rated: Vec<(f64, u32)> =
            candidates.into_iter().map(|host| (self.promise(vm, host), host)).collect();
        rated.sort_by(|x, y| y.0.total_cmp(&x.0));
        let mut best = (f64::NEG_INFINITY, NONE);
        for (_, host) in rated.into_iter().take(RATED) {
            let delta = self.state.try_shift(&[(vm, host)], &mut self.routes);
            self.state.discard();
            if delta > best.0 {
                best = (delta, host);
            }
        }
        if best.1 == NONE { self.roomiest().unwrap_or(0) } else { best.1 }
    }
}
