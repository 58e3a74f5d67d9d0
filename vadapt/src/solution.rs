//! What a solver returns: a host for each VM and a path for each demand.

use crate::problem::{HostId, VmId};

/// The hosts that a demand passes, from the host of its source VM to that of its destination.
///
/// VMs on the same host need no hop: their path is that one host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(Vec<HostId>);

impl Path {
    /// A path over `hosts`, in order. Whether it is one of the graph is for
    /// [`verify`](crate::verify::verify) to say.
    pub fn new(hosts: Vec<HostId>) -> Self {
        Self(hosts)
    }

    /// The hosts, in order.
    pub fn hosts(&self) -> &[HostId] {
        &self.0
    }

    /// The hops: pairs of neighbours on the path.
    pub fn hops(&self) -> impl Iterator<Item = (HostId, HostId)> + '_ {
        self.0.windows(2).map(|pair| (pair[0], pair[1]))
    }

    /// How many hops there are.
    pub fn len(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// Whether the path has no hop.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A mapping and a routing, with the value that they reach.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// The host of each VM, in order of [`Problem::vms`](crate::Problem::vms).
    pub mapping: Vec<HostId>,
    /// The path of each demand, in order of [`Problem::demands`](crate::Problem::demands).
    pub paths: Vec<Path>,
    /// The value of the objective that was asked for.
    pub objective: f64,
    /// A proven limit that no solution of this problem exceeds (or, for an objective that
    /// is minimised, undercuts); `None` where the solver knows none.
    pub bound: Option<f64>,
}

impl Solution {
    /// The host of `vm`.
    ///
    /// # Panics
    ///
    /// If the solution is of a problem without this VM.
    pub fn host_of(&self, vm: VmId) -> HostId {
        self.mapping[vm.index()]
    }

    /// How far the objective may be from the optimum, as a fraction of the bound;
    /// `None` without a bound, 0 when the solution is proven optimal.
    pub fn gap(&self) -> Option<f64> {
        let bound = self.bound?;
        let difference = (bound - self.objective).abs();
        Some(if difference < 1e-9 * bound.abs().max(1.0) { 0.0 } else { difference / bound.abs().max(1e-12) })
    }
}
