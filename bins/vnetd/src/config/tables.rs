//! The tables of a configuration file: interfaces, links, rules, and numbers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use vnet_core::control::{InterfaceSpec, LinkSpec, PortKind, RuleEntry};
use vnet_core::network::NetworkId;
use vnet_core::rule::EdgeRef;
use vnet_core::{Action, HostName, InterfaceName, Link, LinkKind, MacAddr, Rule};
use vnet_fwd::{InterfaceMtu, OffloadSwitches};

use super::matches::{parse_destination, parse_source};
use super::{Limits, Timing, VttifSettings};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct InterfaceTable {
    name: InterfaceName,
    network: Option<NetworkId>,
    mac: Option<MacAddr>,
    tap: Option<String>,
    packet: Option<String>,
    stream: Option<PathBuf>,
    netns: Option<PathBuf>,
    create: Option<bool>,
}

impl InterfaceTable {
    pub(super) fn check(self) -> Result<InterfaceSpec, String> {
        let port = match (self.tap, self.packet, self.stream) {
            (Some(device), None, None) => {
                PortKind::Tap { device, netns: self.netns, create: self.create.unwrap_or(false) }
            }
            (None, Some(_), None) if self.create.is_some() => {
                return Err("`create` is for TAP devices; a `packet` device must exist".into());
            }
            (None, Some(device), None) => PortKind::Packet { device, netns: self.netns },
            (None, None, Some(_)) if self.create.is_some() || self.netns.is_some() => {
                return Err(
                    "`create` and `netns` are for devices; a `stream` is a socket of the daemon".into()
                );
            }
            (None, None, Some(path)) => PortKind::Stream { path },
            _ => {
                return Err("an interface has either `tap` or `packet`, the name of its device, or \
                     `stream`, the path of a socket"
                    .into());
            }
        };
        Ok(InterfaceSpec {
            name: self.name,
            network: self.network.unwrap_or(NetworkId(1)),
            mac: self.mac,
            port,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LinkTable {
    peer: HostName,
    kind: Option<LinkKind>,
    opener: Option<HostName>,
    address: Option<SocketAddr>,
}

impl LinkTable {
    pub(super) fn check(self, host: &HostName) -> Result<LinkSpec, String> {
        let link = Link {
            kind: self.kind.unwrap_or(LinkKind::Udp),
            opener: self.opener.unwrap_or_else(|| host.clone()),
            a: host.clone(),
            b: self.peer,
        };
        match super::link_problem(&link, host) {
            None => Ok(LinkSpec { link, peer: self.address }),
            Some(problem) => Err(problem),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RuleTable {
    network: Option<NetworkId>,
    source: Option<String>,
    destination: String,
    edge: Option<HostName>,
    interface: Option<InterfaceName>,
}

impl RuleTable {
    pub(super) fn check(self, host: &HostName) -> Result<RuleEntry, String> {
        let action = match (self.edge, self.interface) {
            (Some(to), None) => Action::Edge(EdgeRef { from: host.clone(), to }),
            (None, Some(name)) => Action::Interface(name),
            _ => {
                return Err(
                    "a rule has either `edge`, a neighbour's name, or `interface`, a local one".into()
                );
            }
        };
        Ok(RuleEntry {
            network: self.network.unwrap_or(NetworkId(1)),
            rule: Rule {
                source: parse_source(self.source.as_deref().unwrap_or("any"))?,
                destination: parse_destination(&self.destination)?,
                action,
            },
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct VttifTable {
    smoothing_interval: Option<Span>,
    detection_threshold: Option<f64>,
    stable_for: Option<Span>,
    release_after: Option<Span>,
    follow_interval: Option<Span>,
    idle_after: Option<Span>,
    idle_rate: Option<f64>,
}

impl VttifTable {
    pub(super) fn check(self) -> VttifSettings {
        let time = |span: Option<Span>| span.map(|span| span.0);
        VttifSettings {
            smoothing_interval: time(self.smoothing_interval),
            detection_threshold: self.detection_threshold,
            stable_for: time(self.stable_for),
            release_after: time(self.release_after),
            follow_interval: time(self.follow_interval),
            idle_after: time(self.idle_after),
            idle_rate: self.idle_rate,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct TimingTable {
    heartbeat: Option<Span>,
    dead_after: Option<Span>,
    connect_timeout: Option<Span>,
    backoff_min: Option<Span>,
    backoff_max: Option<Span>,
    relay_timeout: Option<Span>,
    resolve_interval: Option<Span>,
    configuration_bound: Option<Span>,
    rekey_after: Option<Span>,
}

impl TimingTable {
    pub(super) fn check(self) -> Timing {
        let default = Timing::default();
        let or = |span: Option<Span>, default| span.map_or(default, |span| span.0);
        Timing {
            heartbeat: or(self.heartbeat, default.heartbeat),
            dead_after: or(self.dead_after, default.dead_after),
            connect_timeout: or(self.connect_timeout, default.connect_timeout),
            backoff_min: or(self.backoff_min, default.backoff_min),
            backoff_max: or(self.backoff_max, default.backoff_max),
            relay_timeout: or(self.relay_timeout, default.relay_timeout),
            resolve_interval: or(self.resolve_interval, default.resolve_interval),
            configuration_bound: or(self.configuration_bound, default.configuration_bound),
            rekey_after: or(self.rekey_after, default.rekey_after),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct OffloadTable {
    ports: Option<bool>,
    links: Option<bool>,
    udp_segmentation: Option<bool>,
    udp_coalescing: Option<bool>,
    batches: Option<bool>,
}

impl OffloadTable {
    pub(super) fn check(self) -> OffloadSwitches {
        OffloadSwitches {
            ports: self.ports.unwrap_or(true),
            links: self.links.unwrap_or(true),
            udp_segmentation: self.udp_segmentation.unwrap_or(true),
            udp_coalescing: self.udp_coalescing.unwrap_or(true),
            batches: self.batches.unwrap_or(true),
        }
    }
}

/// `"follow"`, `"leave"`, or the MTU.
pub(super) struct MtuChoice(pub(super) InterfaceMtu);

impl<'de> Deserialize<'de> for MtuChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected \"follow\", \"leave\" or an MTU in bytes, such as 1400")]
        enum Written {
            Bytes(u32),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Word {
            Follow,
            Leave,
        }
        match Written::deserialize(deserializer)? {
            Written::Word(Word::Follow) => Ok(Self(InterfaceMtu::Follow)),
            Written::Word(Word::Leave) => Ok(Self(InterfaceMtu::Leave)),
            // What Ethernet devices of Linux take.
            Written::Bytes(mtu @ 68..=65_521) => Ok(Self(InterfaceMtu::Fixed(mtu))),
            Written::Bytes(mtu) => {
                Err(serde::de::Error::custom(format!("an MTU is from 68 to 65521 bytes, and not {mtu}")))
            }
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct LimitsTable {
    connections: Option<usize>,
    idle: Option<Span>,
    request: Option<Span>,
    relayed: Option<usize>,
    unsent: Option<usize>,
}

impl LimitsTable {
    pub(super) fn check(self) -> Limits {
        let default = Limits::default();
        Limits {
            connections: self.connections.unwrap_or(default.connections),
            idle: self.idle.map_or(default.idle, |span| span.0),
            request: self.request.map_or(default.request, |span| span.0),
            relayed: self.relayed.unwrap_or(default.relayed),
            unsent: self.unsent.unwrap_or(default.unsent),
        }
    }
}

// A duration above zero as people write it: `50ms`, `1s`, `2min`.
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match humantime::parse_duration(&text) {
            Ok(duration) if duration.is_zero() => {
                Err(serde::de::Error::custom("the duration must be above zero"))
            }
            Ok(duration) => Ok(Self(duration)),
            Err(error) => Err(serde::de::Error::custom(format!(
                "`{text}` is not a duration ({error}); write a number and a unit, such as `50ms` or `1s`"
            ))),
        }
    }
}
