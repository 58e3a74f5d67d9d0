//! What a move could change at best, by a look that costs far less than a trial.

use crate::fixed::TOLERANCE;
use crate::network::NONE;
use crate::objective::Service;
use crate::routes::Routes;
use crate::state::State;

impl State<'_> {
    /// What moving VMs could change at best: cheap, and hardly ever less than
    /// [`try_shift`](Self::try_shift) then finds. For monotone objectives only.
    pub(crate) fn outlook(&mut self, shifts: &[(u32, u32)], routes: &mut Routes) -> f64 {
        let fixed = self.fixed;
        let host_of = |vm: u32, host: &[u32]| {
            shifts.iter().find(|(moved, _)| *moved == vm).map_or(host[vm as usize], |(_, to)| *to)
        };
        let mut outlook = 0.0;
        for (vm, target) in shifts {
            let now = self.host[*vm as usize];
            outlook += fixed.distance_from_home(*vm, now) - fixed.distance_from_home(*vm, *target);
            for demand in &fixed.demands_of[*vm as usize] {
                let index = *demand as usize;
                let (from, to) = (fixed.from[index], fixed.to[index]);
                let (a, b) = (host_of(from, &self.host), host_of(to, &self.host));
                if a == NONE || b == NONE {
                    continue;
                }
                let bandwidth = fixed.bandwidth[index];
                let (width, penalty) = if a == b {
                    (fixed.net.internal[a as usize], 2.0 * fixed.unit)
                } else {
                    let anchor = if from == *vm { b } else { a };
                    (routes.widest(&fixed.net, a, b, anchor) - bandwidth, 0.5 * fixed.unit)
                };
                let service = Service { residual: width.max(0.0), latency: 0.0, hops: usize::from(a != b) };
                let mut value = self.objective.gain(&fixed.problem.demands()[index], service);
                if width < 0.0 {
                    value -= penalty;
                }
                // What others may gain on the path that is left: the bandwidth, for a few users per hop.
                let freed = 2.0 * bandwidth * self.path[index].len() as f64;
                outlook += value - self.served[index].value + freed;
            }
        }
        outlook
    }

    /// What another path for `demand` could change at best; infinite where that isn't known. Never less
    /// than [`try_paths`](Self::try_paths) then finds.
    ///
    /// Whoever isn't held back by an edge that becomes freer gains nothing, whoever is gains no more than the
    /// bandwidth; whoever is held back by an edge that is taken loses all of it.
    pub(crate) fn path_outlook(&mut self, demand: u32, path: &[u32]) -> f64 {
        let Some(weight) = self.weight.as_ref().map(|weight| weight[demand as usize]) else {
            return f64::INFINITY;
        };
        let (fixed, net) = (self.fixed, &self.fixed.net);
        let served = self.served[demand as usize];
        if !self.is_feasible() || served.at == NONE || path.is_empty() {
            return f64::INFINITY;
        }
        self.glance = self.glance.wrapping_add(1);
        if self.glance == 0 {
            self.glanced.fill(0);
            self.glance = 1;
        }
        let held =
            |resource: u32| self.held[resource as usize] - if resource == served.at { weight } else { 0.0 };
        let mut balance = 0.0;
        for resource in self.path[demand as usize].iter().flat_map(|edge| net.resources(*edge)) {
            self.glanced[resource as usize] = self.glance;
            balance += held(resource);
        }
        let bandwidth = fixed.bandwidth[demand as usize];
        let (mut residual, mut latency, mut scale) = (f64::INFINITY, 0.0, 1.0);
        for edge in path {
            latency += net.latency[*edge as usize];
            for resource in net.resources(*edge) {
                balance -= held(resource);
                let mut left = self.left(resource);
                if self.glanced[resource as usize] != self.glance {
                    left -= bandwidth;
                }
                if left < residual {
                    (residual, scale) = (left, net.capacity[resource as usize]);
                }
            }
        }
        let service = Service { residual: residual.max(0.0), latency, hops: path.len() };
        let mut value = self.objective.gain(&fixed.problem.demands()[demand as usize], service);
        if residual < -TOLERANCE * scale.max(1.0) {
            value -= 0.5 * fixed.unit;
        }
        if latency > fixed.latency_bound[demand as usize] * (1.0 + TOLERANCE) {
            value -= fixed.unit;
        }
        value - served.value + bandwidth * balance
    }
}
