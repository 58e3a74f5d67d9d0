//! Which connection a message belongs on: requests for other daemons are
//! handed on, their answers find the way back, and sessions that have fallen
//! silent are given up. No I/O: connections are numbers here.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use vnet_core::HostName;
use vnet_core::control::{Body, ControlError, Envelope, ErrorKind, Notice, Request};

use super::record::Record;

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
        }
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
            let after = self.config.relay_timeout;
            actions.extend(self.give_up(key, ErrorKind::Timeout, |target| {
                format!("{target} has not answered within {after:?}")
            }));
        }
        if self.next_heartbeat.is_some_and(|at| at <= now) {
            self.beat(now, &mut actions);
        }
        actions
    }

    /// When to call [`Router::poll`] next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let relay = self.deadlines.front().map(|(deadline, _)| *deadline);
        [relay, self.next_heartbeat].into_iter().flatten().min()
    }

    fn beat(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let mut sessions = 0;
        for (&id, connection) in &self.connections {
            if connection.peer == Peer::Client {
                continue;
            }
            sessions += 1;
            let silent = now.saturating_duration_since(connection.heard);
            if silent >= self.config.dead_after {
                actions.push(Action::Dead(id, silent));
            } else if let Ok(record) = Record::new(&Envelope { id: 0, body: Body::Notice(Notice::Heartbeat) })
            {
                actions.push(Action::Send(id, record));
            }
        }
        self.next_heartbeat = (sessions > 0).then(|| now + self.config.heartbeat);
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
        self.deadlines.push_back((now + self.config.relay_timeout, (via, id)));
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
mod tests {
    use proptest::prelude::*;
    use vnet_core::control::Reply;

    use super::*;

    const CONFIG: RouterConfig = RouterConfig {
        relay_timeout: Duration::from_secs(5),
        heartbeat: Duration::from_secs(1),
        dead_after: Duration::from_secs(3),
        relayed: 4,
    };

    fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    fn response(id: u32) -> Record {
        Record::new(&Envelope { id, body: Body::Response(Ok(Reply::Done)) }).unwrap()
    }

    fn router(now: Instant) -> Router {
        let mut router = Router::new(host("proxy"), CONFIG);
        for id in 0..4 {
            router.opened(ConnectionId(id), now);
        }
        router
    }

    #[test]
    fn an_answer_finds_its_way_back() {
        let now = Instant::now();
        let mut router = router(now);
        let (client, daemon) = (ConnectionId(0), ConnectionId(1));
        assert_eq!(router.register(daemon, host("b"), now), None);
        let Routed::On(via, record) = router.request(client, 42, Some(host("b")), Request::Ping, now) else {
            panic!("not handed on")
        };
        assert_eq!(via, daemon);
        let relay = record.id();
        assert_eq!(record.envelope().unwrap().body, Body::Request(Some(host("b")), Request::Ping));
        assert_eq!(router.answer(client, response(relay)), Answer::Late, "from the wrong connection");
        assert_eq!(router.answer(daemon, response(relay)), Answer::Back(client, response(42)));
        assert_eq!(router.answer(daemon, response(relay)), Answer::Late, "twice");
    }

    #[test]
    fn what_the_proxy_sends_never_goes_back() {
        let now = Instant::now();
        let mut router = Router::new(host("a"), CONFIG);
        let (proxy, client) = (ConnectionId(0), ConnectionId(1));
        router.opened(proxy, now);
        router.opened(client, now);
        router.set_proxy(proxy, now);
        assert!(matches!(
            router.request(client, 1, Some(host("c")), Request::Ping, now),
            Routed::On(ConnectionId(0), _)
        ));
        let Routed::Refused(error) = router.request(proxy, 1, Some(host("c")), Request::Ping, now) else {
            panic!("a loop")
        };
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.message.contains("for c"), "{error}");
        assert_eq!(
            router.request(proxy, 2, Some(host("a")), Request::Ping, now),
            Routed::Here(Request::Ping)
        );
    }

    #[test]
    fn silence_ends_a_session_and_its_requests() {
        let start = Instant::now();
        let mut router = router(start);
        let (client, daemon) = (ConnectionId(0), ConnectionId(1));
        router.register(daemon, host("b"), start);
        let mut now = start;
        for _ in 0..2 {
            now = router.deadline().unwrap();
            assert!(matches!(router.poll(now)[..], [Action::Send(ConnectionId(1), _)]));
        }
        router.request(client, 7, Some(host("b")), Request::Ping, now);
        now = start + CONFIG.dead_after;
        assert_eq!(router.poll(now), [Action::Dead(daemon, CONFIG.dead_after)]);
        let answers = router.closed(daemon, "silence");
        let [Action::Send(to, record)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((*to, record.id()), (client, 7));
        let Body::Response(Err(error)) = record.envelope().unwrap().body else { panic!("no error") };
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.message.contains("b was lost") && error.message.contains("silence"), "{error}");
    }

    #[test]
    fn a_request_times_out_and_its_late_answer_is_ignored() {
        let now = Instant::now();
        let mut router = router(now);
        router.register(ConnectionId(1), host("b"), now);
        let Routed::On(_, record) = router.request(ConnectionId(0), 7, Some(host("b")), Request::Ping, now)
        else {
            panic!("not handed on")
        };
        let actions = router.poll(now + CONFIG.relay_timeout);
        assert!(
            actions
                .iter()
                .any(|action| matches!(action, Action::Send(ConnectionId(0), answer) if answer.id() == 7))
        );
        assert_eq!(router.answer(ConnectionId(1), record), Answer::Late);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Request { from: u64, to: u8 },
        Answer { nth: usize },
        Close { connection: u64 },
        Wait { ms: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..4, 0_u8..4).prop_map(|(from, to)| Step::Request { from, to }),
            4 => any::<usize>().prop_map(|nth| Step::Answer { nth }),
            1 => (0_u64..4).prop_map(|connection| Step::Close { connection }),
            2 => (0_u64..4000).prop_map(|ms| Step::Wait { ms }),
        ]
    }

    proptest! {
        /// Every request gets exactly one answer, at the latest after the
        /// timeout, unless who asked has gone.
        #[test]
        fn one_answer_for_each_request(steps in proptest::collection::vec(step(), 0..60)) {
            let mut now = Instant::now();
            let mut router = router(now);
            router.register(ConnectionId(2), host("b"), now);
            router.register(ConnectionId(3), host("c"), now);
            let targets = [host("proxy"), host("b"), host("c"), host("d")];
            let mut next = 0;
            let mut open: Vec<(u64, u32)> = Vec::new();
            let mut under_way: Vec<(ConnectionId, u32)> = Vec::new();
            let mut closed = Vec::new();
            let answered = |open: &mut Vec<(u64, u32)>, to: ConnectionId, id: u32| {
                let at = open.iter().position(|asked| *asked == (to.0, id));
                prop_assert!(at.is_some(), "an answer to nothing: {} {}", to.0, id);
                open.remove(at.unwrap());
                Ok(())
            };
            for step in steps {
                match step {
                    Step::Request { from, to } if !closed.contains(&from) => {
                        next += 1;
                        let target = Some(targets[usize::from(to)].clone());
                        match router.request(ConnectionId(from), next, target, Request::Ping, now) {
                            Routed::Here(_) => prop_assert_eq!(to, 0),
                            Routed::Refused(_) => {}
                            Routed::On(via, record) => {
                                open.push((from, next));
                                under_way.push((via, record.id()));
                            }
                        }
                    }
                    Step::Answer { nth } if !under_way.is_empty() => {
                        let (via, id) = under_way.swap_remove(nth % under_way.len());
                        if let Answer::Back(to, record) = router.answer(via, response(id)) {
                            answered(&mut open, to, record.id())?;
                        }
                    }
                    Step::Close { connection } if !closed.contains(&connection) => {
                        closed.push(connection);
                        open.retain(|(from, _)| *from != connection);
                        for action in router.closed(ConnectionId(connection), "test") {
                            let Action::Send(to, record) = action else { continue };
                            answered(&mut open, to, record.id())?;
                        }
                    }
                    Step::Wait { ms } => {
                        now += Duration::from_millis(ms);
                        for action in router.poll(now) {
                            match action {
                                Action::Send(to, record) if record.id() != 0 => answered(&mut open, to, record.id())?,
                                _ => {}
                            }
                        }
                    }
                    _ => {}
                }
            }
            for action in router.poll(now + CONFIG.relay_timeout) {
                match action {
                    Action::Send(to, record) if record.id() != 0 => answered(&mut open, to, record.id())?,
                    _ => {}
                }
            }
            prop_assert_eq!(open, vec![]);
        }
    }
}
