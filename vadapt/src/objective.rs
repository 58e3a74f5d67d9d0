//! What is worth having: objectives behind one trait.

use crate::problem::{Demand, Problem};

/// What a demand gets from a solution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// Residual bottleneck bandwidth, in Mbit/s: the least that is left, after all demands
    /// are served, on the edges and access links of the path; for VMs on one host its
    /// internal bandwidth.
    pub residual: f64,
    /// Latency of the path, in microseconds; 0 on one host.
    pub latency: f64,
    /// Hops of the path; 0 on one host.
    pub hops: usize,
}

/// Whether more or less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// More is better.
    Maximise,
    /// Less is better.
    Minimise,
}

/// An objective: the sum over all demands of a value of what each demand gets.
///
/// That form is what lets a solver judge a move by the demands that it touches. A custom
/// objective is a type with one or two methods:
///
/// ```
/// use vadapt::{Demand, Objective, Service};
///
/// /// The residual bandwidth, weighted by what the demand asks for.
/// struct Weighted;
///
/// impl Objective for Weighted {
///     fn name(&self) -> &str {
///         "weighted residual"
///     }
///     fn value(&self, demand: &Demand, service: Service) -> f64 {
///         demand.bandwidth * service.residual
///     }
/// }
/// ```
pub trait Objective: Sync {
    /// Its name, as people read it.
    fn name(&self) -> &str;

    /// The value of serving `demand` so. Called for feasible service only
    /// (`service.residual >= 0`) when a solution is judged; solvers that pass through
    /// infeasible states call it with the residual cut off at 0 and add a penalty of their own.
    ///
    /// Must be finite.
    fn value(&self, demand: &Demand, service: Service) -> f64;

    /// Whether the sum of the values is to be large or small.
    fn sense(&self) -> Sense {
        Sense::Maximise
    }

    /// By how much the value of `demand` grows with each Mbit/s of residual, where that is the same
    /// whatever the service is. `None`, the default: not so, or not known. Searches are much faster
    /// where it is.
    fn residual_weight(&self, _demand: &Demand) -> Option<f64> {
        None
    }

    /// Whether the value never gets worse when the residual grows, the latency shrinks and
    /// the hops get fewer. Bounds are only proven for such objectives.
    fn is_monotone(&self) -> bool {
        false
    }
}

/// The sum over all demands of the residual bottleneck bandwidth, maximised: room for the
/// application to grow (`003`, section 8.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResidualBandwidth;

impl Objective for ResidualBandwidth {
    fn name(&self) -> &str {
        "residual bandwidth"
    }

    fn value(&self, _demand: &Demand, service: Service) -> f64 {
        service.residual
    }

    fn residual_weight(&self, _demand: &Demand) -> Option<f64> {
        Some(1.0)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

/// The same sum, minimised: a tight fit that leaves the rest of the network to others
/// (`003`, section 7.1.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TightFit;

impl Objective for TightFit {
    fn name(&self) -> &str {
        "tight fit"
    }

    fn value(&self, _demand: &Demand, service: Service) -> f64 {
        service.residual
    }

    fn sense(&self) -> Sense {
        Sense::Minimise
    }
}

/// Hops beyond the first, summed over all demands and minimised; 0 means that every pair
/// that talks is at most one overlay hop apart (`003`, section 7.1.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SingleHop;

impl Objective for SingleHop {
    fn name(&self) -> &str {
        "single hop"
    }

    fn value(&self, _demand: &Demand, service: Service) -> f64 {
        service.hops.saturating_sub(1) as f64
    }

    fn residual_weight(&self, _demand: &Demand) -> Option<f64> {
        Some(0.0)
    }

    fn sense(&self) -> Sense {
        Sense::Minimise
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

/// Residual bandwidth plus a reward for low latency: `residual + reward / (1 + latency)`
/// with the latency in milliseconds, summed and maximised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResidualAndLatency {
    /// What a path without any latency is worth, in Mbit/s.
    pub reward: f64,
}

impl Default for ResidualAndLatency {
    fn default() -> Self {
        Self { reward: 100.0 }
    }
}

impl Objective for ResidualAndLatency {
    fn name(&self) -> &str {
        "residual bandwidth and latency"
    }

    fn value(&self, _demand: &Demand, service: Service) -> f64 {
        service.residual + self.reward / (1.0 + service.latency / 1000.0)
    }

    fn residual_weight(&self, _demand: &Demand) -> Option<f64> {
        Some(1.0)
    }

    fn is_monotone(&self) -> bool {
        self.reward >= 0.0
    }
}

impl dyn Objective + '_ {
    /// The value of a demand as something to maximise.
    pub(crate) fn gain(&self, demand: &Demand, service: Service) -> f64 {
        match self.sense() {
            Sense::Maximise => self.value(demand, service),
            Sense::Minimise => -self.value(demand, service),
        }
    }

    /// The objective of services in the order of the demands of `problem`.
    pub(crate) fn total(&self, problem: &Problem, services: impl IntoIterator<Item = Service>) -> f64 {
        problem.demands().iter().zip(services).map(|(demand, service)| self.value(demand, service)).sum()
    }
}
