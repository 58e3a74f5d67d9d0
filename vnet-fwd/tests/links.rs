//! Links over a simulated network that delays, reorders, repeats and loses, with
//! a simulated clock. Each test prints its seed when it fails.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vnet_core::encap::{DEFAULT_HOP_LIMIT, HEADER, Kind};
use vnet_core::{HostName, Link, LinkKind, NetworkId, RuleVersion};
use vnet_fwd::link::{Action, ConnectionId, Departure, Inbound, LinkSet, LinkTiming, Path};
use vnet_fwd::secure::{Guard, SecureOptions};
use vnet_fwd::{Label, PrivateKey};

const LABEL: Label = Label { network: NetworkId(7), version: RuleVersion(3), hop_limit: DEFAULT_HOP_LIMIT };

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn host(n: usize) -> HostName {
    HostName::new(&format!("host{n}")).unwrap()
}

fn key(n: usize) -> PrivateKey {
    PrivateKey::from_bytes([n as u8 + 1; 32])
}

fn link(kind: LinkKind, opener: usize) -> Link {
    Link { kind, opener: host(opener), a: host(0), b: host(1) }
}

/// What the network does to a message.
#[derive(Clone, Copy, Debug)]
struct Weather {
    loss: f64,
    repeat: f64,
    least_delay_ms: u64,
    most_delay_ms: u64,
}

const FAIR: Weather = Weather { loss: 0.0, repeat: 0.0, least_delay_ms: 1, most_delay_ms: 1 };

#[derive(Debug)]
enum Delivery {
    Datagram { to: SocketAddr, from: SocketAddr, message: Vec<u8> },
    Stream { connection: usize, end: usize, message: Vec<u8> },
    Accepted { connection: usize, end: usize },
    Dialled { connection: usize, end: usize },
    Refused { node: usize, id: ConnectionId },
    Closed { connection: usize, end: usize },
}

/// A TCP connection: each end's node and what that node calls it.
struct Connection {
    ends: [Option<(usize, ConnectionId)>; 2],
    /// When the last message to each end arrives, since streams keep order.
    busy: [Instant; 2],
}

struct Node {
    links: LinkSet,
    address: SocketAddr,
    has_link: bool,
    ups: u32,
    downs: Vec<String>,
    frames: Vec<Vec<u8>>,
}

struct World {
    now: Instant,
    rng: StdRng,
    weather: Weather,
    cut: bool,
    kind: LinkKind,
    opener: usize,
    /// Which ends have encrypted links.
    secret: [bool; 2],
    start: Instant,
    nodes: Vec<Node>,
    connections: Vec<Connection>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    serial: u64,
}

impl World {
    fn new(kind: LinkKind, opener: usize, weather: Weather, seed: u64) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            rng: StdRng::seed_from_u64(seed),
            weather,
            cut: false,
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
    fn with_encryption(mut self, secret: [bool; 2]) -> Self {
        self.secret = secret;
        self.nodes = (0..2).map(|n| self.fresh_node(n)).collect();
        self
    }

    fn fresh_node(&mut self, n: usize) -> Node {
        let incarnation = self.rng.random_range(1..u64::MAX);
        let mut links = LinkSet::new(host(n), incarnation, LinkTiming::default(), self.now);
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

    fn add_link(&mut self, n: usize, knows_peer: bool) {
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

    fn remove_link(&mut self, n: usize) {
        self.nodes[n].links.remove(0, self.now);
        self.nodes[n].has_link = false;
        self.act(n);
    }

    /// The daemon is killed and started again; its connections are reset.
    fn restart(&mut self, n: usize, knows_peer: bool) {
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

    fn both_up(&self) -> bool {
        self.nodes.iter().all(|node| node.links.is_up(0))
    }

    fn none_up(&self) -> bool {
        self.nodes.iter().all(|node| !node.links.is_up(0))
    }

    /// Runs until `done`, and says how long that took; `None` if it takes longer than `limit`.
    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
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

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// The next thing that happens; `false` if that is not before `end`.
    fn step(&mut self, end: Instant) -> bool {
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

    fn later(&mut self, delay: Duration, delivery: Delivery) -> Instant {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), delivery);
        self.now + delay
    }

    fn delay(&mut self) -> Duration {
        ms(self.rng.random_range(self.weather.least_delay_ms..=self.weather.most_delay_ms))
    }

    fn deliver(&mut self, delivery: Delivery) {
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

    fn receive(&mut self, n: usize, path: Path, message: &[u8]) {
        let node = &mut self.nodes[n];
        let mut datagram = message.to_vec();
        if let Ok(Inbound::Frame { link: 0, header, payload }) =
            node.links.receive(path, &mut datagram, self.now)
        {
            assert_eq!((header.network, header.rule_version), (LABEL.network, LABEL.version));
            node.frames.push(datagram[payload].to_vec());
        }
        self.act(n);
    }

    fn act(&mut self, n: usize) {
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

    fn send(&mut self, n: usize, path: Path, message: Vec<u8>) {
        match path {
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

    fn dial(&mut self, n: usize, id: ConnectionId, address: SocketAddr) {
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

    fn close(&mut self, connection: usize, end: usize) {
        self.connections[connection].ends[end] = None;
        if !self.cut {
            let arrival = (self.now + self.delay()).max(self.connections[connection].busy[1 - end]);
            self.later(arrival - self.now, Delivery::Closed { connection, end: 1 - end });
        }
    }

    /// Sends a frame from `n` as the worker would.
    fn frame(&mut self, n: usize, payload: &[u8]) -> bool {
        let links = &mut self.nodes[n].links;
        let Ok(Departure { path, room, .. }) = links.departure(0) else { return false };
        let mut datagram = [&vec![0; room.head + HEADER][..], payload, &vec![0; room.tail]].concat();
        links.finish(0, &LABEL, Kind::Frame, self.now, &mut datagram);
        self.send(n, path, datagram);
        true
    }

    fn why(&self, n: usize) -> String {
        self.nodes[n].links.status(self.now)[0].state.why.clone()
    }
}

/// Kinds of links, and whether they are encrypted.
const SORTS: [(LinkKind, bool); 4] =
    [(LinkKind::Udp, false), (LinkKind::Tcp, false), (LinkKind::Udp, true), (LinkKind::Tcp, true)];

fn kind() -> impl Strategy<Value = LinkKind> {
    prop_oneof![Just(LinkKind::Udp), Just(LinkKind::Tcp)]
}

fn weather() -> impl Strategy<Value = Weather> {
    (0.0..0.3, 0.0..0.3, 0_u64..40, 0_u64..60).prop_map(|(loss, repeat, least, spread)| Weather {
        loss,
        repeat,
        least_delay_ms: least,
        most_delay_ms: least + spread,
    })
}

/// Which ends know where the other is; over TCP both may dial.
fn who_knows() -> impl Strategy<Value = [bool; 2]> {
    prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])]
}

proptest! {
    #[test]
    fn comes_up_in_any_weather_and_again_after_a_cut(
        kind in kind(), opener in 0_usize..2, knows in who_knows(), weather in weather(),
        second_after_ms in 0_u64..3000, seed: u64, secret: bool,
    ) {
        let mut world = World::new(kind, opener, weather, seed).with_encryption([secret; 2]);
        world.add_link(0, knows[0]);
        world.run(ms(second_after_ms));
        world.add_link(1, knows[1]);
        let up = world.run_until(ms(20_000), World::both_up);
        prop_assert!(up.is_some(), "not up: {} / {}", world.why(0), world.why(1));

        world.cut = true;
        let down = world.run_until(ms(5_000), World::none_up);
        prop_assert!(down.is_some(), "a cut link stays up");
        world.run(ms(8_000));
        prop_assert!(world.none_up());
        for n in 0..2 {
            prop_assert!(world.nodes[n].downs.last().unwrap().contains("no sign of life"));
        }

        world.cut = false;
        let up = world.run_until(ms(20_000), World::both_up);
        prop_assert!(up.is_some(), "not up again: {} / {}", world.why(0), world.why(1));
    }

    #[test]
    fn reordering_and_repetition_never_take_a_link_down(
        kind in kind(), opener in 0_usize..2, knows in who_knows(), seed: u64, secret: bool,
        repeat in 0.0..0.5, most_delay_ms in 1_u64..150,
    ) {
        let weather = Weather { loss: 0.0, repeat, least_delay_ms: 0, most_delay_ms };
        let mut world = World::new(kind, opener, weather, seed).with_encryption([secret; 2]);
        world.add_link(0, knows[0]);
        world.add_link(1, knows[1]);
        prop_assert!(world.run_until(ms(10_000), World::both_up).is_some());
        // Dialling from both sides may take a moment to settle on one connection.
        world.run(ms(5_000));
        let downs: Vec<usize> = world.nodes.iter().map(|n| n.downs.len()).collect();
        if kind == LinkKind::Udp {
            prop_assert_eq!(&downs, &vec![0, 0]);
        }
        world.run(ms(60_000));
        let after: Vec<usize> = world.nodes.iter().map(|n| n.downs.len()).collect();
        prop_assert_eq!(downs, after, "{:?} {:?}", &world.nodes[0].downs, &world.nodes[1].downs);
        prop_assert!(world.both_up());
        let open = world.connections.iter().filter(|c| c.ends.iter().any(Option::is_some)).count();
        prop_assert_eq!(open, usize::from(kind == LinkKind::Tcp), "one connection serves the link");
        let trip = world.nodes[opener].links.status(world.now)[0].round_trip_us.unwrap();
        prop_assert!(trip <= most_delay_ms * 2_000, "round trip of {trip} us");
    }

    #[test]
    fn a_restarted_peer_is_back_within_two_seconds(
        kind in kind(), opener in 0_usize..2, who in 0_usize..2, knows in who_knows(),
        dead_ms in 0_u64..6000, seed: u64, secret: bool, least_delay_ms in 0_u64..20,
    ) {
        let weather = Weather { loss: 0.0, repeat: 0.1, least_delay_ms, most_delay_ms: least_delay_ms + 20 };
        let mut world = World::new(kind, opener, weather, seed).with_encryption([secret; 2]);
        world.add_link(0, knows[0]);
        world.add_link(1, knows[1]);
        prop_assert!(world.run_until(ms(10_000), World::both_up).is_some());
        world.run(ms(3_000));
        let other = 1 - who;
        let (ups, downs) = (world.nodes[other].ups, world.nodes[other].downs.len());
        // Killed, and dead for a while: what is sent to it is lost.
        world.cut = true;
        world.run(ms(dead_ms));
        world.cut = false;
        // Over TCP the restarted end can't be dialled by one that doesn't know its
        // address, so it has to know the other's.
        let knows_peer = knows[who] || kind == LinkKind::Tcp && !knows[other];
        world.restart(who, knows_peer);
        let up = world.run_until(ms(2_000), |w| w.both_up() && w.nodes[other].ups > ups);
        prop_assert!(up.is_some(), "{} / {}", world.why(0), world.why(1));
        prop_assert!(world.nodes[other].downs.len() > downs, "the restart goes unnoticed");
    }

    #[test]
    fn a_peer_that_moves_is_followed_without_going_down(
        opener in 0_usize..2, who in 0_usize..2, knows in who_knows(), seed: u64, secret: bool, most_delay_ms in 1_u64..100,
    ) {
        let weather = Weather { loss: 0.0, repeat: 0.2, least_delay_ms: 1, most_delay_ms };
        let mut world = World::new(LinkKind::Udp, opener, weather, seed).with_encryption([secret; 2]);
        world.add_link(0, knows[0]);
        world.add_link(1, knows[1]);
        prop_assert!(world.run_until(ms(10_000), World::both_up).is_some());
        world.run(ms(1_000));
        for port in 8000..8003 {
            world.nodes[who].address.set_port(port);
            world.run(ms(3_000));
            prop_assert!(world.both_up());
            let known = world.nodes[1 - who].links.status(world.now)[0].peer;
            prop_assert_eq!(known, Some(world.nodes[who].address));
        }
        prop_assert_eq!(world.nodes[0].downs.len() + world.nodes[1].downs.len(), 0);
    }

    #[test]
    fn every_frame_sent_while_up_arrives_in_fair_weather(
        kind in kind(), opener in 0_usize..2, seed: u64, secret: bool, gap_ms in 1_u64..50,
    ) {
        let mut world = World::new(kind, opener, FAIR, seed).with_encryption([secret; 2]);
        world.add_link(0, kind == LinkKind::Udp || opener == 0);
        world.add_link(1, kind == LinkKind::Udp || opener == 1);
        let mut sent = [BTreeSet::new(), BTreeSet::new()];
        for i in 0..200_u64 {
            for (n, sent) in sent.iter_mut().enumerate() {
                // From the first moment that the end thinks it is up.
                if world.frame(n, &i.to_be_bytes()) {
                    sent.insert(i.to_be_bytes().to_vec());
                }
            }
            world.run(ms(gap_ms));
        }
        world.run(ms(1_000));
        for n in 0..2 {
            let arrived: BTreeSet<Vec<u8>> = world.nodes[n].frames.iter().cloned().collect();
            prop_assert_eq!(arrived.len(), world.nodes[n].frames.len(), "a frame arrived twice");
            prop_assert!(!sent[1 - n].is_empty());
            prop_assert_eq!(&arrived, &sent[1 - n]);
        }
    }

    #[test]
    fn strange_bytes_change_nothing(
        noise in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..100),
        kinds in proptest::collection::vec(0_u8..8, 100),
        same_address: bool, seed: u64,
    ) {
        let mut world = World::new(LinkKind::Udp, 0, FAIR, seed);
        world.add_link(0, true);
        world.add_link(1, true);
        prop_assert!(world.run_until(ms(10_000), World::both_up).is_some());
        let stranger = SocketAddr::from(([10, 9, 9, 9], 9));
        let from = if same_address { world.nodes[1].address } else { stranger };
        let frames = world.nodes[0].frames.len();
        for (mut bytes, kind) in noise.into_iter().zip(kinds) {
            // Half of them have a good header.
            if bytes.len() >= HEADER && kind < 7 && kind != 1 {
                (bytes[0], bytes[1]) = (1, kind);
            }
            let _ = world.nodes[0].links.receive(Path::Udp(from), &mut bytes, world.now);
            world.act(0);
        }
        world.run(ms(4_000));
        prop_assert!(world.both_up());
        prop_assert_eq!(world.nodes[0].downs.len(), 0);
        prop_assert_eq!(world.nodes[0].frames.len(), frames);
    }
}

#[test]
fn a_removed_link_goes_down_at_the_peer_and_comes_back() {
    for (kind, secret) in SORTS {
        let mut world = World::new(kind, 0, FAIR, 1).with_encryption([secret; 2]);
        world.add_link(0, true);
        world.add_link(1, false);
        world.run_until(ms(1_000), World::both_up).unwrap();
        world.run(ms(1_000));
        world.remove_link(1);
        world.run_until(ms(100), |w| !w.nodes[0].links.is_up(0)).unwrap();
        assert_eq!(world.nodes[0].downs, ["host1 says: host1 has removed the link"]);
        world.run(ms(3_000));
        if kind == LinkKind::Udp {
            assert!(world.why(0).contains("host1 says: host1 has no link with host0"), "{}", world.why(0));
        } else {
            assert!(world.why(0).contains("connection refused"), "{}", world.why(0));
        }
        world.add_link(1, false);
        world.run_until(ms(2_000), World::both_up).unwrap();
    }
}

#[test]
fn a_daemon_that_did_not_get_to_run_for_long_keeps_its_links() {
    for (kind, secret) in SORTS {
        let mut world = World::new(kind, 0, FAIR, 1).with_encryption([secret; 2]);
        world.add_link(0, true);
        world.add_link(1, false);
        world.run_until(ms(1_000), World::both_up).unwrap();
        world.run(ms(1_100));
        // Nothing happens anywhere for ten seconds; then everything is late.
        world.now += ms(10_000);
        world.run(ms(5_000));
        assert!(world.both_up());
        assert_eq!(world.nodes[0].downs.len() + world.nodes[1].downs.len(), 0);
    }
}

#[test]
fn an_end_that_knows_no_address_says_so_and_waits() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.add_link(0, false);
    world.run(ms(5_000));
    assert!(world.why(0).contains("host1's address is not known here"), "{}", world.why(0));
    world.add_link(1, true);
    world.run_until(ms(100), World::both_up).unwrap();
    assert_eq!(world.why(0), "");
}

#[test]
fn ends_of_different_kinds_say_so() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.add_link(0, true);
    world.kind = LinkKind::Tcp;
    world.add_link(1, false);
    world.run(ms(2_500));
    assert!(world.why(0).contains("over the other of UDP and TCP"), "{}", world.why(0));
}

#[test]
fn the_status_of_an_unanswered_link_tells_what_was_tried() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.cut = true;
    world.add_link(0, true);
    world.run(ms(3_200));
    let address = world.nodes[1].address;
    world.nodes[0].links.unreachable(address, "ICMP: connection refused", world.now);
    assert_eq!(world.why(0), "no answer from 10.0.0.2:7000 for 3.2 s; ICMP: connection refused");
    world.run(ms(10_000));
    assert_eq!(world.why(0), "no answer from 10.0.0.2:7000 for 13.2 s");
}

#[test]
fn a_new_address_from_the_operator_moves_the_link_without_a_gap() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.add_link(0, true);
    world.add_link(1, false);
    world.run_until(ms(1_000), World::both_up).unwrap();
    // The peer is reachable at a second address; only the operator knows.
    world.nodes[1].address.set_port(9000);
    let address = world.nodes[1].address;
    world.nodes[0].links.set_target(0, address, world.now);
    world.act(0);
    world.run(ms(100));
    assert_eq!(world.nodes[0].links.status(world.now)[0].peer, Some(address));
    world.run(ms(5_000));
    assert!(world.both_up());
    assert_eq!(world.nodes[0].downs.len() + world.nodes[1].downs.len(), 0);
}

#[test]
fn refusals_are_few_whatever_strangers_send() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.add_link(0, false);
    let mut answers = 0;
    for port in 1..20_000 {
        let mut hello = {
            let mut stranger = LinkSet::new(host(1), u64::from(port), LinkTiming::default(), world.now);
            stranger.insert(0, Link { a: host(1), b: host(2), ..link(LinkKind::Udp, 0) }, world.now).unwrap();
            stranger.set_target(0, world.nodes[0].address, world.now);
            let Some(Action::Send { message, .. }) = stranger.poll_action() else { panic!("no Hello") };
            message
        };
        let from = SocketAddr::from(([10, 1, 1, 1], port));
        assert!(world.nodes[0].links.receive(Path::Udp(from), &mut hello, world.now).is_err());
        while world.nodes[0].links.poll_action().is_some() {
            answers += 1;
        }
    }
    assert!((1..=50).contains(&answers), "{answers} answers");
}

#[test]
fn plain_and_encrypted_ends_refuse_each_other_and_say_why() {
    for kind in [LinkKind::Udp, LinkKind::Tcp] {
        for knows in [[true, true], [true, false], [false, true]] {
            let mut world = World::new(kind, 0, FAIR, 1).with_encryption([true, false]);
            world.add_link(0, knows[0]);
            world.add_link(1, knows[1]);
            world.run(ms(4_500));
            assert!(world.none_up());
            let [secret, plain] = [world.why(0), world.why(1)];
            assert!(
                secret.contains("speaks in plain, and this daemon only takes encrypted links"),
                "{secret}"
            );
            // Whoever encrypts is silent; so the plain end knows only what comes by itself.
            if knows[0] {
                assert!(plain.contains("wants an encrypted link, and this daemon has"), "{plain}");
            } else {
                assert!(plain.contains("no answer from 10.0.0.1:7000"), "{plain}");
            }
        }
    }
}

#[test]
fn a_daemon_without_the_key_of_its_peer_says_so_and_comes_up_when_it_is_told() {
    for kind in [LinkKind::Udp, LinkKind::Tcp] {
        for ignorant in 0..2 {
            let mut world = World::new(kind, 0, FAIR, 1).with_encryption([true; 2]);
            let peer = host(1 - ignorant);
            world.nodes[ignorant].links.forbid(&peer);
            world.add_link(0, true);
            world.add_link(1, true);
            world.run(ms(5_000));
            assert!(world.none_up());
            let why = world.why(ignorant);
            assert!(why.contains(&format!("no key of {peer} is known here: `vnet peer add`")), "{why}");
            let (now, key) = (world.now, key(1 - ignorant).public());
            assert!(world.nodes[ignorant].links.allow(&peer, key, now));
            world.act(ignorant);
            let up = world.run_until(ms(2_500), World::both_up);
            assert!(up.is_some(), "{} / {}", world.why(0), world.why(1));
        }
    }
}

#[test]
fn a_daemon_with_the_wrong_key_stays_outside() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1).with_encryption([true; 2]);
    let now = world.now;
    assert!(world.nodes[1].links.allow(&host(0), key(7).public(), now));
    world.add_link(0, true);
    world.add_link(1, true);
    world.run(ms(5_000));
    assert!(world.none_up());
    assert_eq!(world.why(0), "no answer from 10.0.0.2:7000 for 5.0 s");
}
