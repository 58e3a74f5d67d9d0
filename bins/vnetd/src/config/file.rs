//! The configuration file: TOML, checked against what a daemon can do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use toml::Spanned;
use vnet_core::control::{InterfaceSpec, LinkSpec, PortKind, RuleEntry};
use vnet_core::network::NetworkId;
use vnet_core::rule::EdgeRef;
use vnet_core::{Action, Destination, HostName, InterfaceName, Link, LinkKind, MacAddr, Rule, Source};

use super::{Config, Limits, Role, Timing, VttifSettings};

/// The longest configuration file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A configuration that the daemon can't run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line of the file is wrong.
    #[error("{}:{line}:{column}: {message}\n  {line} | {text}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong with it.
        message: String,
        /// The line's text, which names the key.
        text: String,
    },
    /// The parts do not fit together.
    #[error("{place}: {problems}")]
    Conflict {
        /// The file, or the flags.
        place: String,
        /// What doesn't fit, one sentence after the other.
        problems: String,
    },
}

impl ConfigError {
    pub(crate) fn flags(problems: &str) -> Self {
        Self::Conflict { place: "the flags".to_owned(), problems: problems.to_owned() }
    }
}

/// Reads the configuration file at `path`.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    fits(load_as(path, None)?, path)
}

/// Reads a configuration from `text`; errors name `path` as its file.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    fits(parse_as(text, path, None)?, path)
}

fn fits(config: Config, path: &Path) -> Result<Config, ConfigError> {
    match config.problems() {
        problems if problems.is_empty() => Ok(config),
        problems => {
            Err(ConfigError::Conflict { place: path.display().to_string(), problems: problems.join("; ") })
        }
    }
}

/// Reads the configuration file at `path` for the daemon `name`, which
/// outweighs the file's. Whether the parts fit together is not looked at yet.
pub(crate) fn load_as(path: &Path, name: Option<HostName>) -> Result<Config, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(read)?.len();
    if length > MAX_FILE {
        let message = format!("{length} bytes are more than a configuration may have ({MAX_FILE})");
        return Err(read(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message)));
    }
    parse_as(&std::fs::read_to_string(path).map_err(read)?, path, name)
}

fn parse_as(text: &str, path: &Path, name: Option<HostName>) -> Result<Config, ConfigError> {
    let at = |span: Option<Range<usize>>, message: String| locate(text, path, span, message);
    let file: File = toml::from_str(text).map_err(|error| at(error.span(), error.message().to_owned()))?;
    let Some(name) = name.or_else(|| file.name.clone()) else {
        return Err(at(None, "the key `name`, the name of this host, is missing".to_owned()));
    };
    file.check(name).map_err(|problem| at(Some(problem.span), problem.message))
}

fn locate(text: &str, path: &Path, span: Option<Range<usize>>, message: String) -> ConfigError {
    let start = span.map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    ConfigError::Line {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).map_or(0, |head| head.chars().count()) + 1,
        message,
        text: line.trim_end().chars().take(160).collect(),
    }
}

struct Problem {
    span: Range<usize>,
    message: String,
}

impl Problem {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    name: Option<HostName>,
    bind: Option<SocketAddr>,
    control: Option<PathBuf>,
    control_tcp: Option<SocketAddr>,
    proxy: Option<Spanned<Proxy>>,
    star_link: Option<StarLink>,
    #[serde(default)]
    peers: BTreeMap<HostName, Spanned<String>>,
    dns: Option<bool>,
    state_dir: Option<PathBuf>,
    #[serde(default)]
    ephemeral: bool,
    metrics: Option<SocketAddr>,
    traffic_rate: Option<f64>,
    #[serde(default)]
    interfaces: Vec<Spanned<InterfaceTable>>,
    #[serde(default)]
    links: Vec<Spanned<LinkTable>>,
    #[serde(default)]
    rules: Vec<Spanned<RuleTable>>,
    #[serde(default)]
    vttif: VttifTable,
    #[serde(default)]
    timing: TimingTable,
    #[serde(default)]
    limits: LimitsTable,
}

impl File {
    fn check(self, name: HostName) -> Result<Config, Problem> {
        let default = Config::with_default_paths(name);
        let state_dir = if self.ephemeral { None } else { self.state_dir.or(default.state_dir) };
        let mut peers = BTreeMap::new();
        for (host, address) in self.peers {
            check_host_port(address.get_ref()).map_err(|message| Problem::new(address.span(), message))?;
            peers.insert(host, address.into_inner());
        }
        let interfaces = check_all(self.interfaces, InterfaceTable::check)?;
        let links = check_all(self.links, |table| table.check(&default.name))?;
        let rules = check_all(self.rules, |table| table.check(&default.name))?;
        Ok(Config {
            data: self.bind.unwrap_or(default.data),
            control: self.control.or(default.control),
            control_tcp: self.control_tcp,
            role: match self.proxy {
                None => Role::Alone,
                Some(proxy) => {
                    let span = proxy.span();
                    proxy.into_inner().check().map_err(|message| Problem::new(span, message))?
                }
            },
            star_link: self.star_link.map_or(default.star_link, StarLink::kind),
            peers,
            dns: self.dns.unwrap_or(default.dns),
            interfaces,
            links,
            rules,
            state_dir,
            metrics: self.metrics,
            traffic_rate: self.traffic_rate,
            vttif: self.vttif.check(),
            timing: self.timing.check(),
            limits: self.limits.check(),
            name: default.name,
        })
    }
}

fn check_all<T, U>(
    tables: Vec<Spanned<T>>,
    check: impl Fn(T) -> Result<U, String>,
) -> Result<Vec<U>, Problem> {
    tables
        .into_iter()
        .map(|table| {
            let span = table.span();
            check(table.into_inner()).map_err(|message| Problem::new(span, message))
        })
        .collect()
}

/// A name or address, a colon and a port.
pub(crate) fn check_host_port(address: &str) -> Result<(), String> {
    let error = || format!("`{address}` is not an address; write `host:port`, such as `10.0.0.2:7700`");
    let (host, port) = address.rsplit_once(':').ok_or_else(error)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(error());
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected `true` (this is the Proxy) or the Proxy's control address, `host:port`"
)]
enum Proxy {
    Is(bool),
    At(String),
}

impl Proxy {
    fn check(self) -> Result<Role, String> {
        match self {
            Self::Is(true) => Ok(Role::Proxy),
            Self::Is(false) => Ok(Role::Alone),
            Self::At(address) => check_host_port(&address).map(|()| Role::Member { proxy: address }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StarLink {
    Udp,
    Tcp,
    None,
}

impl StarLink {
    fn kind(self) -> Option<LinkKind> {
        match self {
            Self::Udp => Some(LinkKind::Udp),
            Self::Tcp => Some(LinkKind::Tcp),
            Self::None => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct InterfaceTable {
    name: InterfaceName,
    network: Option<NetworkId>,
    mac: Option<MacAddr>,
    tap: Option<String>,
    packet: Option<String>,
    netns: Option<PathBuf>,
    create: Option<bool>,
}

impl InterfaceTable {
    fn check(self) -> Result<InterfaceSpec, String> {
        let port = match (self.tap, self.packet) {
            (Some(device), None) => {
                PortKind::Tap { device, netns: self.netns, create: self.create.unwrap_or(false) }
            }
            (None, Some(device)) if self.create.is_none() => PortKind::Packet { device, netns: self.netns },
            (None, Some(_)) => return Err("`create` is for TAP devices; a `packet` device must exist".into()),
            _ => return Err("an interface has either `tap` or `packet`, the name of its device".into()),
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
struct LinkTable {
    peer: HostName,
    kind: Option<LinkKind>,
    opener: Option<HostName>,
    address: Option<SocketAddr>,
}

impl LinkTable {
    fn check(self, host: &HostName) -> Result<LinkSpec, String> {
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
struct RuleTable {
    network: Option<NetworkId>,
    source: Option<String>,
    destination: String,
    edge: Option<HostName>,
    interface: Option<InterfaceName>,
}

impl RuleTable {
    fn check(self, host: &HostName) -> Result<RuleEntry, String> {
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

/// Reads what a rule wants of senders: `any`, a MAC address, or `not` and a MAC address.
pub fn parse_source(text: &str) -> Result<Source, String> {
    match parse_match(text)? {
        Match::Any => Ok(Source::Any),
        Match::Exact(mac) => Ok(Source::Exact(mac)),
        Match::Not(mac) => Ok(Source::Not(mac)),
        Match::Default => Err("`none` is for destinations; write `any` for every source".into()),
    }
}

/// Reads what a rule wants of receivers: `any`, a MAC address, `not` and a MAC
/// address, or `none` (the default rule).
pub fn parse_destination(text: &str) -> Result<Destination, String> {
    Ok(match parse_match(text)? {
        Match::Any => Destination::Any,
        Match::Exact(mac) => Destination::Exact(mac),
        Match::Not(mac) => Destination::Not(mac),
        Match::Default => Destination::Default,
    })
}

enum Match {
    Any,
    Exact(MacAddr),
    Not(MacAddr),
    Default,
}

fn parse_match(text: &str) -> Result<Match, String> {
    let mac = |text: &str| text.parse().map_err(|error: vnet_core::mac::ParseMacError| error.to_string());
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("any"), None, None) => Ok(Match::Any),
        (Some("none"), None, None) => Ok(Match::Default),
        (Some("not"), Some(address), None) => mac(address).map(Match::Not),
        (Some(address), None, None) => mac(address).map(Match::Exact),
        _ => Err(format!("`{text}` is neither `any`, `none`, a MAC address nor `not` and a MAC address")),
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct VttifTable {
    smoothing_interval: Option<Span>,
    detection_threshold: Option<f64>,
    stable_for: Option<Span>,
    release_after: Option<Span>,
    follow_interval: Option<Span>,
    idle_after: Option<Span>,
    idle_rate: Option<f64>,
}

impl VttifTable {
    fn check(self) -> VttifSettings {
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
struct TimingTable {
    heartbeat: Option<Span>,
    dead_after: Option<Span>,
    connect_timeout: Option<Span>,
    backoff_min: Option<Span>,
    backoff_max: Option<Span>,
    relay_timeout: Option<Span>,
    resolve_interval: Option<Span>,
    configuration_bound: Option<Span>,
}

impl TimingTable {
    fn check(self) -> Timing {
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
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct LimitsTable {
    connections: Option<usize>,
    idle: Option<Span>,
    request: Option<Span>,
    relayed: Option<usize>,
    unsent: Option<usize>,
}

impl LimitsTable {
    fn check(self) -> Limits {
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
