//! One annealing walk: moves, their acceptance, and the schedule of the temperature.

use std::time::Duration;

use rand::RngExt;

use crate::network::NONE;
use crate::run::Run;
use crate::solver::search::{Searcher, Snapshot};

/// Moves between two looks at the clock.
const BATCH: u64 = 32;

/// Mappings that are kept to be routed anew.
const ELITE: usize = 16;

/// Shares of the moves of places that exchange all that two hosts hold, and that move two VMs that talk
/// and share a host; and the share of those to a full host that send a third VM elsewhere.
const EXCHANGES: f64 = 0.06;
const PAIRS: f64 = 0.06;
const EJECTIONS: f64 = 0.4;

/// How the temperature falls: geometrically in time, to a thousandth of the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start: f64,
    begin: Duration,
    end: Duration,
    routes_only: bool,
}

impl Schedule {
    /// From `heat` times `mean_loss`, between two moments of the run.
    pub(super) fn cooling(mean_loss: f64, heat: f64, begin: Duration, end: Duration) -> Self {
        Self { start: (mean_loss * heat).max(1e-9), begin, end, routes_only: false }
    }

    /// The same, with moves of routes alone.
    pub(super) fn of_routes(self) -> Self {
        Self { routes_only: true, ..self }
    }

    fn temperature(&self, now: Duration) -> f64 {
        let whole = self.end.saturating_sub(self.begin).as_secs_f64().max(1e-9);
        let part = now.saturating_sub(self.begin).as_secs_f64() / whole;
        self.start * 1e-3f64.powf(part.min(1.0))
    }
}

/// What a move is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Hosts of VMs.
    Places,
    /// The best path under the present load.
    Search,
    /// The present path with a random turn.
    Detour,
    /// A path met before.
    Known,
}

/// The mix of moves: more about routes as places freeze.
#[derive(Debug)]
struct Mix {
    /// Share of moves that search the graph.
    search: f64,
    /// Share of the moves about routes that take a detour, the others paths met before.
    detours: f64,
    /// The highest share of moves about routes.
    most: f64,
    /// The share of moves about places that were accepted lately.
    accepted: f64,
    fixed_places: bool,
}

impl Mix {
    fn new(searcher: &Searcher<'_>, routes_only: bool) -> Self {
        let edges = searcher.fixed.net.from.len() as f64;
        let fixed_places = routes_only || searcher.fixed.movable.is_empty();
        // Searches take long in large networks: so few of them that they take a part of the time only.
        let search = if fixed_places { 0.005 } else { (20.0 / edges).clamp(0.0005, 0.1) };
        // Where all good paths are known from the start, few need be looked for.
        let detours = match (searcher.pool.is_complete(&searcher.fixed.net), fixed_places) {
            (true, _) => 0.1,
            (false, true) => 0.8,
            (false, false) => 0.3,
        };
        Self { search, detours, most: 0.6, accepted: 0.1, fixed_places }
    }

    fn draw(&self, dice: f64) -> About {
        let known = if self.fixed_places {
            1.0 - self.search
        } else {
            (self.most - 2000.0 * self.accepted.powi(2)).clamp(0.1, self.most)
        };
        match dice {
            dice if dice < self.search => About::Search,
            dice if dice < self.search + self.detours * known => About::Detour,
            dice if dice < self.search + known => About::Known,
            _ => About::Places,
        }
    }

    fn learn(&mut self, about: About, accepted: bool) {
        if about == About::Places {
            self.accepted += 0.002 * (f64::from(u8::from(accepted)) - self.accepted);
        }
    }
}

impl Searcher<'_> {
    /// Anneals from the present state until the schedule ends; returns the best state met.
    pub(super) fn walk(&mut self, schedule: Schedule, run: &mut Run<'_>) -> Snapshot {
        let mut temperature = schedule.start;
        let mut met = Snapshot::of(&self.state);
        let mut unsaved = false;
        let mut most = if met.feasible { met.value } else { f64::NEG_INFINITY };
        let mut mix = Mix::new(self, schedule.routes_only);
        // Moves take longer in large networks.
        let batch = if self.fixed.net.hosts < 200 { BATCH } else { BATCH / 4 };
        loop {
            self.moves += 1;
            if self.moves.is_multiple_of(batch) {
                let now = run.elapsed();
                if now >= schedule.end.min(run.limit()) || run.is_cancelled() {
                    break;
                }
                temperature = schedule.temperature(now);
                let best = self.best.feasible.then_some(self.best.value);
                run.report(self.moves, best);
            }
            // The least change that is accepted: Metropolis' rule with the dice thrown first.
            let least = temperature * self.rng.random::<f64>().max(1e-300).ln();
            let about = mix.draw(self.rng.random());
            let Some(delta) = self.propose(about, least) else {
                mix.learn(about, false);
                continue;
            };
            mix.learn(about, delta >= least);
            if delta < least {
                self.state.discard();
                continue;
            }
            if unsaved && delta < 0.0 {
                // About to leave the best state met: keep it.
                self.state.discard();
                met = Snapshot::of(&self.state);
                unsaved = false;
                continue;
            }
            if about == About::Places {
                self.note_mapping();
            }
            self.state.commit();
            if self.state.value() > most + 1e-9 * most.abs().max(1.0) && self.state.is_feasible() {
                most = self.state.value();
                unsaved = true;
            } else if !met.feasible && self.state.value() > met.value && !unsaved {
                met = Snapshot::of(&self.state);
            }
        }
        if unsaved {
            met = Snapshot::of(&self.state);
        }
        if self.best.host.is_empty() || met.beats(&self.best) {
            self.best = met.clone();
        }
        met
    }

    /// Keeps the mapping that is about to be left if it is among the best.
    fn note_mapping(&mut self) {
        if self.fixed.movable.len() > Self::FEW || !self.state.was_feasible() {
            return;
        }
        let value = self.state.value();
        let most = if self.fixed.movable.len() <= 8 { 3 * ELITE } else { ELITE };
        let full = self.elite.len() >= most;
        if full && self.elite.iter().all(|snapshot| snapshot.value >= value) {
            return;
        }
        let mapping = self.state.host_before_trial();
        if let Some(known) = self.elite.iter_mut().find(|snapshot| snapshot.host == mapping) {
            if known.value < value {
                (known.value, known.paths) = (value, self.state.path.clone());
            }
            return;
        }
        if full
            && let Some(worst) =
                (0..most).min_by(|x, y| self.elite[*x].value.total_cmp(&self.elite[*y].value))
        {
            self.elite.swap_remove(worst);
        }
        let paths = self.state.path.clone();
        self.elite.push(Snapshot { host: mapping, paths, value, feasible: true });
    }

    /// The mean loss of a bad but feasible move from `start`.
    pub(super) fn mean_loss(&mut self, start: &Snapshot, of_routes: bool) -> f64 {
        self.back_to(start);
        let (mut sum, mut count) = (0.0, 0);
        let (about, count_of) = if of_routes { (About::Known, 30) } else { (About::Places, 200) };
        for _ in 0..count_of {
            let Some(delta) = self.propose(about, f64::NEG_INFINITY) else { continue };
            self.state.discard();
            if delta < 0.0 && delta > -0.4 * self.fixed.unit * 8.0 {
                sum -= delta;
                count += 1;
            }
        }
        if count == 0 { self.fixed.unit } else { sum / f64::from(count) }
    }

    /// Tries a random move; `None` if there was nothing to try, or nothing that could change the
    /// value by `least` or more.
    fn propose(&mut self, about: About, least: f64) -> Option<f64> {
        if self.minds_broken() {
            return self.propose_mending(least);
        }
        match about {
            About::Search => return self.propose_reroute(),
            About::Detour => return self.propose_detour(least),
            About::Known => return self.propose_known(least),
            About::Places => {}
        }
        let movable = &self.fixed.movable;
        if movable.is_empty() {
            return None;
        }
        let vm = movable[self.rng.random_range(0..movable.len())];
        let target = self.target_for(vm);
        let host = self.state.host[vm as usize];
        let dice: f64 = self.rng.random();
        match dice {
            _ if target == host => None,
            dice if dice < EXCHANGES => self.propose_exchange(host, target, least),
            dice if dice < EXCHANGES + PAIRS => self.propose_pair(vm, target, least),
            _ => self.propose_place(vm, target, least),
        }
    }

    /// Moves `vm` and one of its partners on the same host to `target`.
    fn propose_pair(&mut self, vm: u32, target: u32, least: f64) -> Option<f64> {
        let fixed = self.fixed;
        let host = self.state.host[vm as usize];
        let demands = &fixed.demands_of[vm as usize];
        let first = self.rng.random_range(0..demands.len().max(1));
        let together = demands.iter().cycle().skip(first).take(demands.len()).find_map(|demand| {
            let (from, to) = (fixed.from[*demand as usize], fixed.to[*demand as usize]);
            let partner = if from == vm { to } else { from };
            let free = self.state.host[partner as usize] == host && fixed.pin[partner as usize] == NONE;
            free.then_some(partner)
        });
        let Some(partner) = together else { return self.propose_place(vm, target, least) };
        let left = self.state.room_left(target);
        let (first, second) = (fixed.need[vm as usize], fixed.need[partner as usize]);
        if (0..2).any(|kind| first[kind] + second[kind] > left[kind]) {
            return None;
        }
        self.try_if_promising(&[(vm, target), (partner, target)], least)
    }

    /// Moves `vm` to `target`, or exchanges it with one there.
    pub(super) fn propose_place(&mut self, vm: u32, target: u32, least: f64) -> Option<f64> {
        let host = self.state.host[vm as usize];
        if target == host || self.fixed.pin[vm as usize] != NONE {
            return None;
        }
        let fits = self.state.has_room(target, vm);
        let others = &self.state.vms_on[target as usize];
        if others.is_empty() || (fits && self.rng.random::<f64>() < 0.75) {
            if !fits && !self.state.is_overloaded(host) {
                return None;
            }
            return self.try_if_promising(&[(vm, target)], least);
        }
        let other = others[self.rng.random_range(0..others.len())];
        if self.fixed.pin[other as usize] != NONE {
            return None;
        }
        if !fits && self.rng.random::<f64>() < EJECTIONS {
            return self.propose_ejection(vm, other, least);
        }
        if !self.fits_swapped(vm, other)
            && !self.state.is_overloaded(host)
            && !self.state.is_overloaded(target)
        {
            return None;
        }
        self.try_if_promising(&[(vm, target), (other, host)], least)
    }

    /// Puts `vm` in the place of `other`, which goes to a third host.
    fn propose_ejection(&mut self, vm: u32, other: u32, least: f64) -> Option<f64> {
        let target = self.state.host[other as usize];
        let third = self.target_for(other);
        let (left, fixed) = (self.state.room_left(target), self.fixed);
        let (need, freed) = (fixed.need[vm as usize], fixed.need[other as usize]);
        let fits = (0..2).all(|kind| need[kind] <= left[kind] + freed[kind]);
        if !fits
            || third == target
            || third == self.state.host[vm as usize]
            || !self.state.has_room(third, other)
        {
            return None;
        }
        self.try_if_promising(&[(vm, target), (other, third)], least)
    }

    fn try_if_promising(&mut self, shifts: &[(u32, u32)], least: f64) -> Option<f64> {
        // While anything carries too much, leaving it may be worth more than any demand.
        let whole = self.best.feasible && self.state.is_feasible();
        if self.judges_ahead && whole && self.state.outlook(shifts, &mut self.routes) < least {
            return None;
        }
        Some(self.state.try_shift(shifts, &mut self.routes))
    }

    fn fits_swapped(&self, a: u32, b: u32) -> bool {
        let fixed = self.fixed;
        let (a_host, b_host) = (self.state.host[a as usize], self.state.host[b as usize]);
        let (a_room, b_room) = (self.state.room_left(a_host), self.state.room_left(b_host));
        let (a_need, b_need) = (fixed.need[a as usize], fixed.need[b as usize]);
        (0..2).all(|kind| {
            let slack = 1e-9 * fixed.room[a_host as usize][kind].max(fixed.room[b_host as usize][kind]);
            a_room[kind] + a_need[kind] - b_need[kind] >= -slack
                && b_room[kind] + b_need[kind] - a_need[kind] >= -slack
        })
    }

    /// A host where `vm` may do well.
    pub(super) fn target_for(&mut self, vm: u32) -> u32 {
        let fixed = self.fixed;
        let demands = &fixed.demands_of[vm as usize];
        let dice: f64 = self.rng.random();
        if dice < 0.75 && !demands.is_empty() {
            let demand = demands[self.rng.random_range(0..demands.len())] as usize;
            let partner = if fixed.from[demand] == vm { fixed.to[demand] } else { fixed.from[demand] };
            let host = self.state.host[partner as usize];
            let ways = fixed.net.edges_from(host);
            // Where VMs that talk may not share a host, its neighbours are what is left, and theirs.
            let shared = fixed.net.internal[host as usize] >= 0.0;
            if (dice < 0.5 && (shared || dice < 0.1)) || ways.is_empty() {
                return host;
            }
            // Wider edges lead to better neighbours.
            let r: f64 = self.rng.random();
            let beside = fixed.net.to[ways[(r * r * ways.len() as f64) as usize] as usize];
            let further = fixed.net.edges_from(beside);
            if shared || dice < 0.6 || further.is_empty() {
                return beside;
            }
            return fixed.net.to[further[self.rng.random_range(0..further.len())] as usize];
        }
        if dice < 0.9 {
            let most = (3 * fixed.need.len()).min(self.promising.len());
            return self.promising[self.rng.random_range(0..most)];
        }
        self.rng.random_range(0..fixed.net.hosts as u32)
    }

    /// Exchanges all that two hosts hold, pinned VMs excepted.
    fn propose_exchange(&mut self, a: u32, b: u32, least: f64) -> Option<f64> {
        let free = |vm: &&u32| self.fixed.pin[**vm as usize] == NONE;
        let forth = self.state.vms_on[a as usize].iter().filter(free).map(|vm| (*vm, b));
        let back = self.state.vms_on[b as usize].iter().filter(free).map(|vm| (*vm, a));
        let shifts: Vec<(u32, u32)> = forth.chain(back).collect();
        if shifts.is_empty() {
            return None;
        }
        self.try_if_promising(&shifts, least)
    }
}
