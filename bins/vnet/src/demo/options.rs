//! What the demonstration is run with.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
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
    /// How many VMs; or `qemu`, for 4 real guests under QEMU, or `qemu:N`: they run the same
    /// application, and move live, memory and all, by way of VMMP. Needs the packages
    /// qemu-system-x86 and busybox-static, the guest of `cargo xtask guest`, and a minute more
    #[arg(long, value_name = "N|qemu[:N]", default_value = "8")]
    pub(crate) vms: Vms,
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

/// What the VMs are, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vms {
    /// Network namespaces.
    Namespaces(u32),
    /// Real guests.
    Guests(u32),
}

impl FromStr for Vms {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "write a number from 2 to 64, `qemu`, or `qemu:N` with N from 2 to 8";
        let guests = match text.strip_prefix("qemu") {
            None => {
                let count = text.parse().ok().filter(|count| (2..=64).contains(count));
                return count.map(Self::Namespaces).ok_or(WRONG);
            }
            Some("") => Some(4),
            Some(count) => count.strip_prefix(':').and_then(|count| count.parse().ok()),
        };
        guests.filter(|count| (2..=8).contains(count)).map(Self::Guests).ok_or(WRONG)
    }
}

impl fmt::Display for Vms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaces(count) => count.fmt(f),
            Self::Guests(count) => write!(f, "{count} guests under QEMU"),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  vnet demo
  vnet demo --shape ring --report ring.html
  vnet demo --vms 16 --shape mesh:4x4 --json
  vnet demo --vms qemu";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vms_are_a_number_or_guests() {
        assert_eq!("16".parse(), Ok(Vms::Namespaces(16)));
        assert_eq!("qemu".parse(), Ok(Vms::Guests(4)));
        assert_eq!("qemu:2".parse(), Ok(Vms::Guests(2)));
        for wrong in ["", "1", "65", "qemu:", "qemu:9", "kvm", "qemu4"] {
            assert!(wrong.parse::<Vms>().is_err(), "{wrong}");
        }
    }
}
