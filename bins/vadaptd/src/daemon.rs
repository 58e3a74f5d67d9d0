//! The adaptation loop, for as long as it is wanted.

use std::time::{Duration, Instant};

use serde::Serialize;
use vadapt::io::WallClock;
use vmmpd::client::Target;
use vnet_core::{NetworkId, Topology};
use vnetd::client::{Address, Client, ClientError, Overlay};

use crate::decide::{self, DecideError, Decision, Situation, decide};
use crate::execute::{Mover, Rehome, execute};
use crate::figures::Figures;
use crate::inventory::{Inventory, InventoryError};
use crate::migrate::Vmmp;
use crate::policy::{Due, Policy, Watch};

/// How the loop runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The daemon to talk to; through it, all others.
    pub control: Address,
    /// The network whose application is adapted.
    pub network: NetworkId,
    /// What hosts and paths can do.
    pub figures: Figures,
    /// Use what Wren has measured in their place, as far as it has.
    pub measured: bool,
    /// How decisions are made.
    pub decide: decide::Options,
    /// When they are made.
    pub policy: Policy,
    /// How often VTTIF is asked.
    pub interval: Duration,
    /// Decide and say so, but change nothing.
    pub dry_run: bool,
    /// The migration agent that moves VMs; `None`: their interfaces are opened at another
    /// daemon, for hosts that reach the same devices.
    pub agent: Option<Target>,
}

/// A turn of the loop that failed; the loop goes on.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// A daemon could not be reached, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The overlay has no Proxy that answers.
    #[error("no Proxy answers: VTTIF and the star need one")]
    NoProxy,
    /// Daemons contradict each other.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Nothing could be decided.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

/// What the loop did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "report")]
pub enum Report {
    /// It decided.
    Decided {
        /// Is the topology new, or was the old plan looked at again?
        new_topology: bool,
        /// The application's topology.
        topology: Vec<String>,
        /// VMs to move.
        moves: Vec<decide::Move>,
        /// Links to add.
        links: Vec<decide::LinkChange>,
        /// Will it be carried out?
        worthwhile: bool,
        /// The plan in a sentence.
        reason: String,
        /// How long it took, in milliseconds.
        decide_ms: f64,
    },
    /// The decision was carried out.
    Executed {
        /// How long it took, in milliseconds.
        execute_ms: f64,
        /// How long VMs were away, in milliseconds.
        handover_ms: f64,
    },
    /// The decision could not be carried out.
    ExecutionFailed {
        /// Why, and what became of the part that was done.
        why: String,
    },
    /// Something else failed; it is tried again.
    Failed {
        /// Why.
        why: String,
    },
}

/// Runs the loop until `report` answers that it is enough. Failures are
/// reported once for as long as they stay the same, and tried again.
pub fn run(settings: &Settings, mut report: impl FnMut(&Report) -> bool) {
    let mut watch = Watch::new(settings.policy);
    let mut client = None;
    let mut last_failure = None;
    loop {
        match turn(settings, &mut watch, &mut client, &mut report) {
            Ok(goes_on) => {
                last_failure = None;
                if !goes_on {
                    return;
                }
            }
            Err(error) => {
                // A connection that has failed once isn't used again.
                client = None;
                let why = error.to_string();
                let is_new = last_failure.as_ref() != Some(&why);
                last_failure = Some(why.clone());
                if is_new && !report(&Report::Failed { why }) {
                    return;
                }
            }
        }
        std::thread::sleep(settings.interval);
    }
}

/// One look; `false` when it is enough.
fn turn(
    settings: &Settings,
    watch: &mut Watch,
    client: &mut Option<Client>,
    report: &mut impl FnMut(&Report) -> bool,
) -> Result<bool, LoopError> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::connect(&settings.control)?),
    };
    let status = client.status(None)?;
    let proxy = match status.is_proxy {
        true => status.host,
        false => status.daemons.first().map(|proxy| proxy.host.clone()).ok_or(LoopError::NoProxy)?,
    };
    let view = client.traffic_view(Some(&proxy), settings.network)?;
    let Some(due) = watch.due(Instant::now(), &view) else { return Ok(true) };

    let begun = Instant::now();
    let overlay = Overlay::survey(client)?;
    let topology = overlay.topology(settings.network, &Topology::default());
    let daemons: Vec<_> = overlay.daemons.values().map(|daemon| daemon.status.clone()).collect();
    let inventory = Inventory::of(settings.network, &daemons)?;
    let figures = match settings.measured {
        true => settings.figures.measured(&client.paths(Some(&proxy))?),
        false => settings.figures.clone(),
    };
    let situation = Situation {
        view: &view,
        inventory: &inventory,
        figures: &figures,
        hosts: &topology.hosts,
        proxy: &proxy,
        topology: &topology,
    };
    let decision = decide(&situation, &settings.decide, &WallClock::start());
    watch.decided(Instant::now(), &view);
    let decision = decision?;
    if !report(&decided(due, view.names.clone(), &decision, begun.elapsed())) {
        return Ok(false);
    }
    if settings.dry_run || !decision.is_worthwhile {
        return Ok(true);
    }
    let mut mover: Box<dyn Mover> = match &settings.agent {
        Some(agent) => Box::new(Vmmp::new(agent.clone())),
        None => Box::new(Rehome::new(&inventory, settings.network)),
    };
    let outcome = match execute(client, settings.network, &decision, &mut *mover, |_| {}) {
        Ok(executed) => Report::Executed {
            execute_ms: milliseconds(executed.took),
            handover_ms: milliseconds(executed.handover),
        },
        Err(error) => Report::ExecutionFailed { why: error.to_string() },
    };
    watch.decided(Instant::now(), &view);
    Ok(report(&outcome))
}

fn decided(due: Due, topology: Vec<String>, decision: &Decision, took: Duration) -> Report {
    Report::Decided {
        new_topology: due == Due::NewTopology,
        topology,
        moves: decision.moves.clone(),
        links: decision.links.clone(),
        worthwhile: decision.is_worthwhile,
        reason: decision.reason.clone(),
        decide_ms: milliseconds(took),
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
