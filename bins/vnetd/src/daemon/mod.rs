//! The daemon: one task that owns everything and waits for news.

mod addresses;
mod changes;
mod handle;
mod keys;
mod paths;
mod registry;
mod reload;
mod requests;
mod star;
mod start;
mod status;
mod traffic;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use vnet_fwd::{DataPlane, PrivateKey};

use crate::config::Config;
use crate::control::connection::{Ends, FromConnection, Socket, Unfinished};
use crate::control::outbox::Outbox;
use crate::control::router::{self, ConnectionId, Router};
use crate::io::notify;
use crate::journal::Journal;
use crate::quiet::Quiet;
use crate::state::State;
use crate::uplink::{Due, Uplink};

use addresses::Addresses;
use paths::Paths;
use registry::Registry;
use traffic::Traffic;

pub use handle::{Handle, spawn};
pub use reload::Reload;
pub use start::StartError;

pub(crate) use start::start;

/// For so long requests are worked off before their answers are sent. Where many
/// threads share a core, hundreds of requests take seconds, and a daemon that says
/// nothing for seconds is given up by its peers.
const BURST: Duration = Duration::from_millis(20);

/// News that doesn't come from a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// The data plane tells of a link or an interface.
    Plane(vnet_fwd::Event),
    /// The connection to the Proxy stands, or why not.
    Uplink(Result<Socket, String>),
    /// A name's address, or why there is none.
    LookedUp(addresses::LookedUp),
    /// Somebody wants the metrics.
    Scrape(oneshot::Sender<String>),
    /// Read the configuration again.
    Reload,
    /// Stop, for this reason.
    Stop(&'static str),
}

/// Everything that a daemon has and knows.
pub(crate) struct Daemon {
    config: Config,
    reload: Option<Reload>,
    started: Instant,
    incarnation: u64,

    state: State,
    /// What the configuration asked for when it was last applied.
    baseline: Vec<vnet_core::control::Request>,
    journal: Option<Journal>,
    /// What was asked for and could not be done when the daemon started or
    /// read its configuration again.
    problems: Vec<String>,

    plane: DataPlane,
    /// `None`: links are plain.
    private_key: Option<PrivateKey>,
    addresses: Addresses,
    traffic: Traffic,
    paths: Paths,

    router: Router,
    uplink: Option<Uplink>,
    /// The Proxy that this daemon last registered with.
    proxy: Option<vnet_core::HostName>,
    registry: Registry,
    connections: HashMap<ConnectionId, Connection>,
    next_connection: u64,
    unfinished: Unfinished,
    requests: u64,

    quiet: Quiet,
    watchdog: Option<notify::Watchdog>,
    from_connections: tokio::sync::mpsc::Sender<FromConnection>,
    events: UnboundedSender<Event>,
    stop: Option<&'static str>,
}

struct Connection {
    outbox: Outbox,
    ends: Option<Ends>,
    /// Why this daemon closes it.
    why: Option<String>,
}

/// Where a daemon's news come from.
pub(crate) struct Inputs {
    accepted: Receiver<Socket>,
    from_connections: Receiver<FromConnection>,
    events: UnboundedReceiver<Event>,
}

impl Daemon {
    /// Runs until somebody says stop; returns who.
    pub(crate) async fn run(&mut self, inputs: &mut Inputs) -> &'static str {
        loop {
            self.poll(Instant::now());
            if let Some(why) = self.stop {
                return why;
            }
            let deadline = self.deadline().unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            tokio::select! {
                Some(news) = inputs.from_connections.recv() => {
                    self.connection_news(news);
                    // A burst costs one look at the timers, unless it takes long.
                    let begun = Instant::now();
                    while begun.elapsed() < BURST
                        && let Ok(news) = inputs.from_connections.try_recv()
                    {
                        self.connection_news(news);
                    }
                    // The answers so far go out.
                    tokio::task::yield_now().await;
                }
                Some(event) = inputs.events.recv() => self.event(event),
                Some(socket) = inputs.accepted.recv() => self.accept(socket),
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }

    /// Brings the journal to the disk, tells the peers of links, and takes
    /// leave of those at control connections last: who sees one close may start
    /// another daemon in this one's place.
    pub(crate) async fn finish(self, mut inputs: Inputs) {
        let Self { journal, plane, mut connections, .. } = self;
        if let Some(Err(error)) = journal.as_ref().map(Journal::sync) {
            tracing::error!("{error}");
        }
        drop(journal);
        drop(plane);
        for connection in connections.values() {
            connection.outbox.close();
        }
        let patience = tokio::time::sleep(Duration::from_millis(500));
        tokio::pin!(patience);
        inputs.accepted.close();
        while !connections.is_empty() {
            tokio::select! {
                Some(news) = inputs.from_connections.recv() => {
                    if let FromConnection::Closed(id, _) = news {
                        connections.remove(&id);
                    }
                }
                () = &mut patience => break,
            }
        }
    }

    fn event(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Plane(event) => self.plane_news(&event, now),
            Event::Uplink(outcome) => self.uplink_outcome(outcome, now),
            Event::LookedUp(answer) => self.looked_up(answer, now),
            Event::Scrape(reply) => {
                // Who asked may have gone.
                let _ = reply.send(self.metrics(now));
            }
            Event::Reload => self.reload(now),
            Event::Stop(why) => self.stop = Some(why),
        }
    }

    fn poll(&mut self, now: Instant) {
        self.router.set_links(self.state.links.len());
        for action in self.router.poll(now) {
            self.route(action);
        }
        match self.uplink.as_mut().and_then(|uplink| uplink.poll(now)) {
            Some(Due::Connect) => self.connect_to_proxy(),
            Some(Due::GiveUp(id)) => self.close(id, "the Proxy did not answer the registration in time"),
            None => {}
        }
        self.poll_addresses(now);
        self.poll_traffic(now);
        self.poll_paths(now);
        for line in self.quiet.poll(now) {
            tracing::warn!("{line}");
        }
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.poll(now);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.router.deadline(),
            self.uplink.as_ref().and_then(Uplink::deadline),
            self.addresses.deadline(),
            Some(self.traffic.deadline()),
            self.paths.deadline(),
            self.quiet.deadline(),
            self.watchdog.as_ref().map(notify::Watchdog::deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn accept(&mut self, socket: Socket) {
        if self.connections.len() >= self.config.limits.connections {
            let limit = self.config.limits.connections;
            self.warn("accept", format!("refused a control connection: {limit} are open already"));
            return;
        }
        self.adopt(socket);
    }

    /// Serves a connection from now on.
    fn adopt(&mut self, socket: Socket) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let (outbox, ends) = (Outbox::default(), socket.ends());
        self.connections.insert(id, Connection { outbox: outbox.clone(), ends, why: None });
        self.router.opened(id, Instant::now());
        tokio::spawn(crate::control::connection::serve(
            id,
            socket,
            outbox,
            self.config.limits,
            self.unfinished.clone(),
            self.from_connections.clone(),
        ));
        id
    }

    fn connection_news(&mut self, news: FromConnection) {
        let now = Instant::now();
        match news {
            FromConnection::Record(id, record) => {
                // A connection that is being closed may have sent more.
                if self.connections.get(&id).is_some_and(|connection| connection.why.is_none()) {
                    self.router.heard(id, now);
                    self.receive(id, record, now);
                }
            }
            FromConnection::Closed(id, why) => self.closed(id, why, now),
        }
    }

    fn close(&mut self, id: ConnectionId, why: impl Into<String>) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.why.get_or_insert_with(|| why.into());
            connection.outbox.close();
        }
    }

    fn closed(&mut self, id: ConnectionId, why: String, now: Instant) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let why = connection.why.unwrap_or(why);
        let daemon = self.router.daemon_on(id).cloned();
        for action in self.router.closed(id, &why) {
            self.route(action);
        }
        if let Some(host) = daemon {
            self.session_lost(&host, id, &why);
        } else if self.uplink.as_ref().is_some_and(|uplink| uplink.is_on(id)) {
            self.uplink_lost(why, now);
        }
    }

    fn route(&mut self, action: router::Action) {
        match action {
            router::Action::Send(id, record) => self.send(id, &record),
            router::Action::Dead(id, silent) => {
                self.abort(id, format!("nothing was heard for {:.1} s", silent.as_secs_f64()));
            }
        }
    }

    fn send(&mut self, id: ConnectionId, record: &crate::control::record::Record) {
        let Some(connection) = self.connections.get(&id) else { return };
        connection.outbox.push(record);
        // Only a client that asks without end and never reads gets here, or a
        // peer that has stopped: more is read from neither.
        let length = connection.outbox.length();
        let limit = self.config.limits.unsent + 4 * vnet_core::control::MAX_RECORD;
        if length > limit {
            self.abort(id, format!("{length} bytes of answers wait for it"));
        }
    }

    /// Gives up a connection whose other end does not listen.
    fn abort(&mut self, id: ConnectionId, why: String) {
        if let Some(connection) = self.connections.get(&id) {
            connection.outbox.abort();
        }
        self.closed(id, why, Instant::now());
    }

    /// Makes a connection a session between daemons.
    fn trust(&self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id) {
            connection.outbox.trust();
        }
    }

    /// Warns, but not again and again of the same thing.
    fn warn(&mut self, topic: &'static str, message: String) {
        if self.quiet.admits(topic, Instant::now()) {
            tracing::warn!("{message}");
        }
    }
}
