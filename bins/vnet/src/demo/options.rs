//! What the demonstration is run with.

use std::path::PathBuf;
use std::time::Duration;

use vnet_core::shape::Shape;

/// Show the whole idea on this machine: VMs on several hosts, an unmodified
/// application, and the overlay that learns what it does and adapts.
///
/// The hosts are network namespaces on an emulated wide-area network, the VMs
/// namespaces with an Ethernet interface of their own, the daemons and the
/// application real processes with real sockets. The application runs on the
/// star through the Proxy first, then on a full mesh of direct links (what
/// other overlays give), then on what VADAPT makes of it. Neither root nor any
/// installed package is needed.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// What the application's VMs exchange messages along: star, ring, bus,
    /// mesh[:AxB...], torus[:AxB...], hypercube, tree, all-to-all
    #[arg(long, value_name = "SHAPE", default_value = "all-to-all")]
    pub(crate) shape: Shape,
    /// How many VMs
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub(crate) vms: u32,
    /// Hosts and network, in the format of `vlab`; the papers' two clusters,
    /// far host and user's LAN if not given
    #[arg(long, value_name = "FILE")]
    pub(crate) wan: Option<PathBuf>,
    /// The size of the application's messages, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=(1 << 20)))]
    pub(crate) message: u64,
    /// How long each of the three phases lasts, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(4..=600))]
    pub(crate) phase: u64,
    /// Let VADAPT plan with what Wren measures instead of the true figures; paths
    /// that nobody uses yet are probed before the application starts
    #[arg(long)]
    pub(crate) measured: bool,
    /// Write a self-contained page with the throughput over time, the
    /// topologies and the traffic matrix
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  vnet demo
  vnet demo --shape ring --report ring.html
  vnet demo --vms 16 --shape mesh:4x4 --json";

impl Options {
    pub(crate) fn phase_time(&self) -> Duration {
        Duration::from_secs(self.phase)
    }

    /// Names and values, for the report.
    pub(crate) fn shown(&self, lab: &str) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        vec![
            pair("shape", self.shape.to_string()),
            pair("VMs", self.vms.to_string()),
            pair("network", lab.to_owned()),
            pair("message", format!("{} bytes", self.message)),
            pair("phase", format!("{} s", self.phase)),
            pair("figures", if self.measured { "measured by Wren" } else { "the true ones" }.to_owned()),
        ]
    }
}
