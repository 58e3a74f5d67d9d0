//! The configuration file: TOML, checked against what a daemon can do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use vnet_core::{HostName, LinkKind, PublicKey};

use super::tables::{
    InterfaceTable, LimitsTable, LinkTable, MtuChoice, OffloadTable, RuleTable, TimingTable, VttifTable,
};
use super::{Config, Encryption, Role};

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
    peers: BTreeMap<HostName, Spanned<Peer>>,
    encryption: Option<LinkEncryption>,
    private_key: Option<PathBuf>,
    proxy_key: Option<PublicKey>,
    #[serde(default)]
    introduce: bool,
    interface_mtu: Option<MtuChoice>,
    split_frames: Option<bool>,
    #[serde(default)]
    offloads: OffloadTable,
    dns: Option<bool>,
    state_dir: Option<PathBuf>,
    #[serde(default)]
    ephemeral: bool,
    metrics: Option<SocketAddr>,
    inference: Option<bool>,
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
        let (mut peers, mut peer_keys) = (BTreeMap::new(), BTreeMap::new());
        for (host, peer) in self.peers {
            let span = peer.span();
            let (address, key) = peer.into_inner().parts();
            if let Some(address) = address {
                check_host_port(&address).map_err(|message| Problem::new(span, message))?;
                peers.insert(host.clone(), address);
            }
            peer_keys.extend(key.map(|key| (host, key)));
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
            encryption: self.encryption.map_or(default.encryption, LinkEncryption::choice),
            private_key: self.private_key,
            proxy_key: self.proxy_key,
            introduce: self.introduce,
            peer_keys,
            interface_mtu: self.interface_mtu.map_or(default.interface_mtu, |choice| choice.0),
            split_frames: self.split_frames.unwrap_or(default.split_frames),
            offloads: self.offloads.check(),
            dns: self.dns.unwrap_or(default.dns),
            interfaces,
            links,
            rules,
            state_dir,
            metrics: self.metrics,
            inference: self.inference.unwrap_or(default.inference),
            clock_errors: default.clock_errors,
            keep_arrivals: default.keep_arrivals,
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
#[serde(untagged, expecting = "expected an address, `host:port`, or a table with `address` and `key`")]
enum Peer {
    At(String),
    Known(KnownPeer),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct KnownPeer {
    address: Option<String>,
    key: Option<PublicKey>,
}

impl Peer {
    fn parts(self) -> (Option<String>, Option<PublicKey>) {
        match self {
            Self::At(address) => (Some(address), None),
            Self::Known(KnownPeer { address, key }) => (address, key),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LinkEncryption {
    Noise,
    None,
}

impl LinkEncryption {
    fn choice(self) -> Encryption {
        match self {
            Self::Noise => Encryption::Noise,
            Self::None => Encryption::None,
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
