//! What daemons say of themselves.

use serde::{Deserialize, Serialize};

use crate::link::Link;
use crate::mac::MacAddr;
use crate::name::HostName;
use crate::network::{NetworkId, RuleVersion};
use crate::rule::Rule;
use crate::units::Bandwidth;

use super::message::InterfaceSpec;

/// The state of an interface or a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    /// Does it carry frames?
    pub up: bool,
    /// Why it is down (for a link: what was tried last and what came of it);
    /// empty while up.
    pub why: String,
    /// For how long it has been in this state, in milliseconds.
    pub for_ms: u64,
}

/// An interface and its counters since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// What was asked for.
    pub spec: InterfaceSpec,
    /// Whether it carries frames.
    pub state: PortState,
    /// Frames taken from it.
    pub received_frames: u64,
    /// Bytes of those frames.
    pub received_bytes: u64,
    /// Frames delivered to it.
    pub sent_frames: u64,
    /// Bytes of those frames.
    pub sent_bytes: u64,
    /// Frames that it could not take.
    pub send_errors: u64,
    /// The MTU of its device, where the daemon sets that.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Why the MTU is not what it should be; empty when it is.
    #[serde(default)]
    pub mtu_problem: String,
}

/// A link, seen from one of its ends, and its counters since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Which link.
    pub link: Link,
    /// Whether it carries frames.
    pub state: PortState,
    /// The peer's address, once known.
    pub peer: Option<std::net::SocketAddr>,
    /// Smoothed round-trip time of keepalives, in microseconds, once known.
    pub round_trip_us: Option<u64>,
    /// Messages received (frames and keepalives).
    pub received_frames: u64,
    /// Bytes received, headers included.
    pub received_bytes: u64,
    /// Messages sent.
    pub sent_frames: u64,
    /// Bytes sent, headers included.
    pub sent_bytes: u64,
    /// Messages that could not be sent.
    pub send_errors: u64,
    /// How many times the link has come up.
    pub times_up: u64,
    /// The cipher of messages, `none` on a plain link; empty while there are no keys.
    #[serde(default)]
    pub encryption: String,
    /// The longest packet, with its IP header, that the link's messages go in over UDP: what
    /// the path is known to carry. `None`: nothing limits them, or the link is down.
    #[serde(default)]
    pub path_mtu: Option<u32>,
    /// How far the search for that is (RFC 8899): `base`, `searching`, `complete`,
    /// `error`; empty where there is none.
    #[serde(default)]
    pub path_mtu_search: String,
    /// Frames that were too long for one message, and went in pieces.
    #[serde(default)]
    pub split_frames: u64,
    /// Frames that were too long for one message, and were dropped.
    #[serde(default)]
    pub not_fitting: u64,
    /// Messages of the peer that have not come since the link came up.
    #[serde(default)]
    pub lost: u64,
    /// The part of its messages that got lost in the last five seconds or so, in millionths;
    /// `None` while there were too few to tell.
    #[serde(default)]
    pub loss_ppm: Option<u32>,
}

/// A rule and how many frames it forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// The network that the rule is of.
    pub network: NetworkId,
    /// The rule set that it is in.
    pub version: RuleVersion,
    /// The rule.
    pub rule: Rule,
    /// Frames that it applied to.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
}

/// Frames dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCounter {
    /// Why, in kebab-case: `no-rule`, `hop-limit`, `link-down`, ...
    pub reason: String,
    /// How many.
    pub frames: u64,
}

/// Something that the kernel can do for the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffloadStatus {
    /// As in the configuration: `ports`, `links`, `udp-segmentation`, ...
    pub name: String,
    /// Is it in use?
    pub on: bool,
    /// Why not; empty when it is.
    pub why: String,
}

/// The state of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its host.
    pub host: HostName,
    /// The release that it runs.
    pub release: String,
    /// For how long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// Is it the Proxy?
    pub is_proxy: bool,
    /// The Proxy session of a daemon: whether it is registered and if not, why.
    /// `None` on the Proxy and on a daemon that has none.
    pub proxy: Option<PortState>,
    /// On the Proxy: the daemons registered with it, with their data addresses.
    /// On another daemon: its Proxy, while it is registered there.
    pub daemons: Vec<super::message::PeerAddress>,
    /// Interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Links.
    pub links: Vec<LinkStatus>,
    /// Rules in the current rule sets.
    pub rules: u64,
    /// The rule version that new frames of each network get.
    pub versions: Vec<(NetworkId, RuleVersion)>,
    /// Frames dropped, by reason.
    pub drops: Vec<DropCounter>,
    /// The upper bound on configuration time, in milliseconds.
    pub configuration_bound_ms: u64,
    /// What the kernel does for the data plane, and what it doesn't.
    #[serde(default)]
    pub offloads: Vec<OffloadStatus>,
    /// Everything that does not work as configured, one sentence each; empty
    /// when all is well.
    pub degraded: Vec<String>,
}

/// Traffic of one address pair at one daemon: cumulative since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficEntry {
    /// The network.
    pub network: NetworkId,
    /// The sender.
    pub source: MacAddr,
    /// The receiver (may be a group address).
    pub destination: MacAddr,
    /// Frames taken from a local VM.
    pub sent_frames: u64,
    /// Bytes of those frames.
    pub sent_bytes: u64,
    /// Frames given to a local VM.
    pub received_frames: u64,
    /// Bytes of those frames.
    pub received_bytes: u64,
}

/// A daemon's local traffic matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReport {
    /// Whose.
    pub host: HostName,
    /// Distinguishes runs of the daemon, whose counters start at zero: a
    /// number drawn at its start.
    pub incarnation: u64,
    /// Counts the reports of this run from 0.
    pub sequence: u64,
    /// Entries that changed since the last report (all of them in report 0).
    pub entries: Vec<TrafficEntry>,
}

/// The application's topology and traffic as VTTIF on the Proxy sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficView {
    /// The network.
    pub network: NetworkId,
    /// The VMs.
    pub vertices: Vec<MacAddr>,
    /// Smoothed rate of each pair that exchanged anything: indices of source
    /// and destination in `vertices`, bytes per second.
    pub rates: Vec<(u32, u32, f64)>,
    /// The names of the topology, most telling first (`all-to-all`, `mesh 4x4`, ...).
    pub names: Vec<String>,
    /// How well the name fits, 0 to 1.
    pub confidence: f64,
    /// The edges that remain after normalisation and pruning.
    pub edges: Vec<(u32, u32)>,
    /// How many changes of the topology have been reported.
    pub changes: u64,
    /// How long ago the last change was reported, in milliseconds.
    pub changed_ms_ago: Option<u64>,
}

/// A rate that most likely is `value`, and between `low` and `high` in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateEstimate {
    /// The least that is likely.
    pub low: Bandwidth,
    /// The best estimate.
    pub value: Bandwidth,
    /// The most that is likely.
    pub high: Bandwidth,
}

/// What a daemon has found out of the path from another daemon's host to its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// Where the path begins.
    pub from: HostName,
    /// Where it ends: the daemon that reports.
    pub to: HostName,
    /// What the slowest link on it can carry; `None`: unknown.
    pub capacity: Option<RateEstimate>,
    /// What the traffic of others leaves of that; `None`: unknown.
    pub available: Option<RateEstimate>,
    /// The highest rate that the path has been seen to carry lately.
    pub carried: Bandwidth,
    /// Packets that did not wait: when they were sent by the sender's clock, and
    /// how much later they arrived by the receiver's, in nanoseconds.
    pub envelope: Vec<(u64, i64)>,
    /// How many stretches of traffic the rates are from.
    pub stretches: u32,
    /// How old the latest of them is, in milliseconds; `None`: there is none.
    pub age_ms: Option<u64>,
}

/// What is known of the path from one host to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStatus {
    /// Where it begins.
    pub from: HostName,
    /// Where it ends.
    pub to: HostName,
    /// What the slowest link on it can carry; `None`: unknown.
    pub capacity: Option<RateEstimate>,
    /// What the traffic of others leaves of that; `None`: unknown, as a rule
    /// since the application sends too little to tell.
    pub available: Option<RateEstimate>,
    /// The highest rate that the path has been seen to carry lately: there is
    /// at least so much.
    pub carried: Bandwidth,
    /// One-way latency in microseconds: half of the round trip of a packet that
    /// meets no other; `None`: unknown.
    pub latency_us: Option<u64>,
    /// How old the latest evidence of the rates is, in milliseconds; `None`: there is none.
    pub age_ms: Option<u64>,
}
