//! The tree of mappings.

use crate::bound::fractional_knapsack;
use crate::network::NONE;
use crate::run::Run;
use crate::solver::exact::route::Routing;
use crate::solver::exact::table::Table;

/// Nodes between two looks at the clock.
const BATCH: u64 = 16;

/// Nodes that a mapping gets that may be good.
const NODES_FOR_A_TRY: u64 = 40;

/// What is shared by all nodes: the best solution, and how long to go on.
pub(super) struct Hunt<'t, 'r> {
    pub(super) table: &'t Table<'t>,
    run: &'t mut Run<'r>,
    pub(super) nodes: u64,
    /// The node at which the present part of the tree is given up.
    pause: u64,
    /// Whether time ran out before the tree was done.
    pub(super) stopped: bool,
    /// The value to beat.
    pub(super) best_value: f64,
    /// Hosts and paths of the best solution found here.
    pub(super) best: Option<(Vec<u32>, Vec<Vec<u32>>)>,
}

impl<'t, 'r> Hunt<'t, 'r> {
    pub(super) fn new(table: &'t Table<'t>, best_value: f64, run: &'t mut Run<'r>) -> Self {
        Self { table, run, nodes: 0, pause: u64::MAX, stopped: false, best_value, best: None }
    }

    /// Whether nothing that is worth `limit` at most is wanted.
    pub(super) fn is_beaten(&self, limit: f64) -> bool {
        limit <= self.best_value + self.margin()
    }

    /// A gain of less than this is rounding.
    pub(super) fn margin(&self) -> f64 {
        if self.best_value.is_finite() { 1e-9 * self.best_value.abs().max(1e-3) } else { 0.0 }
    }

    /// Counts a node; false when time is up.
    pub(super) fn goes_on(&mut self) -> bool {
        self.nodes += 1;
        if self.nodes.is_multiple_of(BATCH) {
            self.stopped |= self.run.is_over();
            self.run.report(self.nodes, None);
        }
        self.stopped |= self.nodes >= self.pause;
        !self.stopped
    }

    /// Does `work` for so many nodes at most; whether it was given up doesn't matter afterwards.
    fn a_while(&mut self, nodes: u64, work: impl FnOnce(&mut Self)) {
        self.pause = self.nodes + nodes;
        work(self);
        self.pause = u64::MAX;
        self.stopped = self.run.is_over();
    }
}

/// A partial mapping.
pub(super) struct Placing<'h, 't, 'r> {
    hunt: &'h mut Hunt<'t, 'r>,
    routing: Routing<'t>,
    host: Vec<u32>,
    left: Vec<[f64; 2]>,
}

impl<'h, 't, 'r> Placing<'h, 't, 'r> {
    pub(super) fn new(hunt: &'h mut Hunt<'t, 'r>) -> Self {
        let fixed = hunt.table.fixed;
        Self {
            routing: Routing::new(hunt.table),
            host: vec![NONE; fixed.need.len()],
            left: fixed.room.iter().map(|room| room.map(|room| room + 1e-10 * room.max(1.0))).collect(),
            hunt,
        }
    }

    /// Routes these mappings for a while each: good solutions early rule out much.
    pub(super) fn try_first(&mut self, mappings: &[Vec<u32>]) {
        let routing = &mut self.routing;
        for mapping in mappings {
            self.hunt.a_while(NODES_FOR_A_TRY, |hunt| routing.search(mapping, hunt));
            if self.hunt.stopped {
                return;
            }
        }
    }

    /// Looks at all mappings, except those that are ruled out.
    pub(super) fn search(&mut self) {
        let fixed = self.hunt.table.fixed;
        let all = if fixed.net.hosts == 64 { u64::MAX } else { (1 << fixed.net.hosts) - 1 };
        let own = |pin: &u32| if *pin == NONE { all } else { 1 << *pin };
        let domains = fixed.pin.iter().map(own).collect();
        self.visit(domains);
    }

    /// `domains`: the hosts that are left to each VM, as bits.
    fn visit(&mut self, mut domains: Vec<u64>) {
        if !self.hunt.goes_on() {
            return;
        }
        let Some((limit, worth)) = self.filter(&mut domains) else { return };
        let open = (0..self.host.len()).filter(|vm| self.host[*vm] == NONE);
        // The VM with fewest hosts left: what fails, fails early.
        let talks = |vm: usize| usize::MAX - self.hunt.table.talks[vm].len();
        let Some(vm) = open.min_by_key(|vm| (domains[*vm].count_ones(), talks(*vm))) else {
            self.routing.search(&self.host, self.hunt);
            return;
        };
        let slack = limit - self.hunt.best_value;
        if self.hunt.is_beaten(limit - self.routing.shared_loss(&self.host, slack)) {
            return;
        }
        let hosts = self.hunt.table.hosts;
        let mut children: Vec<(f64, usize)> =
            bits(domains[vm]).map(|host| (worth[vm * hosts + host], host)).collect();
        children.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
        let most = children[0].0;
        for (worth, host) in children {
            if self.hunt.is_beaten(limit - most + worth) || self.hunt.stopped {
                return;
            }
            self.enter(vm, host, 1.0);
            let mut below = domains.clone();
            below[vm] = 1 << host;
            self.visit(below);
            self.enter(vm, host, -1.0);
        }
    }

    /// Drops hosts that are too full or can't lead to anything better; returns what is possible at
    /// most, and by rows of VMs what is with an open VM on each host. `None`: nothing is.
    fn filter(&self, domains: &mut [u64]) -> Option<(f64, Vec<f64>)> {
        let table = self.hunt.table;
        let (vms, hosts) = (self.host.len(), table.hosts);
        let mut worth = vec![f64::NEG_INFINITY; vms * hosts];
        let placed = self.placed();
        loop {
            let mut limit = placed;
            for vm in (0..vms).filter(|vm| self.host[*vm] == NONE) {
                let mut most = f64::NEG_INFINITY;
                for host in bits(domains[vm]) {
                    let star =
                        if self.fits(vm, host) { self.star(vm, host, domains) } else { f64::NEG_INFINITY };
                    worth[vm * hosts + host] = star;
                    if star == f64::NEG_INFINITY {
                        domains[vm] &= !(1 << host);
                    }
                    most = most.max(star);
                }
                limit += most;
            }
            if limit == f64::NEG_INFINITY || self.hunt.is_beaten(limit) {
                return None;
            }
            let mut changed = false;
            for vm in (0..vms).filter(|vm| self.host[*vm] == NONE) {
                let row = &worth[vm * hosts..(vm + 1) * hosts];
                let most = bits(domains[vm]).map(|host| row[host]).fold(f64::NEG_INFINITY, f64::max);
                for host in bits(domains[vm]) {
                    if self.hunt.is_beaten(limit - most + row[host]) {
                        domains[vm] &= !(1 << host);
                        changed = true;
                    }
                }
            }
            if !changed {
                return Some((limit, worth));
            }
        }
    }

    fn fits(&self, vm: usize, host: usize) -> bool {
        let need = self.hunt.table.fixed.need[vm];
        (0..2).all(|kind| need[kind] <= self.left[host][kind])
    }

    /// What the demands between placed VMs are worth at most.
    fn placed(&self) -> f64 {
        let (table, fixed) = (self.hunt.table, self.hunt.table.fixed);
        (0..fixed.from.len())
            .filter_map(|demand| {
                let (a, b) = (self.host[fixed.from[demand] as usize], self.host[fixed.to[demand] as usize]);
                (a != NONE && b != NONE).then(|| table.value(demand, a as usize, b as usize))
            })
            .sum()
    }

    /// What `vm` on `host` is worth at most: all of its demands with placed partners, half of the others,
    /// whose partners share what room is left beside it.
    fn star(&self, vm: usize, host: usize, domains: &[u64]) -> f64 {
        let (table, need) = (self.hunt.table, &self.hunt.table.fixed.need);
        let mut sum = 0.0;
        let left = [0, 1].map(|kind| self.left[host][kind] - need[vm][kind]);
        let mut sharing: Vec<(f64, [f64; 2])> = Vec::new();
        for talk in &table.talks[vm] {
            let other = self.host[talk.other];
            if other != NONE {
                sum += table.between(talk, host, other as usize);
                continue;
            }
            let (mut here, mut elsewhere) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
            for other in bits(domains[talk.other]) {
                let value = table.between(talk, host, other);
                if other != host {
                    elsewhere = elsewhere.max(value);
                } else if (0..2).all(|kind| need[talk.other][kind] <= left[kind]) {
                    here = value;
                }
            }
            if elsewhere == f64::NEG_INFINITY {
                sum += 0.5 * here;
            } else {
                sum += 0.5 * elsewhere;
                if here > elsewhere {
                    sharing.push((here - elsewhere, need[talk.other]));
                }
            }
        }
        if sharing.is_empty() || sum == f64::NEG_INFINITY {
            return sum;
        }
        let gain = [0, 1].map(|kind| fractional_knapsack(&mut sharing, kind, left[kind]));
        sum + 0.5 * gain[0].min(gain[1])
    }

    /// Puts `vm` on `host`, `sign` 1, or takes it away, `sign` -1.
    fn enter(&mut self, vm: usize, host: usize, sign: f64) {
        self.host[vm] = if sign > 0.0 { host as u32 } else { NONE };
        for kind in 0..2 {
            self.left[host][kind] -= sign * self.hunt.table.fixed.need[vm][kind];
        }
    }
}

/// The positions of the bits of `set`.
pub(super) fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (set != 0).then(|| {
            let bit = set.trailing_zeros() as usize;
            set &= set - 1;
            bit
        })
    })
}
