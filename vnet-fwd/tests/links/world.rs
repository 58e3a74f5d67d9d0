//! Two daemons' links over a simulated network, with a simulated clock.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vnet_core::encap::{DEFAULT_HOP_LIMIT, HEADER, Kind};
use vnet_core::{HostName, Link, LinkKind, NetworkId, RuleVersion};
use vnet_fwd::link::{Action, ConnectionId, Departure, Inbound, LinkSet, LinkTiming, Path, Pieces, Rejoined};
use vnet_fwd::secure::{Guard, SecureOptions};
use vnet_fwd::{DropReason, Label, PrivateKey};

pub(crate) const LABEL: Label =
    Label { network: NetworkId(7), version: RuleVersion(3), hop_limit: DEFAULT_HOP_LIMIT };

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn host(n: usize) -> HostName {
    HostName::new(&format!("host{n}")).unwrap()
}

pub(crate) fn key(n: usize) -> PrivateKey {
    PrivateKey::from_bytes([n as u8 + 1; 32])
}

pub(crate) fn link(kind: LinkKind, opener: usize) -> Link {
    Link { kind, opener: host(opener), a: host(0), b: host(1) }
}

/// What the network does to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: f64,
    pub(crate) repeat: f64,
    pub(crate) least_delay_ms: u64,
    pub(crate) most_delay_ms: u64,
}

pub(crate) const FAIR: Weather = Weather { loss: 0.0, repeat: 0.0, least_delay_ms: 1, most_delay_ms: 1 };

#[derive(Debug)]
pub(crate) enum Delivery {
    Datagram { to: SocketAddr, from: SocketAddr, message: Vec<u8> },
    Stream { connection: usize, end: usize, message: Vec<u8> },
    Accepted { connection: usize, end: usize },
    Dialled { connection: usize, end: usize },
    Refused { node: usize, id: ConnectionId },
    Closed { connection: usize, end: usize },
}

/// What datagrams of a direction are too long for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// The MTU of the sender's own device, which says so.
    pub(crate) device: usize,
    /// The MTU of what comes after.
    pub(crate) path: usize,
    /// Does what comes after say so, by ICMP?
    pub(crate) icmp: bool,
}

/// The headers of IPv4 and UDP.
pub(crate) const HEADERS: usize = 28;

/// A TCP connection: each end's node and what that node calls it.
pub(crate) struct Connection {
    pub(crate) ends: [Option<(usize, ConnectionId)>; 2],
    /// When the last message to each end arrives, since streams keep order.
    pub(crate) busy: [Instant; 2],
}

pub(crate) struct Node {
    pub(crate) links: LinkSet,
    pub(crate) address: SocketAddr,
    pub(crate) has_link: bool,
    pub(crate) ups: u32,
    pub(crate) downs: Vec<String>,
    pub(crate) frames: Vec<Vec<u8>>,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) rng: StdRng,
    pub(crate) weather: Weather,
    pub(crate) cut: bool,
    /// Of the directions from each node.
    pub(crate) sizes: [Sizes; 2],
    /// Do links split frames?
    pub(crate) split: bool,
    pub(crate) kind: LinkKind,
    pub(crate) opener: usize,
    /// Which ends have encrypted links.
    pub(crate) secret: [bool; 2],
    pub(crate) start: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) queue: BTreeMap<(Instant, u64), Delivery>,
    pub(crate) serial: u64,
}

impl World {
    pub(crate) fn new(kind: LinkKind, opener: usize, weather: Weather, seed: u64) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            rng: StdRng::seed_from_u64(seed),
            weather,
            cut: false,
            sizes: [Sizes { device: 65_536, path: 65_536, icmp: false }; 2],
            split: true,
            kind,
            opener,
            secret: [false; 2],
            start: now,
            nodes: Vec::new(),
            connections: Vec::new(),
            queue: BTreeMap::new(),
            serial: 0,
        };
        for n in 0..2 {
            let node = world.fresh_node(n);
            world.nodes.push(node);
        }
        world
    }

    /// The same world with encrypted links, at both ends or at one.
    pub(crate) fn with_encryption(mut self, secret: [bool; 2]) -> Self {
        self.secret = secret;
        self.nodes = (0..2).map(|n| self.fresh_node(n)).collect();
        self
    }

    pub(crate) fn fresh_node(&mut self, n: usize) -> Node {
        let incarnation = self.rng.random_range(1..u64::MAX);
        let mut links =
            LinkSet::new(host(n), incarnation, LinkTiming::default(), self.now).with_splitting(self.split);
        if self.secret[n] {
            let clock = Duration::from_secs(1 << 30) + (self.now - self.start);
            let seed = self.rng.random();
            let guard = Guard::new(&key(n), SecureOptions::default(), seed, clock, self.now);
            links = links.with_guard(guard);
            assert!(links.allow(&host(1 - n), key(1 - n).public(), self.now));
        }
        Node {
            links,
            address: SocketAddr::from((Ipv4Addr::new(10, 0, 0, n as u8 + 1), 7000)),
            has_link: false,
            ups: 0,
            downs: Vec::new(),
            frames: Vec::new(),
        }
    }

    pub(crate) fn add_link(&mut self, n: usize, knows_peer: bool) {
        let peer = self.nodes[1 - n].address;
        let spec = link(self.kind, self.opener);
        let node = &mut self.nodes[n];
        node.links.insert(0, spec, self.now).unwrap();
        node.has_link = true;
        if knows_peer {
            node.links.set_target(0, peer, self.now);
        }
        self.act(n);
    }

    pub(crate) fn remove_link(&mut self, n: usize) {
        self.nodes[n].links.remove(0, self.now);
        self.nodes[n].has_link = false;
        self.act(n);
    }

    /// The daemon is killed and started again; its connections are reset.
    pub(crate) fn restart(&mut self, n: usize, knows_peer: bool) {
        let (ups, downs) = (self.nodes[n].ups, std::mem::take(&mut self.nodes[n].downs));
        self.nodes[n] = Node { ups, downs, ..self.fresh_node(n) };
        for connection in 0..self.connections.len() {
            for end in 0..2 {
                if self.connections[connection].ends[end].is_some_and(|(node, _)| node == n) {
                    self.close(connection, end);
                }
            }
        }
        self.add_link(n, knows_peer);
    }

    pub(crate) fn both_up(&self) -> bool {
        self.nodes.iter().all(|node| node.links.is_up(0))
    }

    pub(crate) fn none_up(&self) -> bool {
        self.nodes.iter().all(|node| !node.links.is_up(0))
    }

    /// Runs until `done`, and says how long that took; `None` if it takes longer than `limit`.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        loop {
            if done(self) {
                return Some(self.now - start);
            }
            if !self.step(start + limit) {
                return None;
            }
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// The next thing that happens; `false` if that is not before `end`.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        let timer = |n: usize| self.nodes[n].links.deadline().map(|at| (at, n));
        let due = [timer(0), timer(1)].into_iter().flatten().min();
        let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
        let next = [due.map(|(at, _)| at), arrival].into_iter().flatten().min();
        let Some(next) = next.filter(|at| *at < end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let (_, delivery) = self.queue.pop_first().unwrap();
            self.deliver(delivery);
        } else if let Some((_, n)) = due {
            self.nodes[n].links.on_time(self.now);
            self.act(n);
        }
        true
    }

    pub(crate) fn later(&mut self, delay: Duration, delivery: Delivery) -> Instant {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), delivery);
        self.now + delay
    }

    pub(crate) fn delay(&mut self) -> Duration {
        ms(self.rng.random_range(self.weather.least_delay_ms..=self.weather.most_delay_ms))
    }

    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Datagram { to, from, message } => {
                if let Some(n) = self.nodes.iter().position(|node| node.address == to) {
                    self.receive(n, Path::Udp(from), &message);
                }
            }
            Delivery::Stream { connection, end, message } => {
                if let Some((n, id)) = self.connections[connection].ends[end] {
                    self.receive(n, Path::Tcp(id), &message);
                }
            }
            Delivery::Accepted { connection, end } => {
                let n = 1 - self.connections[connection].ends[1 - end].map_or(0, |(n, _)| n);
                match self.nodes[n].links.accept(self.now) {
                    Some(id) => self.connections[connection].ends[end] = Some((n, id)),
                    None => self.close(connection, end),
                }
                let delay = self.delay();
                self.later(delay, Delivery::Dialled { connection, end: 1 - end });
            }
            Delivery::Dialled { connection, end } => {
                if let Some((n, id)) = self.connections[connection].ends[end] {
                    self.nodes[n].links.connected(id, self.now);
                    self.act(n);
                }
            }
            Delivery::Refused { node, id } => {
                self.nodes[node].links.disconnected(id, "connection refused", self.now);
                self.act(node);
            }
            Delivery::Closed { connection, end } => {
                if let Some((n, id)) = self.connections[connection].ends[end].take() {
                    self.nodes[n].links.disconnected(id, "closed by the peer", self.now);
                    self.act(n);
                }
            }
        }
    }

    pub(crate) fn receive(&mut self, n: usize, path: Path, message: &[u8]) {
        let node = &mut self.nodes[n];
        let mut datagram = message.to_vec();
        if let Ok(Inbound::Frame { link: 0, header, payload }) =
            node.links.receive(path, &mut datagram, self.now)
        {
            assert_eq!((header.network, header.rule_version), (LABEL.network, LABEL.version));
            if header.kind != Kind::Fragment {
                node.frames.push(datagram[payload].to_vec());
            } else if let Ok(Rejoined::Whole { frame, .. }) =
                node.links.rejoin(0, &header, &datagram[payload])
            {
                node.frames.push(frame.clone());
                node.links.recycle(0, frame);
            }
        }
        self.act(n);
    }

    pub(crate) fn act(&mut self, n: usize) {
        while let Some(action) = self.nodes[n].links.poll_action() {
            match action {
                Action::Send { path, message } => self.send(n, path, message),
                Action::Dial { connection, address } => self.dial(n, connection, address),
                Action::HangUp { connection } => {
                    let is = |end: &Option<(usize, ConnectionId)>| *end == Some((n, connection));
                    let found = self
                        .connections
                        .iter()
                        .enumerate()
                        .find_map(|(at, c)| c.ends.iter().position(is).map(|end| (at, end)));
                    if let Some((connection, end)) = found {
                        self.close(connection, end);
                    }
                }
                Action::Up { .. } => self.nodes[n].ups += 1,
                Action::Down { why, .. } => self.nodes[n].downs.push(why),
            }
        }
    }

    pub(crate) fn send(&mut self, n: usize, path: Path, message: Vec<u8>) {
        match path {
            Path::Udp(to) if message.len() + HEADERS > self.sizes[n].device => {
                let (mtu, now) = (self.sizes[n].device, self.now);
                self.nodes[n].links.refused(to, message.len(), now);
                self.nodes[n].links.limited(SocketAddr::new(to.ip(), 0), mtu, false, now);
            }
            Path::Udp(to) if message.len() + HEADERS > self.sizes[n].path => {
                let Sizes { path, icmp, .. } = self.sizes[n];
                if icmp {
                    self.nodes[n].links.limited(to, path, true, self.now);
                }
            }
            Path::Udp(to) => {
                let copies = 1 + u32::from(self.rng.random_bool(self.weather.repeat));
                for _ in 0..copies {
                    if !self.cut && !self.rng.random_bool(self.weather.loss) {
                        let (delay, from) = (self.delay(), self.nodes[n].address);
                        self.later(delay, Delivery::Datagram { to, from, message: message.clone() });
                    }
                }
            }
            Path::Tcp(id) => {
                let at = self.connections.iter().position(|c| c.ends.contains(&Some((n, id))));
                let Some(connection) = at else { return };
                let end = usize::from(self.connections[connection].ends[0] == Some((n, id)));
                if !self.cut {
                    let arrival = (self.now + self.delay()).max(self.connections[connection].busy[end]);
                    self.connections[connection].busy[end] = arrival;
                    self.later(arrival - self.now, Delivery::Stream { connection, end, message });
                }
            }
        }
    }

    pub(crate) fn dial(&mut self, n: usize, id: ConnectionId, address: SocketAddr) {
        if self.cut {
            return; // the request gets no answer
        }
        let delay = self.delay();
        if self.nodes.iter().any(|node| node.address == address && node.has_link) {
            self.connections.push(Connection { ends: [Some((n, id)), None], busy: [self.now; 2] });
            let connection = self.connections.len() - 1;
            self.later(delay, Delivery::Accepted { connection, end: 1 });
        } else {
            self.later(delay, Delivery::Refused { node: n, id });
        }
    }

    pub(crate) fn close(&mut self, connection: usize, end: usize) {
        self.connections[connection].ends[end] = None;
        if !self.cut {
            let arrival = (self.now + self.delay()).max(self.connections[connection].busy[1 - end]);
            self.later(arrival - self.now, Delivery::Closed { connection, end: 1 - end });
        }
    }

    /// Sends a frame from `n` as the worker would.
    pub(crate) fn frame(&mut self, n: usize, payload: &[u8]) -> bool {
        let links = &mut self.nodes[n].links;
        let Ok(Departure { path, room, .. }) = links.departure(0) else { return false };
        let mut datagram = [&vec![0; room.head + HEADER][..], payload, &vec![0; room.tail]].concat();
        links.finish(0, &LABEL, Kind::Frame, self.now, &mut datagram);
        self.send(n, path, datagram);
        true
    }

    /// Sends a frame from `n` as the worker would where frames may be too long.
    pub(crate) fn long_frame(&mut self, n: usize, payload: &[u8]) -> Result<(), DropReason> {
        let links = &mut self.nodes[n].links;
        let Departure { room, limit, split, .. } = links.departure(0)?;
        let overhead = room.total() + HEADER;
        if payload.len() + overhead <= limit {
            assert!(self.frame(n, payload));
            return Ok(());
        }
        let pieces = Pieces::new(payload.len(), limit - overhead).filter(|_| split);
        let Some(pieces) = pieces else { return Err(links.not_fitting(0)) };
        let number = links.next_split(0);
        for piece in 0..pieces.count() {
            let links = &mut self.nodes[n].links;
            let Departure { path, .. } = links.departure(0)?;
            let mut datagram = vec![0; overhead + pieces.size()];
            let place = room.head + HEADER..room.head + HEADER + pieces.size();
            pieces.write(piece, number, Kind::Frame, payload, &mut datagram[place]);
            links.finish(0, &LABEL, Kind::Fragment, self.now, &mut datagram);
            assert!(datagram.len() <= limit);
            self.send(n, path, datagram);
        }
        Ok(())
    }

    /// The path MTU that `n` has found, and how far it is in finding it.
    pub(crate) fn path_mtu(&self, n: usize) -> (Option<u32>, String) {
        let status = self.nodes[n].links.status(self.now).remove(0);
        (status.path_mtu, status.path_mtu_search)
    }

    pub(crate) fn why(&self, n: usize) -> String {
        self.nodes[n].links.status(self.now)[0].state.why.clone()
    }
}
