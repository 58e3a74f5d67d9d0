//! What a data plane is started with, what it reports, and how it fails.

use std::net::SocketAddr;
use std::path::PathBuf;

use vnet_core::control::{ErrorKind, LinkSpec};
use vnet_core::encap::DEFAULT_HOP_LIMIT;
use vnet_core::{HostName, InterfaceName, LinkId, PublicKey};

use crate::book::RuleError;
use crate::link::LinkTiming;
use crate::secure::{PrivateKey, SecureOptions};

/// Which offloads a data plane uses where the kernel has them. All are on unless
/// an operator turns them off to compare, or to get around a fault of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadSwitches {
    /// Ports hand over and take super-frames and frames without checksums.
    pub ports: bool,
    /// Peers may send those, too, if they are asked to by us.
    pub links: bool,
    /// The kernel cuts runs of datagrams (`UDP_SEGMENT`).
    pub udp_segmentation: bool,
    /// The kernel puts runs of datagrams together (`UDP_GRO`).
    pub udp_coalescing: bool,
    /// Many datagrams go in one system call (`sendmmsg`, `recvmmsg`).
    pub batches: bool,
}

impl OffloadSwitches {
    /// All are used.
    pub const ON: Self =
        Self { ports: true, links: true, udp_segmentation: true, udp_coalescing: true, batches: true };
    /// None is.
    pub const OFF: Self =
        Self { ports: false, links: false, udp_segmentation: false, udp_coalescing: false, batches: false };
}

/// What MTU the devices of interfaces get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterfaceMtu {
    /// The one that they have, or as much less as it takes for a frame to fit one
    /// message of every link whole.
    #[default]
    Follow,
    /// This one.
    Fixed(u32),
    /// The one that they have.
    Leave,
}

/// How the links of a data plane are protected.
#[derive(Clone, Debug, Default)]
pub enum Encryption {
    /// Not at all.
    None,
    /// With a new key, which only this run has.
    #[default]
    NewKey,
    /// With this key.
    Key(PrivateKey, SecureOptions),
}

/// What a [`DataPlane`](super::DataPlane) is started with.
#[derive(Clone, Debug)]
pub struct DataPlaneConfig {
    /// The daemon's name, as links and rules have it.
    pub host: HostName,
    /// Where links end, over UDP and TCP alike; port 0 picks one that is free
    /// for both. `None`: no links.
    pub bind: Option<SocketAddr>,
    /// Distinguishes this run of the daemon from earlier ones: a number drawn
    /// at its start.
    pub incarnation: u64,
    /// How links probe, give up and retry.
    pub timing: LinkTiming,
    /// The hop limit of frames that enter here.
    pub hop_limit: u8,
    /// How many address pairs are counted before further ones go uncounted.
    pub traffic_capacity: usize,
    /// How many resolved flows the rule cache keeps at most.
    pub cache_capacity: usize,
    /// Keep when messages were sent and when they arrived, for
    /// [`DataPlane::take_arrivals`](super::DataPlane::take_arrivals).
    pub measure_paths: bool,
    /// Which offloads are used.
    pub offloads: OffloadSwitches,
    /// What MTU TAP devices get.
    pub interface_mtu: InterfaceMtu,
    /// Frames that are too long for a message of a link go in pieces, which the peer
    /// rejoins; otherwise they are dropped and counted.
    pub split_frames: bool,
    /// How links are protected. Encrypted ones come up with daemons that
    /// [`DataPlane::allow`](super::DataPlane::allow) has been called for.
    pub encryption: Encryption,
}

impl DataPlaneConfig {
    /// The defaults: links, once there is an address, are encrypted; 65,536 address pairs, 65,536 cached flows, all offloads.
    pub fn new(host: HostName) -> Self {
        Self {
            host,
            bind: None,
            incarnation: 0,
            timing: LinkTiming::default(),
            hop_limit: DEFAULT_HOP_LIMIT,
            traffic_capacity: 1 << 16,
            cache_capacity: 1 << 16,
            measure_paths: false,
            offloads: OffloadSwitches::ON,
            interface_mtu: InterfaceMtu::default(),
            split_frames: true,
            encryption: Encryption::default(),
        }
    }
}

/// News from the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The link carries frames now.
    LinkUp {
        /// Which link.
        link: LinkId,
    },
    /// The link no longer carries frames.
    LinkDown {
        /// Which link.
        link: LinkId,
        /// What was seen.
        why: String,
    },
    /// The interface carries frames now.
    InterfaceUp {
        /// Which interface.
        interface: InterfaceName,
    },
    /// The interface no longer carries frames.
    InterfaceDown {
        /// Which interface.
        interface: InterfaceName,
        /// What was seen.
        why: String,
    },
}

/// Why a data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address for links can't be had.
    #[error("links can't listen on {protocol} {address}: {source}; is another daemon running there?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The kernel refused something that every worker needs.
    #[error("the worker can't start: {what}: {source}")]
    Worker {
        /// What was refused.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// A change of this daemon's end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Adds it. The same one again is fine; with another peer address, the link
    /// moves there.
    Add(LinkSpec),
    /// Takes it down, and tells the peer.
    Remove(LinkId),
}

/// Why a call to a data plane failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaneError {
    /// An interface of that name is there already, and differs.
    #[error("interface {name} exists and differs from what is asked for; remove it first")]
    InterfaceConflict {
        /// The name.
        name: InterfaceName,
    },
    /// A link between the same ends is there already, and differs.
    #[error("link {link} exists with another kind or opener; remove it first")]
    LinkConflict {
        /// The link.
        link: LinkId,
    },
    /// There is no interface of that name.
    #[error("there is no interface {name}")]
    NoInterface {
        /// The name.
        name: InterfaceName,
    },
    /// There is no such link.
    #[error("there is no link {link}")]
    NoLink {
        /// The link.
        link: LinkId,
    },
    /// The link doesn't end at this daemon.
    #[error("link {link} does not end at {host}")]
    ForeignLink {
        /// The link.
        link: LinkId,
        /// The daemon.
        host: HostName,
    },
    /// The daemon has no address for links.
    #[error("{host} has no data address, so it can't have links; give it one to bind to")]
    NoAddress {
        /// The daemon.
        host: HostName,
    },
    /// The kernel can't have a device of that name.
    #[error("`{device}` can't name a network device: 1 to 15 bytes without `/` or white space are needed")]
    BadDevice {
        /// The name.
        device: String,
    },
    /// The kernel can't have a socket there.
    #[error(
        "{} can't name the socket of an interface: an absolute path of at most 107 bytes is needed",
        path.display()
    )]
    BadSocket {
        /// The path.
        path: PathBuf,
    },
    /// No secret can be shared with the owner of a key.
    #[error("the key {key} of {host} is none that secrets can be shared with; was it copied right?")]
    BadKey {
        /// The daemon.
        host: HostName,
        /// Its key.
        key: PublicKey,
    },
    /// The kernel refused to watch a port.
    #[error("interface {name} can't be watched: {why}")]
    Watch {
        /// The interface.
        name: InterfaceName,
        /// What the kernel said.
        why: String,
    },
    /// A rule or a rule set was refused.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The worker has gone, after a panic that its thread has reported.
    #[error("the data plane's worker has stopped; restart the daemon")]
    Stopped,
}

impl PlaneError {
    /// The kind of failure for the control protocol.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InterfaceConflict { .. } | Self::LinkConflict { .. } => ErrorKind::Conflict,
            Self::NoInterface { .. } | Self::NoLink { .. } => ErrorKind::NotFound,
            Self::ForeignLink { .. }
            | Self::BadDevice { .. }
            | Self::BadSocket { .. }
            | Self::BadKey { .. } => ErrorKind::Invalid,
            Self::NoAddress { .. } => ErrorKind::Unsupported,
            Self::Watch { .. } | Self::Stopped => ErrorKind::Failed,
            Self::Rule(error) => match error {
                RuleError::ForeignEdge { .. } => ErrorKind::Invalid,
                RuleError::CurrentDiffers { .. } | RuleError::RetireCurrent { .. } => ErrorKind::Conflict,
                RuleError::NotPrepared { .. } => ErrorKind::NotFound,
            },
        }
    }
}
