//! What demands are worth under the present loads, worked out for those alone that are touched.

use crate::fixed::TOLERANCE;
use crate::network::NONE;
use crate::objective::Service;
use crate::state::{BROKEN, Served, State, UNSERVED};

impl State<'_> {
    /// Judges anew whoever is touched by the changed loads; returns the change of the value.
    pub(super) fn settle(&mut self) -> f64 {
        let mut delta = 0.0;
        let (mut fresh, moved) = (std::mem::take(&mut self.trial.served), &self.trial.moved);
        for (demand, path) in moved.iter().zip(&self.trial.paths) {
            self.slot[*demand as usize] = NONE;
            let served = self.judge(*demand, path, &self.host);
            delta += served.value - self.served[*demand as usize].value;
            fresh.push((*demand, served));
        }
        // Where room grew, whoever was held back there is judged by its whole path.
        for (resource, before) in &self.trial.loads {
            let capacity = self.fixed.net.capacity[*resource as usize];
            let load = self.load[*resource as usize];
            delta += self.fixed.overload_penalty(*resource, *before);
            delta -= self.fixed.overload_penalty(*resource, load);
            let (old, new) = (self.residual_at(*resource, *before), self.residual_at(*resource, load));
            if new - old <= TOLERANCE * capacity {
                continue;
            }
            for user in &self.users[*resource as usize] {
                let index = *user as usize;
                if old > self.served[index].residual + TOLERANCE * capacity
                    || self.demand_mark[index] == self.epoch
                {
                    continue;
                }
                self.demand_mark[index] = self.epoch;
                self.slot[index] = NONE;
                let served = self.judge(*user, &self.path[index], &self.host);
                delta += served.value - self.served[index].value;
                fresh.push((*user, served));
            }
        }
        // Where it shrank, that alone is the new limit of whoever had more.
        for (resource, before) in &self.trial.loads {
            let capacity = self.fixed.net.capacity[*resource as usize];
            let load = self.load[*resource as usize];
            let (old, new) = (self.residual_at(*resource, *before), self.residual_at(*resource, load));
            if old - new <= TOLERANCE * capacity {
                continue;
            }
            for user in &self.users[*resource as usize] {
                let index = *user as usize;
                let seen = self.demand_mark[index] == self.epoch;
                if seen && self.slot[index] == NONE {
                    continue;
                }
                let now = if seen { fresh[self.slot[index] as usize].1 } else { self.served[index] };
                if new >= now.residual {
                    continue;
                }
                let served = self.rate(*user, new, now.latency, self.path[index].len(), *resource);
                delta += served.value - now.value;
                if seen {
                    fresh[self.slot[index] as usize].1 = served;
                } else {
                    self.demand_mark[index] = self.epoch;
                    self.slot[index] = fresh.len() as u32;
                    fresh.push((*user, served));
                }
            }
        }
        self.trial.served = fresh;
        delta
    }

    pub(super) fn judge(&self, demand: u32, path: &[u32], hosts: &[u32]) -> Served {
        let (fixed, net) = (self.fixed, &self.fixed.net);
        let from = hosts[fixed.from[demand as usize] as usize];
        let to = hosts[fixed.to[demand as usize] as usize];
        if from == NONE || to == NONE {
            return UNSERVED;
        }
        let unit = fixed.unit;
        let (mut residual, mut latency) = (f64::INFINITY, 0.0);
        if from == to {
            residual = net.internal[from as usize];
            if residual < 0.0 {
                return Served { residual: 0.0, latency, value: -2.0 * unit, at: NONE, broken: true };
            }
        } else if path.is_empty() {
            return Served { residual: 0.0, latency, value: -4.0 * unit, at: NONE, broken: true };
        }
        let mut at = NONE;
        for edge in path {
            latency += net.latency[*edge as usize];
            for resource in net.resources(*edge) {
                let left = self.residual_at(resource, self.load[resource as usize]);
                if left < residual {
                    (residual, at) = (left, resource);
                }
            }
        }
        self.rate(demand, residual, latency, path.len(), at)
    }

    /// What a demand is worth that has a path; `at` is its bottleneck.
    fn rate(&self, demand: u32, residual: f64, latency: f64, hops: usize, at: u32) -> Served {
        let (fixed, unit) = (self.fixed, self.fixed.unit);
        let mut penalty = 0.0;
        let bound = fixed.latency_bound[demand as usize];
        if latency > bound * (1.0 + TOLERANCE) {
            penalty += unit * (1.0 + (latency / bound.max(1e-9) - 1.0).min(10.0));
        }
        let service = Service { residual: residual.max(0.0), latency, hops };
        let value = self.objective.gain(&fixed.problem.demands()[demand as usize], service) - penalty;
        Served { residual, latency, value, at, broken: penalty > 0.0 || residual == BROKEN }
    }
}
