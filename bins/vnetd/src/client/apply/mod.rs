//! Making the overlay match a description, without losing a frame.

mod error;
mod execute;
mod goal;
mod round;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use vnet_core::change::{Difference, Plan};
use vnet_core::network::NetworkId;
use vnet_core::{HostName, LinkId, Topology};

use super::{Client, Overlay};
use execute::Executor;
use goal::Goal;

pub use error::{ApplyError, Cause, Rollback};

/// How to reconfigure an overlay.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// The network whose rules change. Links are shared by all networks.
    pub network: NetworkId,
    /// How long frames with the old stamp may be under way: a few round trips
    /// of the slowest path. Default 100 ms.
    pub drain: Duration,
    /// How long new links may take to come up. Default: the configuration
    /// bound, but at least 10 s.
    pub links_within: Option<Duration>,
    /// Keep the links between the Proxy and the daemons, whatever the
    /// description says: they are the way home. Default: yes.
    pub keep_star: bool,
    /// Data addresses of daemons, where the Proxy should not be asked.
    pub addresses: BTreeMap<HostName, SocketAddr>,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            network: NetworkId(1),
            drain: Duration::from_millis(100),
            links_within: None,
            keep_star: true,
            addresses: BTreeMap::new(),
        }
    }
}

/// What would be done, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Proposal {
    /// What differs.
    pub difference: Difference,
    /// What is done, in order.
    pub plan: Plan,
    /// Links between the Proxy and daemons that stay though the description
    /// doesn't have them.
    pub kept: Vec<LinkId>,
    /// Ends of links that have no other end; they are removed.
    pub strays: Vec<(HostName, LinkId)>,
}

impl Proposal {
    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.plan.stages.is_empty() && self.strays.is_empty()
    }
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// What was to be done.
    #[serde(flatten)]
    pub proposal: Proposal,
    /// When the daemons had been asked what there is.
    #[serde(serialize_with = "as_ms", rename = "surveyed_ms")]
    pub surveyed: Duration,
    /// When all new links carried frames.
    #[serde(serialize_with = "as_ms", rename = "links_up_ms")]
    pub links_up: Duration,
    /// When every daemon stamped frames with the new rules: from here on the
    /// new configuration is in force.
    #[serde(serialize_with = "as_ms", rename = "in_force_ms")]
    pub in_force: Duration,
    /// When old rules and links were gone, too.
    #[serde(serialize_with = "as_ms", rename = "total_ms")]
    pub total: Duration,
    /// What could not be cleaned up behind the new configuration; the next
    /// reconfiguration tries again.
    pub leftovers: Vec<String>,
}

/// How a reconfiguration goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All daemons have been asked.
    Surveyed {
        /// How many there are.
        daemons: usize,
    },
    /// New links and rules are being handed out.
    Preparing {
        /// How many links come.
        links: usize,
        /// How many rules there are in the new rule sets; 0 if they stay.
        rules: usize,
    },
    /// Links come up.
    LinksUp {
        /// How many carry frames at both ends.
        up: usize,
        /// Of how many.
        of: usize,
    },
    /// The new configuration is in force.
    InForce {
        /// Since the beginning.
        after: Duration,
    },
    /// Old links and rules are being removed.
    CleaningUp,
    /// Something failed, and the beginning is being undone.
    RollingBack,
}

/// Asks all daemons, and works out what would make `desired` of the overlay.
pub fn propose(
    client: &mut Client,
    desired: &Topology,
    options: &ApplyOptions,
) -> Result<Proposal, ApplyError> {
    let overlay = Overlay::survey(client)?;
    Ok(Goal::new(&overlay, desired, options)?.proposal)
}

/// Makes `desired` of the overlay, in an order that loses no frame: new links
/// first, then the new rules beside the old ones, then all daemons change over
/// to them, and when no old frame is left the old rules and links go.
///
/// If anything fails before the new configuration is in force, everything is
/// put back.
///
/// ```no_run
/// use vnet_core::{Shape, generate::Overlay};
/// use vnetd::client::{Address, ApplyOptions, Client, apply};
///
/// let mut client = Client::connect(&Address::Unix("/run/vnetd/proxy.sock".into()))?;
/// let ring = Overlay::numbered(4, Shape::Ring).generate()?;
/// let done = apply(&mut client, &ring, &ApplyOptions::default(), |step| println!("{step}"))?;
/// println!("in force after {:?}", done.in_force);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply(
    client: &mut Client,
    desired: &Topology,
    options: &ApplyOptions,
    progress: impl FnMut(&Progress),
) -> Result<Applied, ApplyError> {
    apply_around(client, desired, options, progress, &mut |_| Ok(()))
}

/// What happens in the middle of a reconfiguration; an error puts everything back.
pub type HandOver<'a> = dyn FnMut(&mut Client) -> Result<(), String> + 'a;

/// As [`apply`], and calls `hand_over` when new links and rules are ready
/// everywhere, right before the daemons change over to them: the instant at
/// which VMs move. It isn't called when the rules stay as they are. Whatever it
/// has done when it fails, it must have undone.
pub fn apply_around(
    client: &mut Client,
    desired: &Topology,
    options: &ApplyOptions,
    progress: impl FnMut(&Progress),
    hand_over: &mut HandOver<'_>,
) -> Result<Applied, ApplyError> {
    let begun = Instant::now();
    let overlay = Overlay::survey(client)?;
    let goal = Goal::new(&overlay, desired, options)?;
    Executor::new(client, &overlay, &goal, options, begun, progress, hand_over).run()
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Surveyed { daemons } => write!(f, "daemons that answered: {daemons}"),
            Self::Preparing { links, rules } => write!(f, "new links: {links}; rules handed out: {rules}"),
            Self::LinksUp { up, of } => write!(f, "new links that are up: {up} of {of}"),
            Self::InForce { after } => {
                write!(f, "the new configuration is in force after {:.1} ms", after.as_secs_f64() * 1e3)
            }
            Self::CleaningUp => f.write_str("removing old rules and links"),
            Self::RollingBack => f.write_str("something failed: putting everything back"),
        }
    }
}

fn as_ms<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}
