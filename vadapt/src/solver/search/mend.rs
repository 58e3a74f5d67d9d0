//! Moves about what is broken, while anything is.

use rand::RngExt;

use crate::network::NONE;
use crate::solver::search::Searcher;

/// The share of such moves while no answer is known, and once there is one.
const SHARE: (f64, f64) = (0.5, 0.1);

/// The share of those about a demand that lacks bandwidth which look for another path, quickly: where few
/// demands do, and where many do, which says that there are hardly any.
const REROUTED: (f64, f64) = (0.2, 0.02);
/// More than this part of all demands are many.
const MANY: f64 = 0.05;
const QUICK: (f64, usize) = (0.3, 2);

impl Searcher<'_> {
    /// Whether the next move is about what is broken.
    pub(super) fn minds_broken(&mut self) -> bool {
        if self.state.broken().is_empty() && self.state.overloaded().is_empty() {
            return false;
        }
        let share = if self.best.feasible { SHARE.1 } else { SHARE.0 };
        self.rng.random::<f64>() < share
    }

    /// Tries to take a VM from a host with too much on it, or to serve a demand that lacks something.
    pub(super) fn propose_mending(&mut self, least: f64) -> Option<f64> {
        let (broken, overloaded) = (self.state.broken().len(), self.state.overloaded().len());
        if overloaded > 0 && (broken == 0 || self.rng.random::<f64>() < 0.5) {
            let host = self.state.overloaded()[self.rng.random_range(0..overloaded)];
            let vms = &self.state.vms_on[host as usize];
            let vm = vms[self.rng.random_range(0..vms.len())];
            let target = self.target_for(vm);
            return self.propose_place(vm, target, least);
        }
        let demand = self.state.broken()[self.rng.random_range(0..broken)];
        // Where time is lacking, the fastest route was tried when the VMs came there.
        let many = broken as f64 > MANY * self.fixed.from.len() as f64;
        let rerouted = if many { REROUTED.1 } else { REROUTED.0 };
        if self.state.residual(demand) < 0.0 && self.rng.random::<f64>() < rerouted {
            self.finder.hurry(Some(QUICK));
            let delta = self.reroute(demand);
            self.finder.hurry(None);
            return delta;
        }
        let ends = [self.fixed.from[demand as usize], self.fixed.to[demand as usize]];
        let first = self.rng.random_range(0..2);
        let (vm, partner) = (ends[first], ends[1 - first]);
        let target = self.host_near(self.state.host[partner as usize], vm);
        self.propose_place(vm, target, least)
    }

    /// A host a few hops from `host`, or one where `vm` may do well.
    fn host_near(&mut self, host: u32, vm: u32) -> u32 {
        let net = &self.fixed.net;
        let mut at = host;
        for _ in 0..3 {
            let ways = net.edges_from(at);
            if at == NONE || ways.is_empty() {
                break;
            }
            at = net.to[ways[self.rng.random_range(0..ways.len())] as usize];
            if at != host && self.rng.random::<f64>() < 0.6 {
                return at;
            }
        }
        self.target_for(vm)
    }
}
