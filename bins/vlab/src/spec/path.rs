//! The truth about the network, as the description has it.

use std::time::Duration;

use vnet_core::{Bandwidth, HostName};

use super::{HostSpec, LabSpec, PathSpec, SiteSpec};
use crate::wan::{Figures, QueueLimit};

/// What one host can get from another when nobody else sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathTruth {
    /// The least of the pipes on the way.
    pub bandwidth: Bandwidth,
    /// One way, without serialisation and queueing.
    pub latency: Duration,
}

impl LabSpec {
    /// What lies between two hosts, from the first to the second. `None`: no
    /// such host, or the same one twice.
    pub fn path(&self, from: &HostName, to: &HostName) -> Option<PathTruth> {
        let (a, b) = (self.host(from)?, self.host(to)?);
        if from == to {
            return None;
        }
        let figures = self.figures_between(a, b)?;
        let ends = a.up.min(b.down);
        let bandwidth = figures.bandwidth.map_or(ends, |middle| middle.min(ends));
        Some(PathTruth { bandwidth, latency: figures.latency })
    }

    /// The path given between two ends, in either order.
    pub(crate) fn path_between(&self, a: &str, b: &str) -> Option<&PathSpec> {
        self.paths.iter().find(|path| {
            let [x, y] = &path.between;
            (x == a && y == b) || (x == b && y == a)
        })
    }

    fn figures_between(&self, a: &HostSpec, b: &HostSpec) -> Option<Figures> {
        if let Some(path) = self.path_between(a.name.as_str(), b.name.as_str()) {
            return Some(path.figures());
        }
        if a.site == b.site {
            return self.sites.iter().find(|site| site.name == a.site).map(SiteSpec::figures);
        }
        self.path_between(&a.site, &b.site).map(PathSpec::figures)
    }
}

impl SiteSpec {
    /// What lies between two of its hosts.
    pub fn figures(&self) -> Figures {
        Figures {
            bandwidth: self.bandwidth,
            latency: self.latency,
            jitter: self.jitter,
            loss: 0.0,
            queue: QueueLimit::default(),
        }
    }
}

impl PathSpec {
    /// Each direction of it.
    pub fn figures(&self) -> Figures {
        let Self { between: _, bandwidth, latency, jitter, loss, queue } = *self;
        Figures { bandwidth, latency, jitter, loss, queue }
    }
}

impl HostSpec {
    /// Its access link towards the network.
    pub fn up_figures(&self) -> Figures {
        Figures { queue: self.queue, ..Figures::rate(self.up) }
    }

    /// Its access link away from the network.
    pub fn down_figures(&self) -> Figures {
        Figures { queue: self.queue, ..Figures::rate(self.down) }
    }
}
