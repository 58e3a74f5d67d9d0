//! Which connection a message belongs on: requests for other daemons are
//! handed on, their answers find the way back, and sessions that have fallen
//! silent are given up. No I/O: connections are numbers here.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use vnet_core::HostName;
use vnet_core::control::{Body, ControlError, Envelope, ErrorKind, Notice, Request};

use super::record::Record;

/// For each peer beyond a few, a daemon gets so much more time to answer. A change of all links of a
/// large overlay keeps every daemon busy with all its peers at once, and where the
/// daemons share a few cores, each gets its turn after all others.
const PER_PEER: Duration = Duration::from_millis(25);
const FEW: usize = 16;

/// A control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Times and limits of a router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouterConfig {
    /// How long a request that was handed on may take.
    pub(crate) relay_timeout: Duration,
    /// Between two signs of life on a session.
    pub(crate) heartbeat: Duration,
    /// A session without a word for this long is dead.
    pub(crate) dead_after: Duration,
    /// Requests of one connection that were handed on and not answered yet.
    pub(crate) relayed: usize,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Send this.
    Send(ConnectionId, Record),
    /// Close this session: nothing has been heard for so long.
    Dead(ConnectionId, Duration),
}

/// What a request is to this daemon.
#[derive(Debug, PartialEq)]
pub(crate) enum Routed {
    /// To be carried out here, and answered with its number.
    Here(Request),
    /// Handed on: send the record.
    On(ConnectionId, Record),
    /// Refused: answer this.
    Refused(ControlError),
}

/// What an answer is to this daemon.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// For another connection: the record to send there.
    Back(ConnectionId, Record),
    /// To a request of this daemon itself.
    Own(Record),
    /// Too late, or to nothing that was asked.
    Late,
}

#[derive(Debug)]
pub(crate) struct Router {
    host: HostName,
    config: RouterConfig,
    connections: HashMap<ConnectionId, Connection>,
    daemons: HashMap<HostName, ConnectionId>,
    proxy: Option<ConnectionId>,
    relays: HashMap<(ConnectionId, u32), Origin>,
    /// The relays in the order in which they time out.
    deadlines: VecDeque<(Instant, (ConnectionId, u32))>,
    next_id: u32,
    next_heartbeat: Option<Instant>,
    /// How many links this daemon has.
    links: usize,
}

#[derive(Debug)]
struct Connection {
    peer: Peer,
    heard: Instant,
    relayed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Peer {
    Client,
    Daemon(HostName),
    Proxy,
}

#[derive(Debug)]
enum Origin {
    Own,
    Relayed { from: ConnectionId, id: u32, target: HostName },
}

impl Router {
    pub(crate) fn new(host: HostName, config: RouterConfig) -> Self {
        Self {
            host,
            config,
            connections: HashMap::new(),
            daemons: HashMap::new(),
            proxy: None,
            relays: HashMap::new(),
            deadlines: VecDeque::new(),
            next_id: 1,
            next_heartbeat: None,
            links: 0,
        }
    }

    /// How many links this daemon has, the measure of how busy it and its peers may be.
    pub(crate) fn set_links(&mut self, links: usize) {
        self.links = links;
    }

    pub(crate) fn opened(&mut self, connection: ConnectionId, now: Instant) {
        self.connections.insert(connection, Connection { peer: Peer::Client, heard: now, relayed: 0 });
    }

    /// Makes the connection a daemon's session; returns the one that it replaces.
    pub(crate) fn register(
        &mut self,
        connection: ConnectionId,
        host: HostName,
        now: Instant,
    ) -> Option<ConnectionId> {
        self.become_session(connection, Peer::Daemon(host.clone()), now);
        self.daemons.insert(host, connection).filter(|old| *old != connection)
    }

    /// Makes the connection the session with the Proxy.
    pub(crate) fn set_proxy(&mut self, connection: ConnectionId, now: Instant) {
        self.become_session(connection, Peer::Proxy, now);
        self.proxy = Some(connection);
    }

    /// The daemon whose session this connection is.
    pub(crate) fn daemon_on(&self, connection: ConnectionId) -> Option<&HostName> {
        match &self.connections.get(&connection)?.peer {
            Peer::Daemon(host) => Some(host),
            Peer::Client | Peer::Proxy => None,
        }
    }

    pub(crate) fn is_proxy(&self, connection: ConnectionId) -> bool {
        self.proxy == Some(connection)
    }

    /// The connection has closed: answers to what others asked over it.
    pub(crate) fn closed(&mut self, connection: ConnectionId, why: &str) -> Vec<Action> {
        let Some(Connection { peer, .. }) = self.connections.remove(&connection) else { return Vec::new() };
        match peer {
            Peer::Daemon(host) if self.daemons.get(&host) == Some(&connection) => {
                self.daemons.remove(&host);
            }
            Peer::Proxy if self.proxy == Some(connection) => self.proxy = None,
            _ => {}
        }
        let lost: Vec<_> = self.relays.keys().filter(|(via, _)| *via == connection).copied().collect();
        let answers = lost.into_iter().filter_map(|key| {
            self.give_up(key, ErrorKind::Unreachable, |target| {
                format!("the connection to {target} was lost before it answered: {why}")
            })
        });
        answers.collect()
    }

    /// A word from `connection` has arrived.
    pub(crate) fn heard(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.heard = now;
        }
    }

    /// Where a request goes that came over `from`.
    pub(crate) fn request(
        &mut self,
        from: ConnectionId,
        id: u32,
        target: Option<HostName>,
        request: Request,
        now: Instant,
    ) -> Routed {
        let Some(target) = target.filter(|target| *target != self.host) else { return Routed::Here(request) };
        let via = match self.way_to(&target, from) {
            Ok(via) => via,
            Err(message) => return Routed::Refused(ControlError::new(ErrorKind::Unreachable, message)),
        };
        let Some(connection) = self.connections.get_mut(&from) else {
            return Routed::Refused(ControlError::new(ErrorKind::Failed, "the connection has closed"));
        };
        if connection.relayed >= self.config.relayed {
            let message = format!(
                "{} requests of this connection wait for other daemons already; wait for their answers",
                connection.relayed
            );
            return Routed::Refused(ControlError::new(ErrorKind::Failed, message));
        }
        let relay = self.new_id(via);
        let body = Body::Request(Some(target.clone()), request);
        match Record::new(&Envelope { id: relay, body }) {
            Ok(record) => {
                self.expect(via, relay, Origin::Relayed { from, id, target }, now);
                Routed::On(via, record)
            }
            Err(error) => Routed::Refused(ControlError::new(ErrorKind::Invalid, error.to_string())),
        }
    }

    /// The number for a request of this daemon itself over `via`.
    pub(crate) fn own_request(&mut self, via: ConnectionId, now: Instant) -> u32 {
        let id = self.new_id(via);
        self.expect(via, id, Origin::Own, now);
        id
    }

    /// Where an answer goes that came over `via`.
    pub(crate) fn answer(&mut self, via: ConnectionId, mut record: Record) -> Answer {
        match self.relays.remove(&(via, record.id())) {
            None => Answer::Late,
            Some(Origin::Own) => Answer::Own(record),
            Some(Origin::Relayed { from, id, .. }) => {
                let Some(connection) = self.connections.get_mut(&from) else { return Answer::Late };
                connection.relayed -= 1;
                record.set_id(id);
                Answer::Back(from, record)
            }
        }
    }

    /// What is due at `now`.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((_, key)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            let after = self.patience(self.config.relay_timeout);
            actions.extend(self.give_up(key, ErrorKind::Timeout, |target| {
                format!("{target} has not answered within {after:?}")
            }));
        }
        if let Some(due) = self.next_heartbeat.filter(|at| *at <= now) {
            self.beat(due, now, &mut actions);
        }
        actions
    }

    /// When to call [`Router::poll`] next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let relay = self.deadlines.front().map(|(deadline, _)| *deadline);
        [relay, self.next_heartbeat].into_iter().flatten().min()
    }

    fn beat(&mut self, due: Instant, now: Instant, actions: &mut Vec<Action>) {
        // While this daemon itself did not run, it could not hear.
        let late = now.saturating_duration_since(due);
        let dead_after = self.patience(self.config.dead_after);
        let mut sessions = 0;
        for (&id, connection) in &mut self.connections {
            if connection.peer == Peer::Client {
                continue;
            }
            sessions += 1;
            connection.heard = (connection.heard + late).min(now);
            let silent = now.saturating_duration_since(connection.heard);
            if silent >= dead_after {
                actions.push(Action::Dead(id, silent));
            } else if let Ok(record) = Record::new(&Envelope { id: 0, body: Body::Notice(Notice::Heartbeat) })
            {
                actions.push(Action::Send(id, record));
            }
        }
        self.next_heartbeat = (sessions > 0).then(|| now + self.config.heartbeat);
    }

    fn patience(&self, configured: Duration) -> Duration {
        configured + PER_PEER * self.daemons.len().max(self.links).saturating_sub(FEW) as u32
    }

    fn become_session(&mut self, connection: ConnectionId, peer: Peer, now: Instant) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.peer = peer;
            connection.heard = now;
            self.next_heartbeat.get_or_insert(now + self.config.heartbeat);
        }
    }

    fn way_to(&self, target: &HostName, from: ConnectionId) -> Result<ConnectionId, String> {
        if let Some(via) = self.daemons.get(target) {
            return Ok(*via);
        }
        match self.proxy {
            // What the Proxy hands on is for this daemon or for nobody: it never goes back.
            Some(proxy) if proxy != from => Ok(proxy),
            Some(_) => Err(format!("the Proxy took {} for {target}", self.host)),
            None => Err(format!(
                "{target} is not registered at {}, and {} has no session with a Proxy to ask; is its daemon running?",
                self.host, self.host
            )),
        }
    }

    fn new_id(&mut self, via: ConnectionId) -> u32 {
        loop {
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1).max(1);
            if !self.relays.contains_key(&(via, id)) {
                return id;
            }
        }
    }

    fn expect(&mut self, via: ConnectionId, id: u32, origin: Origin, now: Instant) {
        if let Origin::Relayed { from, .. } = &origin
            && let Some(connection) = self.connections.get_mut(from)
        {
            connection.relayed += 1;
        }
        self.relays.insert((via, id), origin);
        self.deadlines.push_back((now + self.patience(self.config.relay_timeout), (via, id)));
    }

    fn give_up(
        &mut self,
        key: (ConnectionId, u32),
        kind: ErrorKind,
        message: impl FnOnce(&HostName) -> String,
    ) -> Option<Action> {
        let Origin::Relayed { from, id, target } = self.relays.remove(&key)? else { return None };
        self.connections.get_mut(&from)?.relayed -= 1;
        let body = Body::Response(Err(ControlError::new(kind, message(&target))));
        let record = Record::new(&Envelope { id, body }).ok()?;
        Some(Action::Send(from, record))
    }
}

#[cfg(test)]
mod tests;
