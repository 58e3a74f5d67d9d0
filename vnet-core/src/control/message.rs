//! Requests, replies and notices.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::key::PublicKey;
use crate::link::{Link, LinkId};
use crate::mac::MacAddr;
use crate::name::{HostName, InterfaceName};
use crate::network::{NetworkId, RuleVersion};
use crate::rule::Rule;
use crate::units::Bandwidth;

use super::status::{
    DaemonStatus, InterfaceStatus, LinkStatus, PathReport, PathStatus, RuleStatus, TrafficReport, TrafficView,
};

/// Anything that crosses a control connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The number of the request; 0 for a notice.
    pub id: u32,
    /// What it is.
    pub body: Body,
}

/// What an envelope holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A request, for the receiver (`None`) or for a daemon that it knows.
    Request(Option<HostName>, Request),
    /// The answer to a request.
    Response(Response),
    /// News that want no answer.
    Notice(Notice),
}

/// The answer to a request.
pub type Response = Result<Reply, ControlError>;

/// A link to open, and where its peer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSpec {
    /// The link.
    pub link: Link,
    /// The data address of the end that is not the receiver of the request;
    /// `None`: the daemon looks it up (configuration, Proxy, then DNS).
    pub peer: Option<SocketAddr>,
}

/// What an interface is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortKind {
    /// A TAP device.
    Tap {
        /// Its name.
        device: String,
        /// The network namespace that it is in, as a path such as
        /// `/proc/42/ns/net`; `None`: the daemon's own.
        #[serde(default)]
        netns: Option<PathBuf>,
        /// Make the device if it isn't there (it goes away with the daemon).
        /// Otherwise wait for it.
        #[serde(default)]
        create: bool,
    },
    /// A packet socket on an existing device (a veth, a host-only network).
    Packet {
        /// The device's name.
        device: String,
        /// The network namespace that it is in; `None`: the daemon's own.
        #[serde(default)]
        netns: Option<PathBuf>,
    },
    /// A Unix socket that one virtual machine at a time connects to, as QEMU's
    /// `-netdev stream` does.
    Stream {
        /// Where the socket is made.
        path: PathBuf,
    },
}

/// An interface to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSpec {
    /// Its name in rules.
    pub name: InterfaceName,
    /// The network that its frames belong to.
    pub network: NetworkId,
    /// The address of the VM behind it, where known.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// What it is made of.
    pub port: PortKind,
}

/// A rule and the network that it is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleEntry {
    /// The network.
    pub network: NetworkId,
    /// The rule.
    pub rule: Rule,
}

/// A daemon and the key that it is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerKey {
    /// The daemon.
    pub host: HostName,
    /// Its public key.
    pub key: PublicKey,
    /// The Proxy has introduced it; otherwise an operator has.
    #[serde(default)]
    pub introduced: bool,
}

/// Length of the proof of an [`Introduction`], in bytes.
pub const PROOF: usize = 16;

/// A daemon's key, told by the daemon itself or by the Proxy, with a proof that
/// only the two ends of the session can make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// The daemon.
    pub host: HostName,
    /// Its public key.
    pub key: PublicKey,
    /// The proof: a MAC over both, for this session.
    pub proof: [u8; PROOF],
}

/// Where a daemon's links end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// The daemon.
    pub host: HostName,
    /// Its data address (UDP and TCP).
    pub address: SocketAddr,
}

/// What can be asked of a daemon. The number in brackets goes on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// \[1\] Primitive 1: add a link (this daemon's end of it).
    AddLink(LinkSpec),
    /// \[2\] Primitive 2: delete a link.
    DeleteLink(LinkId),
    /// \[3\] Primitive 3: add a rule to the current rule set.
    AddRule(RuleEntry),
    /// \[4\] Primitive 4: delete a rule from the current rule set.
    DeleteRule(RuleEntry),
    /// \[5\] Primitive 5: list the interfaces.
    ListInterfaces,
    /// \[6\] Primitive 6: list the links.
    ListLinks,
    /// \[7\] Primitive 7: list the rules.
    ListRules,
    /// \[8\] Primitive 8: set the upper bound on configuration time, in milliseconds.
    SetConfigurationBound(u64),
    /// \[9\] Open an interface.
    AddInterface(InterfaceSpec),
    /// \[10\] Close an interface.
    DeleteInterface(InterfaceName),
    /// \[11\] The daemon's state.
    Status,
    /// \[12\] The local traffic matrix, whole.
    Traffic,
    /// \[13\] The application's topology as the Proxy sees it.
    TrafficView(NetworkId),
    /// \[14\] Several requests, carried out in order; the answer is
    /// [`Reply::Batch`]. Batches do not nest.
    Batch(Vec<Request>),
    /// \[15\] Keep a whole rule set under a version without using it yet.
    PrepareRules {
        /// The network.
        network: NetworkId,
        /// The version.
        version: RuleVersion,
        /// The rules of this daemon, all of them.
        rules: Vec<Rule>,
    },
    /// \[16\] Stamp frames that enter here with this version from now on.
    CommitRules {
        /// The network.
        network: NetworkId,
        /// The version, prepared before.
        version: RuleVersion,
    },
    /// \[17\] Forget a rule set that is no longer current.
    RetireRules {
        /// The network.
        network: NetworkId,
        /// The version.
        version: RuleVersion,
    },
    /// \[18\] A daemon introduces itself to the Proxy; answered with
    /// [`Reply::Registered`]. After that the Proxy sends requests back over
    /// the same connection.
    Register {
        /// The daemon's host.
        host: HostName,
        /// The port of its data address, whose IP address is the connection's.
        data_port: u16,
        /// Distinguishes runs of the daemon.
        incarnation: u64,
    },
    /// \[19\] Are you there?
    Ping,
    /// \[20\] Stop the daemon; links, rules and interfaces stay on record.
    Shutdown,
    /// \[21\] The links that are down, answered with [`Reply::Links`]: few, where all are many.
    ListDownLinks,
    /// \[22\] What is known of the paths between hosts; the Proxy knows.
    Paths,
    /// \[23\] Send padding to measure a path by that nobody uses.
    Probe(ProbeTrain),
    /// \[24\] Let a daemon with this key have encrypted links with this one.
    AllowPeer(PeerKey),
    /// \[25\] Take a daemon's key off the list: its links go down.
    ForbidPeer(HostName),
    /// \[26\] The daemons that encrypted links may be had with.
    ListPeers,
}

/// Padding that measures the path to a neighbour: a burst, which shows the
/// capacity, and then a steady stream, which shows what others leave of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTrain {
    /// The neighbour; there must be a UDP link to it.
    pub peer: HostName,
    /// Full packets at once; at most [`ProbeTrain::MAX_BURST`].
    pub burst: u32,
    /// The rate of the stream, which is about the available bandwidth or more to
    /// be of use; `None`: no stream.
    pub rate: Option<Bandwidth>,
    /// How long the stream is, in milliseconds; at most [`ProbeTrain::MAX_MS`].
    pub for_ms: u32,
}

impl ProbeTrain {
    /// The most packets in a burst.
    pub const MAX_BURST: u32 = 256;

    /// The longest stream, in milliseconds.
    pub const MAX_MS: u32 = 1000;
}

/// What a daemon answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// \[1\] Done.
    Done,
    /// \[2\] The interfaces.
    Interfaces(Vec<InterfaceStatus>),
    /// \[3\] The links.
    Links(Vec<LinkStatus>),
    /// \[4\] The rules.
    Rules(Vec<RuleStatus>),
    /// \[5\] The state.
    Status(Box<DaemonStatus>),
    /// \[6\] The local traffic matrix.
    Traffic(TrafficReport),
    /// \[7\] The application's topology.
    TrafficView(TrafficView),
    /// \[8\] The answers to a batch, in its order.
    Batch(Vec<Response>),
    /// \[9\] The Proxy knows the daemon now.
    Registered {
        /// The Proxy's host.
        proxy: HostName,
        /// All daemons that it knows.
        daemons: Vec<PeerAddress>,
    },
    /// \[10\] The paths, ordered by their ends.
    Paths(Vec<PathStatus>),
    /// \[11\] The daemons that encrypted links may be had with.
    Peers {
        /// The daemon's own key; `None`: its links are plain.
        own: Option<PublicKey>,
        /// The others, ordered by name.
        peers: Vec<PeerKey>,
    },
}

/// News that want no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// \[1\] A daemon's traffic since its last report.
    Traffic(TrafficReport),
    /// \[2\] The Proxy tells of a daemon that is new or has moved.
    Peer(PeerAddress),
    /// \[3\] A sign of life.
    Heartbeat,
    /// \[4\] What a daemon has found out of paths that end at it.
    Paths(Vec<PathReport>),
    /// \[5\] To the Proxy: the sender's own key. From the Proxy: that of another
    /// daemon.
    Introduce(Introduction),
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The thing is not there.
    NotFound,
    /// The thing is there already, and differs.
    Conflict,
    /// The request makes no sense.
    Invalid,
    /// The kernel, the disk or the network refused.
    Failed,
    /// The target daemon is not connected.
    Unreachable,
    /// The answer did not come in time.
    Timeout,
    /// The daemon doesn't do this (e.g. it is not the Proxy).
    Unsupported,
}

/// Why a request failed, with what the user needs to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// A sentence for the user.
    pub message: String,
}

impl ControlError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ControlError {}
