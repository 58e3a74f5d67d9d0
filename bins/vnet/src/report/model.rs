//! What a demonstration found out: the JSON of `vnet demo --json`, and all that
//! the page and the table show.
//!
//! Times are in seconds since the start of the demonstration unless a name
//! says otherwise; rates of payload in Mbit/s.

use serde::{Deserialize, Serialize};

/// The outcome of a demonstration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DemoReport {
    /// What VTTIF named the application's topology, such as `all-to-all`.
    pub(crate) inferred_topology: String,
    /// From the application's first message to the stable name, in milliseconds.
    pub(crate) detect_ms: f64,
    /// What VADAPT took to find the plan, in milliseconds.
    pub(crate) decide_ms: f64,
    /// From the first change to the last, in milliseconds.
    pub(crate) execute_ms: f64,
    /// What was changed, and why.
    pub(crate) plan: Plan,
    /// The application over the star through the Proxy.
    pub(crate) star: Rates,
    /// The application over a full mesh of direct links, VMs where they were:
    /// what today's overlays give.
    pub(crate) mesh: Rates,
    /// The application after the adaptation.
    pub(crate) adapted: Rates,
    /// Iterations per second adapted, over those on the star.
    pub(crate) speedup_over_star: f64,
    /// Iterations per second adapted, over those on the mesh.
    pub(crate) speedup_over_mesh: f64,
    /// Connections of the application that broke.
    pub(crate) connections_lost: u64,

    /// The application as VTTIF saw it.
    pub(crate) application: Application,
    /// Throughput over time.
    pub(crate) timeline: Timeline,
    /// The hosts, where they are and what they have room for.
    pub(crate) hosts: Vec<Host>,
    /// Placement and overlay at the start.
    pub(crate) before: Overlay,
    /// Placement and overlay after the adaptation.
    pub(crate) after: Overlay,
    /// What happened, in order.
    pub(crate) events: Vec<Event>,
    /// What the demonstration was run with: names and values, as they are to be shown.
    pub(crate) options: Vec<(String, String)>,
}

/// How fast the application ran.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Rates {
    /// Iterations per second of the slowest rank.
    pub(crate) iterations_per_s: f64,
    /// Payload received by all ranks together, in Mbit/s.
    pub(crate) mbit_per_s: f64,
}

/// The changes of an adaptation.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// VMs that move.
    pub(crate) migrations: Vec<Migration>,
    /// Links that come and go.
    pub(crate) links: Vec<LinkChange>,
    /// Rules that come and go.
    pub(crate) rules: Vec<RuleChange>,
    /// Why the plan is worth its cost, in a sentence.
    pub(crate) reason: String,
}

/// Does something come or go?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    /// It comes.
    Add,
    /// It goes.
    Delete,
}

/// A VM moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Migration {
    /// Which.
    pub(crate) vm: String,
    /// From this host.
    pub(crate) from: String,
    /// To this host.
    pub(crate) to: String,
    /// Why.
    pub(crate) reason: String,
    /// How long it took, in milliseconds, once it is done.
    pub(crate) took_ms: Option<f64>,
}

/// A link comes or goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkChange {
    /// Which of the two.
    pub(crate) change: Change,
    /// `TCP` or `UDP`.
    pub(crate) kind: String,
    /// One end.
    pub(crate) a: String,
    /// The other end.
    pub(crate) b: String,
    /// Why.
    pub(crate) reason: String,
}

/// A rule comes or goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RuleChange {
    /// Which of the two.
    pub(crate) change: Change,
    /// The host whose rule it is.
    pub(crate) host: String,
    /// The rule in the language.
    pub(crate) rule: String,
}

/// The application's topology and traffic matrix.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Application {
    /// The VMs, in the order of the matrix.
    pub(crate) vms: Vec<String>,
    /// Pairs of VMs, indices, that the topology joins.
    pub(crate) edges: Vec<(usize, usize)>,
    /// How well the name fits, 0 to 1.
    pub(crate) confidence: f64,
    /// Bytes per second from the VM of the row to the VM of the column.
    pub(crate) matrix: Vec<Vec<f64>>,
}

/// The course of a demonstration.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Timeline {
    /// Throughput at moments that ascend; a gap of more than a few usual
    /// distances between two of them means that nothing ran.
    pub(crate) samples: Vec<TimelineSample>,
    /// Its phases, in order.
    pub(crate) phases: Vec<PhaseSpan>,
    /// What the chart marks, in order.
    pub(crate) moments: Vec<Moment>,
}

/// Throughput of a short window of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TimelineSample {
    /// The middle of the window.
    pub(crate) at_s: f64,
    /// The rates in it.
    #[serde(flatten)]
    pub(crate) rates: Rates,
}

/// A part of a demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The application on the star through the Proxy.
    Star,
    /// The application on a full mesh of direct links.
    Mesh,
    /// The overlay, the routes and the placement change.
    Adapting,
    /// The application afterwards.
    Adapted,
}

impl Phase {
    /// Its name in words.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Star => "star",
            Self::Mesh => "full mesh",
            Self::Adapting => "adapting",
            Self::Adapted => "adapted",
        }
    }
}

/// When a phase was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PhaseSpan {
    /// Which.
    pub(crate) phase: Phase,
    /// Its start.
    pub(crate) from_s: f64,
    /// Its end.
    pub(crate) to_s: f64,
}

/// A moment that the chart marks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// When.
    pub(crate) at_s: f64,
    /// What, in a few words: `topology detected`.
    pub(crate) what: String,
}

/// A host of the laboratory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Its name.
    pub(crate) name: String,
    /// The site that it stands in.
    pub(crate) site: String,
    /// How many VMs it has room for.
    pub(crate) room: usize,
    /// Does the Proxy run here?
    pub(crate) is_proxy: bool,
}

/// Where the VMs are and how the hosts are joined.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Overlay {
    /// VMs, each with its host.
    pub(crate) placement: Vec<(String, String)>,
    /// Links between daemons.
    pub(crate) links: Vec<OverlayLink>,
}

/// A link between two daemons and what it carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OverlayLink {
    /// One end.
    pub(crate) a: String,
    /// The other end.
    pub(crate) b: String,
    /// What the path under it can carry, in Mbit/s; not known: `None`.
    pub(crate) bandwidth_mbit: Option<f64>,
    /// What it carried in the phase, both ways together, in Mbit/s.
    pub(crate) traffic_mbit: f64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When.
    pub(crate) at_s: f64,
    /// What, in a sentence.
    pub(crate) text: String,
}
