//! What a daemon is told at its start.

mod file;
mod matches;
mod paths;
mod tables;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use vnet_core::control::{InterfaceSpec, LinkSpec, RuleEntry};
use vnet_core::{HostName, LinkKind, PublicKey};
use vnet_fwd::{InterfaceMtu, OffloadSwitches};

pub use file::{ConfigError, load, parse};
pub(crate) use file::{check_host_port, load_as};
pub use matches::{parse_destination, parse_source};
pub use paths::{control_sockets, default_control_socket, default_state_dir};

/// The data port (UDP and TCP) of a daemon that isn't told another.
pub const DEFAULT_DATA_PORT: u16 = 7700;

/// The configuration of a daemon.
///
/// Only the name has no default. A configuration made by [`Config::new`]
/// keeps nothing on disk and listens nowhere but on its data address: good
/// for embedding and tests. [`load`] and the command line add the default
/// control socket and state directory.
///
/// ```
/// use vnetd::{Config, Role};
///
/// let proxy = Config { role: Role::Proxy, ..Config::new("proxy".parse()?) };
/// assert_eq!(proxy.data.port(), vnetd::config::DEFAULT_DATA_PORT);
/// # Ok::<(), vnet_core::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name of this host in links and rules.
    pub name: HostName,
    /// Where links arrive, UDP and TCP. Port 0: one that is free.
    pub data: SocketAddr,
    /// The Unix control socket; `None`: no such socket.
    pub control: Option<PathBuf>,
    /// A TCP control address, which the Proxy needs. It is not authenticated:
    /// keep it off networks that aren't trusted.
    pub control_tcp: Option<SocketAddr>,
    /// The daemon's part in the star.
    pub role: Role,
    /// What carries the link between a daemon and its Proxy, which is there
    /// after each registration; `None`: there is no such link unless somebody
    /// adds it.
    pub star_link: Option<LinkKind>,
    /// Data addresses of other daemons, `host:port`; they outweigh what the
    /// Proxy says.
    pub peers: BTreeMap<HostName, String>,
    /// Whether links are encrypted.
    pub encryption: Encryption,
    /// The file with this daemon's private key, which is made if it isn't there;
    /// `None`: `private.key` in the state directory, or a new key for each run of
    /// a daemon without one.
    pub private_key: Option<PathBuf>,
    /// The Proxy's public key: a daemon that knows it believes the Proxy what the
    /// keys of others are.
    pub proxy_key: Option<PublicKey>,
    /// On the Proxy: take in every daemon that registers with a name that is new,
    /// keep to its key from then on, and tell the daemons each other's keys.
    pub introduce: bool,
    /// Public keys of other daemons: who may have links with this one.
    pub peer_keys: BTreeMap<HostName, PublicKey>,
    /// What MTU TAP devices get.
    pub interface_mtu: InterfaceMtu,
    /// Frames that are too long for the path of a link go in pieces; otherwise they
    /// are dropped.
    pub split_frames: bool,
    /// Which offloads are used where the kernel has them.
    pub offloads: OffloadSwitches,
    /// Whether to look up hosts in the DNS when nothing else knows them.
    pub dns: bool,
    /// Interfaces to open at the first start.
    pub interfaces: Vec<InterfaceSpec>,
    /// Links to open at the first start.
    pub links: Vec<LinkSpec>,
    /// Rules to add at the first start.
    pub rules: Vec<RuleEntry>,
    /// Where changes are kept across restarts; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// Where to serve `/metrics` and `/healthz` over HTTP.
    pub metrics: Option<SocketAddr>,
    /// Infer what the application does (VTTIF) and what the paths can do (Wren)?
    pub inference: bool,
    /// What is wrong with the clocks of hosts, for laboratories: their times are
    /// read as if it were so.
    pub clock_errors: BTreeMap<HostName, ClockError>,
    /// Keep what arrived over links in files in this directory, to work on
    /// estimators with; `None`: nowhere.
    pub keep_arrivals: Option<PathBuf>,
    /// How often the traffic matrix is looked at and sent, in Hz; `None`: what
    /// fits the configuration bound, at most 20.
    pub traffic_rate: Option<f64>,
    /// What is to differ from the VTTIF parameters that fit the configuration
    /// bound.
    pub vttif: VttifSettings,
    /// Times that the control side goes by.
    pub timing: Timing,
    /// Limits that keep a client from using up the daemon.
    pub limits: Limits,
}

/// What is wrong with a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockError {
    /// How far it is ahead.
    pub ahead: Duration,
    /// How much too fast it is, in millionths.
    pub fast_ppm: i32,
}

impl ClockError {
    /// What the clock shows instead of `ns`.
    pub(crate) fn apply(self, ns: u64) -> u64 {
        let drift = i128::from(ns) * i128::from(self.fast_ppm) / 1_000_000;
        (i128::from(ns) + drift + self.ahead.as_nanos() as i128) as u64
    }
}

/// Whether links are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// They are, and come up with daemons only whose key is known.
    #[default]
    Noise,
    /// They are not, whoever is at the other end.
    None,
}

/// The part of a daemon in the star.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has no Proxy: links are added by hand.
    Alone,
    /// It is the Proxy: the others register with it, and it hands requests on.
    Proxy,
    /// It registers with the Proxy whose TCP control address this is (`host:port`).
    Member {
        /// The Proxy's TCP control address.
        proxy: String,
    },
}

/// VTTIF parameters that differ from those that fit the configuration bound;
/// [`vttif::Parameters`] says what each means.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VttifSettings {
    /// See [`vttif::Parameters::smoothing_interval`].
    pub smoothing_interval: Option<Duration>,
    /// See [`vttif::Parameters::detection_threshold`].
    pub detection_threshold: Option<f64>,
    /// See [`vttif::Parameters::stable_for`].
    pub stable_for: Option<Duration>,
    /// See [`vttif::Parameters::release_after`].
    pub release_after: Option<Duration>,
    /// See [`vttif::Parameters::follow_interval`].
    pub follow_interval: Option<Duration>,
    /// See [`vttif::Parameters::idle_after`].
    pub idle_after: Option<Duration>,
    /// See [`vttif::Parameters::idle_rate`].
    pub idle_rate: Option<f64>,
}

/// Times that the control side goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two signs of life on a session with the Proxy.
    pub heartbeat: Duration,
    /// A session is dead when nothing has been heard for this long, and 25 ms more
    /// for each peer beyond 16.
    pub dead_after: Duration,
    /// How long to wait for a connection to the Proxy.
    pub connect_timeout: Duration,
    /// The first wait before the Proxy is tried again; it doubles.
    pub backoff_min: Duration,
    /// The longest wait before the Proxy is tried again.
    pub backoff_max: Duration,
    /// How long a request that was handed on may take, and 25 ms more for each peer
    /// beyond 16.
    pub relay_timeout: Duration,
    /// Between two looks at links whose peer has no known address.
    pub resolve_interval: Duration,
    /// The configuration bound of a new daemon (see the `bound` primitive).
    pub configuration_bound: Duration,
    /// The keys of an encrypted link are renewed after this long.
    pub rekey_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            dead_after: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            relay_timeout: Duration::from_secs(5),
            resolve_interval: Duration::from_secs(2),
            configuration_bound: Duration::from_millis(200),
            rekey_after: Duration::from_secs(120),
        }
    }
}

/// Limits that keep a client from using up the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Control connections at a time.
    pub connections: usize,
    /// A control connection without a request is closed after this long.
    pub idle: Duration,
    /// A request that has begun to arrive must be whole after this long.
    pub request: Duration,
    /// Requests of one connection that were handed on and not answered yet.
    pub relayed: usize,
    /// Answers that wait for one connection to take them, in bytes; from here
    /// on nothing more is read from it.
    pub unsent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            idle: Duration::from_secs(600),
            request: Duration::from_secs(30),
            relayed: 4096,
            unsent: 1 << 20,
        }
    }
}

impl Config {
    /// The configuration of a lone daemon on all addresses and the default
    /// data port, with nothing on disk.
    pub fn new(name: HostName) -> Self {
        Self {
            name,
            data: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_DATA_PORT),
            control: None,
            control_tcp: None,
            role: Role::Alone,
            star_link: Some(LinkKind::Udp),
            peers: BTreeMap::new(),
            encryption: Encryption::default(),
            private_key: None,
            proxy_key: None,
            introduce: false,
            peer_keys: BTreeMap::new(),
            interface_mtu: InterfaceMtu::default(),
            split_frames: true,
            offloads: OffloadSwitches::ON,
            dns: true,
            interfaces: Vec::new(),
            links: Vec::new(),
            rules: Vec::new(),
            state_dir: None,
            metrics: None,
            inference: true,
            clock_errors: BTreeMap::new(),
            keep_arrivals: None,
            traffic_rate: None,
            vttif: VttifSettings::default(),
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }

    /// The configuration of a lone daemon with the default control socket and
    /// state directory, as the program has it.
    pub fn with_default_paths(name: HostName) -> Self {
        Self {
            control: Some(default_control_socket(&name)),
            state_dir: Some(default_state_dir(&name)),
            ..Self::new(name)
        }
    }

    /// The parts that do not fit together, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.role == Role::Proxy && self.control_tcp.is_none() {
            problems.push("the Proxy needs `control-tcp`, where the other daemons register".to_owned());
        }
        if let Some(rate) = self.traffic_rate
            && !(rate > 0.0 && rate <= 1000.0)
        {
            problems.push(format!("`traffic-rate` is {rate}; it must be above 0 and at most 1000 (Hz)"));
        } else if let Err(error) = self.vttif_parameters(self.timing.configuration_bound).validate() {
            problems.push(error.to_string());
        }
        if self.introduce && self.role != Role::Proxy {
            problems.push("`introduce` is for the Proxy; other daemons need its key, `proxy-key`".to_owned());
        }
        if self.encryption == Encryption::None && (self.introduce || self.proxy_key.is_some()) {
            problems.push(
                "`encryption` is `none`, so that `introduce` and `proxy-key` have no meaning".to_owned(),
            );
        }
        for spec in &self.links {
            let link = &spec.link;
            if let Some(problem) = link_problem(link, &self.name) {
                problems.push(problem);
            }
        }
        let mut names: Vec<_> = self.interfaces.iter().map(|spec| &spec.name).collect();
        names.sort_unstable();
        problems.extend(
            names
                .windows(2)
                .filter(|pair| pair[0] == pair[1])
                .map(|pair| format!("there are two interfaces named `{}`", pair[0])),
        );
        problems
    }
}

impl Config {
    /// The parameters of VTTIF when the overlay needs up to `bound` to
    /// configure itself.
    pub fn vttif_parameters(&self, bound: Duration) -> vttif::Parameters {
        let fitting = vttif::Parameters::from_configuration_bound(bound);
        let VttifSettings {
            smoothing_interval,
            detection_threshold,
            stable_for,
            release_after,
            follow_interval,
            idle_after,
            idle_rate,
        } = self.vttif;
        vttif::Parameters {
            update_interval: match self.traffic_rate {
                Some(rate) => Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX),
                None => fitting.update_interval,
            },
            smoothing_interval: smoothing_interval.unwrap_or(fitting.smoothing_interval),
            detection_threshold: detection_threshold.unwrap_or(fitting.detection_threshold),
            stable_for: stable_for.unwrap_or(fitting.stable_for),
            release_after: release_after.unwrap_or(fitting.release_after),
            follow_interval: follow_interval.unwrap_or(fitting.follow_interval),
            idle_after: idle_after.unwrap_or(fitting.idle_after),
            idle_rate: idle_rate.unwrap_or(fitting.idle_rate),
            ..fitting
        }
    }
}

/// Why `link` can't be a link of the daemon on `host`.
pub(crate) fn link_problem(link: &vnet_core::Link, host: &HostName) -> Option<String> {
    if link.a == link.b {
        Some(format!("`{link}` would join {} to itself", link.a))
    } else if link.opener != link.a && link.opener != link.b {
        Some(format!("`{link}` is opened by {}, which is neither of its ends", link.opener))
    } else if link.a != *host && link.b != *host {
        Some(format!("`{link}` does not end at {host}"))
    } else {
        None
    }
}
