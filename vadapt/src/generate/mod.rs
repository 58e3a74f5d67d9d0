//! Problems to try solvers on: networks and applications, from a seed.
//!
//! | network | what it is |
//! | --- | --- |
//! | [`NetworkShape::TwoTier`] | clusters of hosts on fast switches, joined by a slow WAN |
//! | [`NetworkShape::Waxman`] | hosts in a square; near ones are joined more often (Waxman 1988) |
//! | [`NetworkShape::BarabasiAlbert`] | preferential attachment (Barabasi and Albert 1999) |
//! | [`NetworkShape::Complete`] | an overlay in which every pair has a link of its own |
//! | [`NetworkShape::FatTree`] | a data centre of switches in three tiers |
//! | [`NetworkShape::Grid`], [`NetworkShape::Torus`] | neighbours in two dimensions |
//! | [`NetworkShape::Public`] | real networks of SNDlib and the Internet Topology Zoo |
//!
//! Every network is connected, and every problem has room for its VMs; whether its demands
//! fit is for a solver to find out, unless it was [squeezed](Generate::squeeze) around a solution.

mod application;
mod maps;
mod network;
mod squeeze;

pub use application::ApplicationShape;
pub use maps::PublicMap;
pub use network::NetworkShape;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::problem::{Problem, ProblemError};

/// What to generate.
///
/// ```
/// use vadapt::generate::{ApplicationShape, Generate, NetworkShape};
///
/// let problem = Generate {
///     hosts: 16,
///     vms: 8,
///     network: NetworkShape::TwoTier,
///     application: ApplicationShape::Ring,
///     ..Generate::default()
/// }
/// .problem()?;
/// assert_eq!((problem.graph().node_count(), problem.demands().len()), (16, 16));
/// # Ok::<(), vadapt::ProblemError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Generate {
    /// Number of hosts, at least 2.
    pub hosts: usize,
    /// Number of VMs, at least 2.
    pub vms: usize,
    /// What the hosts are joined by.
    pub network: NetworkShape,
    /// Who talks to whom.
    pub application: ApplicationShape,
    /// How much of all compute and size the VMs need, 0 to 1. Up to 0.75 no VM needs more than
    /// a third of the smallest host, which may leave the total below; above, the VMs are cut from
    /// the hosts, so that they need all of it and fit in one way at least.
    pub fill: f64,
    /// Mean bandwidth of a demand, as a fraction of the median edge.
    pub load: f64,
    /// Whether hosts have internal bandwidth, ten times the widest edge.
    pub internal: bool,
    /// Whether demands have latency bounds, drawn between half and twice the median
    /// latency between two hosts.
    pub latency_bounds: bool,
    /// Where positive: every edge that a hidden solution uses is narrowed until that solution
    /// takes this share of it, 0 to 1. Such a problem is tight, and with [`internal`](Self::internal)
    /// bandwidth has a solution.
    pub squeeze: f64,
    /// The seed.
    pub seed: u64,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            hosts: 16,
            vms: 12,
            network: NetworkShape::TwoTier,
            application: ApplicationShape::Random { degree: 3.0 },
            fill: 0.5,
            load: 0.05,
            internal: true,
            latency_bounds: false,
            squeeze: 0.0,
            seed: 0,
        }
    }
}

impl Generate {
    /// The problem.
    ///
    /// # Errors
    ///
    /// When a figure is out of its range, such as a negative `load`.
    pub fn problem(&self) -> Result<Problem, ProblemError> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut problem = Problem::new();
        network::build(self, &mut rng, &mut problem)?;
        let hidden = application::build(self, &mut rng, &mut problem)?;
        if self.squeeze > 0.0 {
            squeeze::squeeze(&mut problem, &hidden, self.squeeze)?;
        }
        Ok(problem)
    }
}
