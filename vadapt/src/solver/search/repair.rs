//! Repair: when no start is feasible, look for anything that is.
//!
//! The objective is put aside; what counts is how much is missing: bandwidth on edges, room on hosts,
//! time on paths. Every move is about something that is missing (the focused walk of WalkSAT:
//! Selman, Kautz, Cohen 1994), with annealing, and edges that stay too full weigh more and more
//! (breakout: Morris 1993). Demands that move take the path on which least is missing then.

use std::time::Duration;

use rand::RngExt;

use crate::fixed::TOLERANCE;
use crate::network::NONE;
use crate::run::Run;
use crate::solver::search::Searcher;
use crate::solver::search::missing::Repair;

/// Moves between two looks at the clock.
const BATCH: u64 = 8;

/// Moves without progress after which full edges weigh more.
const PATIENCE: u64 = 60;

/// The share of exchanges that send the other VM to a third host.
const CHAINS: f64 = 0.3;

/// Temperatures of a round: the first and the last, in mean demands that lack all their bandwidth.
const HEAT: (f64, f64) = (0.6, 0.02);

impl Searcher<'_> {
    /// Looks for a feasible state until `end`, from the best so far; whether there is one now.
    pub(super) fn repair(&mut self, end: Duration, run: &mut Run<'_>) -> bool {
        let mut round = 0u32;
        let begin = run.elapsed();
        let mut length = end.saturating_sub(begin) / 20;
        let mut repair = Repair::new(self.fixed, self.rng.random());
        while !self.best.feasible && run.elapsed() < end && !run.is_cancelled() {
            if round.is_multiple_of(3) {
                if round > 0 {
                    self.construct(round as usize, run);
                    self.keep();
                } else {
                    let best = self.best.clone();
                    self.back_to(&best);
                }
                repair.restart(&self.state.host, &self.state.path);
            }
            let now = run.elapsed();
            let found = repair.round(now, end.min(now + length), run);
            tracing::debug!(round, found, missing = repair.missing, moves = repair.moves, "repair");
            if found {
                self.state.restore(&repair.host, &repair.path);
                self.keep();
            }
            round += 1;
            length += length / 10;
        }
        self.moves += repair.moves;
        self.best.feasible
    }
}

impl Repair<'_> {
    /// Moves until `end`, or until nothing is missing; ends with the best state met.
    fn round(&mut self, begin: Duration, end: Duration, run: &mut Run<'_>) -> bool {
        let whole = end.saturating_sub(begin).as_secs_f64().max(1e-9);
        let mut temperature = HEAT.0;
        let mut best = (self.plain(), self.host.clone(), self.path.clone());
        let (mut least, mut stale) = (self.missing, 0);
        while !self.is_feasible() {
            self.moves += 1;
            if self.moves.is_multiple_of(BATCH) {
                let now = run.elapsed();
                if now >= end || run.is_cancelled() {
                    break;
                }
                let part = now.saturating_sub(begin).as_secs_f64() / whole;
                temperature = HEAT.0 * (HEAT.1 / HEAT.0).powf(part);
                run.report(self.moves, None);
            }
            let before = self.missing;
            if !self.try_move() {
                continue;
            }
            let allowed = -temperature * self.rng.random::<f64>().max(1e-300).ln();
            if self.missing - before > allowed {
                self.undo();
                stale += 1;
            } else {
                self.moved.clear();
                self.rerouted.clear();
                stale += 1;
                if self.missing < least - 1e-9 {
                    (least, stale) = (self.missing, 0);
                }
                let plain = if self.missing < 2.0 * best.0 { self.plain() } else { f64::INFINITY };
                if plain < best.0 - 1e-9 {
                    best = (plain, self.host.clone(), self.path.clone());
                }
            }
            if stale > PATIENCE {
                for at in 0..self.full.len() {
                    let resource = self.full[at];
                    self.missing += 0.2 * self.excess(resource);
                    self.weight[resource as usize] += 0.2;
                }
                (least, stale) = (self.missing, 0);
            }
        }
        if self.is_feasible() {
            return true;
        }
        self.weight.fill(1.0);
        self.restore(&best.1, &best.2);
        false
    }

    /// A random move about something that is missing; false if there was nothing to try.
    fn try_move(&mut self) -> bool {
        let dice: f64 = self.rng.random();
        if self.overloaded > 0 && (dice < 0.4 || (self.full.is_empty() && self.faults == 0)) {
            let Some(host) = self.overloaded_host() else { return false };
            let vms = &self.vms_on[host as usize];
            let vm = vms[self.rng.random_range(0..vms.len())];
            return self.try_place(vm);
        }
        let Some(demand) = self.someone() else { return false };
        let (a, b) = self.ends(demand);
        if a != b && self.rng.random::<f64>() < 0.6 {
            return self.try_reroute(demand);
        }
        let ends = [self.fixed.from[demand as usize], self.fixed.to[demand as usize]];
        let vm = ends[self.rng.random_range(0..2)];
        self.try_place(vm)
    }

    /// A demand over an edge that is too full, or one without a good path.
    fn someone(&mut self) -> Option<u32> {
        if !self.full.is_empty() && (self.faults == 0 || self.rng.random::<f64>() < 0.7) {
            let resource = self.full[self.rng.random_range(0..self.full.len())];
            let users = &self.users[resource as usize];
            return Some(users[self.rng.random_range(0..users.len())]);
        }
        let demands = self.path.len();
        let first = self.rng.random_range(0..demands.max(1));
        let mut all = (first..demands).chain(0..first);
        all.find(|demand| self.fault(*demand as u32) > 0.0).map(|demand| demand as u32)
    }

    fn overloaded_host(&mut self) -> Option<u32> {
        let hosts = self.fixed.net.hosts as u32;
        let first = self.rng.random_range(0..hosts);
        (first..hosts).chain(0..first).find(|host| self.host_excess(*host) > 0.0)
    }

    fn try_reroute(&mut self, demand: u32) -> bool {
        self.take_path(demand);
        self.find_path(demand, 0.3);
        true
    }

    /// Moves `vm` to another host, or exchanges it with one there.
    fn try_place(&mut self, vm: u32) -> bool {
        let fixed = self.fixed;
        if fixed.pin[vm as usize] != NONE {
            return false;
        }
        let old = self.host[vm as usize];
        let target = self.target(vm);
        if target == old {
            return false;
        }
        let others = &self.vms_on[target as usize];
        let fits = (0..2).all(|kind| {
            let room = fixed.room[target as usize][kind];
            self.used[target as usize][kind] + fixed.need[vm as usize][kind] <= room * (1.0 + TOLERANCE)
        });
        if !others.is_empty() && (!fits || self.rng.random::<f64>() < 0.3) {
            let other = others[self.rng.random_range(0..others.len())];
            if fixed.pin[other as usize] != NONE {
                return false;
            }
            // A swap, or a chain over a third host.
            let mut third = old;
            if self.rng.random::<f64>() < CHAINS {
                third = self.target(other);
            }
            if third == target {
                return false;
            }
            self.shift(&[(vm, target), (other, third)]);
        } else {
            self.shift(&[(vm, target)]);
        }
        true
    }

    /// Any host, one beside a partner, or one whose VM is about as large.
    fn target(&mut self, vm: u32) -> u32 {
        let fixed = self.fixed;
        let demands = &fixed.demands_of[vm as usize];
        if !demands.is_empty() && self.rng.random::<f64>() < 0.5 {
            let demand = demands[self.rng.random_range(0..demands.len())] as usize;
            let partner = if fixed.from[demand] == vm { fixed.to[demand] } else { fixed.from[demand] };
            let host = self.host[partner as usize];
            let ways = fixed.net.edges_from(host);
            if ways.is_empty() || (fixed.net.internal[host as usize] >= 0.0 && self.rng.random::<f64>() < 0.3)
            {
                return host;
            }
            return fixed.net.to[ways[self.rng.random_range(0..ways.len())] as usize];
        }
        if self.rng.random::<f64>() < 0.5 {
            let other = self.rng.random_range(0..self.host.len());
            return self.host[other];
        }
        self.rng.random_range(0..fixed.net.hosts as u32)
    }
}
