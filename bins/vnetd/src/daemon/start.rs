//! Putting a daemon together: its state from the journal, its sockets, its data plane.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::mpsc::{channel, unbounded_channel};
use vnet_core::control::Request;
use vnet_fwd::secure::SecureOptions;
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, KeyFileError};

use super::addresses::Addresses;
use super::keys;
use super::paths::Paths;
use super::registry::Registry;
use super::traffic::Traffic;
use super::{Daemon, Event, Inputs, Reload};
use crate::config::{Config, Role};
use crate::control::connection::Unfinished;
use crate::control::listener::{ListenError, UnixSocketFile, accept_tcp, accept_unix, bind_tcp, bind_unix};
use crate::control::router::{Router, RouterConfig};
use crate::io::{metrics_server, notify};
use crate::journal::{Entry, Journal, JournalError, Opened};
use crate::quiet::Quiet;
use crate::state::{Effect, State};
use crate::uplink::Uplink;

// Records on their way from connections to the daemon; more wait in the sockets.
const INBOX: usize = 64;

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The parts of the configuration do not fit together.
    #[error("the configuration can't work: {problems}")]
    Config {
        /// What doesn't fit, one sentence after the other.
        problems: String,
    },
    /// The state directory can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The private key can't be had.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A control or metrics socket can't be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The data plane can't start.
    #[error(transparent)]
    DataPlane(#[from] vnet_fwd::StartError),
    /// The kernel refused something that every daemon needs.
    #[error("can't {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// Where a daemon listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listening {
    /// The data address.
    pub(crate) data: Option<SocketAddr>,
    /// The TCP control address.
    pub(crate) control_tcp: Option<SocketAddr>,
    /// The address of the metrics.
    pub(crate) metrics: Option<SocketAddr>,
}

/// A daemon that is ready to run.
pub(crate) struct Ready {
    pub(crate) daemon: Daemon,
    pub(crate) inputs: Inputs,
    pub(crate) listening: Listening,
    /// Removed when it is dropped.
    pub(crate) _socket: Option<UnixSocketFile>,
}

/// Puts a daemon together, inside a runtime.
pub(crate) async fn start(config: Config, reload: Option<Reload>) -> Result<Ready, StartError> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(StartError::Config { problems: problems.join("; ") });
    }
    let now = Instant::now();
    let incarnation = draw();
    let restored = restore(&config)?;
    let private_key = keys::private_key(&config)?;
    let plane = DataPlane::start(DataPlaneConfig {
        bind: Some(config.data),
        incarnation,
        encryption: match private_key.clone() {
            None => Encryption::None,
            Some(key) => {
                let rekey_after = config.timing.rekey_after;
                Encryption::Key(key, SecureOptions { rekey_after, ..SecureOptions::default() })
            }
        },
        measure_paths: config.inference,
        interface_mtu: config.interface_mtu,
        split_frames: config.split_frames,
        offloads: config.offloads,
        ..DataPlaneConfig::new(config.name.clone())
    })?;
    let sockets = Sockets::open(&config).await?;
    let listening = Listening { data: plane.address(), ..sockets.listening() };

    let (events, event_queue) = unbounded_channel();
    let (from_connections, connection_queue) = channel(INBOX);
    let (accepted, accept_queue) = channel(INBOX);
    let plane_events = events.clone();
    plane
        .subscribe(move |event| {
            // The daemon has stopped if it doesn't listen.
            let _ = plane_events.send(Event::Plane(event.clone()));
        })
        .map_err(|error| StartError::Io {
            action: "watch the data plane",
            source: std::io::Error::other(error),
        })?;
    if let Some(listener) = sockets.unix {
        tokio::spawn(accept_unix(listener, accepted.clone()));
    }
    if let Some(listener) = sockets.tcp {
        tokio::spawn(accept_tcp(listener, accepted));
    }
    if let Some(listener) = sockets.metrics {
        tokio::spawn(metrics_server::serve(listener, events.clone()));
    }

    let router = RouterConfig {
        relay_timeout: config.timing.relay_timeout,
        heartbeat: config.timing.heartbeat,
        dead_after: config.timing.dead_after,
        relayed: config.limits.relayed,
    };
    let uplink = match config.role {
        Role::Member { .. } => Some(Uplink::new(config.timing, incarnation, now)),
        Role::Alone | Role::Proxy => None,
    };
    let mut daemon = Daemon {
        reload,
        started: now,
        incarnation,
        traffic: Traffic::new(&config, incarnation, restored.state.bound_ms, now),
        paths: Paths::new(&config, now),
        state: restored.state,
        baseline: restored.baseline,
        journal: restored.journal,
        problems: restored.problems,
        plane,
        private_key,
        addresses: Addresses::default(),
        router: Router::new(config.name.clone(), router),
        uplink,
        proxy: None,
        registry: Registry::default(),
        connections: HashMap::new(),
        next_connection: 0,
        unfinished: Unfinished::default(),
        requests: 0,
        quiet: Quiet::default(),
        watchdog: notify::Watchdog::from_environment(now),
        from_connections,
        events,
        stop: None,
        config,
    };
    daemon.resume();
    daemon.apply_baseline();
    daemon.compact();
    for problem in &daemon.problems {
        tracing::warn!("{problem}");
    }
    let inputs = Inputs { accepted: accept_queue, from_connections: connection_queue, events: event_queue };
    Ok(Ready { daemon, inputs, listening, _socket: sockets.file })
}

impl Daemon {
    /// Where to send this daemon's news.
    pub(crate) fn events(&self) -> tokio::sync::mpsc::UnboundedSender<Event> {
        self.events.clone()
    }

    /// Has the data plane do everything that is on record.
    fn resume(&mut self) {
        for request in self.state.requests() {
            if let Err(error) = self.enact(&request) {
                self.problems.push(format!("what was there before the restart can't be restored: {error}"));
            }
        }
    }
}

struct Sockets {
    unix: Option<tokio::net::UnixListener>,
    file: Option<UnixSocketFile>,
    tcp: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

impl Sockets {
    async fn open(config: &Config) -> Result<Self, ListenError> {
        let (unix, file) = match &config.control {
            Some(path) => {
                let (listener, file) = bind_unix(path).await?;
                (Some(listener), Some(file))
            }
            None => (None, None),
        };
        let tcp = match config.control_tcp {
            Some(address) => Some(bind_tcp(address).await?),
            None => None,
        };
        let metrics = match config.metrics {
            Some(address) => Some(bind_tcp(address).await?),
            None => None,
        };
        Ok(Self { unix, file, tcp, metrics })
    }

    fn listening(&self) -> Listening {
        let address = |listener: &Option<TcpListener>| listener.as_ref()?.local_addr().ok();
        Listening { data: None, control_tcp: address(&self.tcp), metrics: address(&self.metrics) }
    }
}

struct Restored {
    state: State,
    baseline: Vec<Request>,
    journal: Option<Journal>,
    problems: Vec<String>,
}

fn restore(config: &Config) -> Result<Restored, JournalError> {
    let bound = config.timing.configuration_bound.as_millis().try_into().unwrap_or(u64::MAX);
    let state = State::new(config.name.clone(), bound);
    let mut restored = Restored { state, baseline: Vec::new(), journal: None, problems: Vec::new() };
    let Some(directory) = &config.state_dir else { return Ok(restored) };
    let Opened { journal, entries, warning } = Journal::open(directory)?;
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    restored.journal = Some(journal);
    for entry in entries {
        restored.replay(entry, directory);
    }
    Ok(restored)
}

impl Restored {
    fn replay(&mut self, entry: Entry, directory: &Path) {
        match entry {
            Entry::Baseline(requests) => self.baseline = requests,
            Entry::Peer(peer) => {
                self.state.peers.insert(peer.host, peer.address);
            }
            Entry::Change(request) => match self.state.check(&request) {
                Ok(Effect::Change) => self.state.apply(&request),
                Ok(Effect::Nothing) => {}
                // It was accepted once: another name or a hand in the file.
                Err(error) => self.problems.push(format!(
                    "a change in the journal in {} doesn't fit this daemon and was left out: {error}",
                    directory.display()
                )),
            },
        }
    }
}

/// A number that no other run of a daemon has.
fn draw() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let time = u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or(0);
    time ^ (u64::from(std::process::id()) << 40)
}
