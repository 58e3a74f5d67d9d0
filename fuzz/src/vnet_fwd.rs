//! The parsers of `vnet-fwd`: what daemons say to each other about a link.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ::vnet_core::encap::{HEADER, Header, Kind};
use ::vnet_core::frame::MAX_FRAME;
use ::vnet_core::{HostName, Link, LinkKind, NetworkId, RuleVersion};
use ::vnet_fwd::LinkTiming;
use ::vnet_fwd::engine::Label;
use ::vnet_fwd::link::message::{Close, Features, Greeting, Incarnations, Pulse, SizeAck, SizeProbe};
use ::vnet_fwd::link::{Action, ConnectionId, Departure, Inbound, LinkSet, Path, Pieces, Rejoined};

/// The body of a link message.
pub fn link_message(bytes: &[u8]) {
    if let Ok(greeting) = Greeting::decode(bytes) {
        assert_eq!(Greeting::decode(&greeting.encode()), Ok(greeting));
    }
    if let Ok(pulse) = Pulse::decode(bytes) {
        assert_eq!(Pulse::decode(&pulse.encode()), Ok(pulse));
    }
    if let Ok(probe) = SizeProbe::decode(bytes) {
        assert_eq!(SizeProbe::decode(&probe.encode(bytes.len())), Ok(probe));
    }
    if let Ok(ack) = SizeAck::decode(bytes) {
        assert_eq!(SizeAck::decode(&ack.encode()), Ok(ack));
    }
    if let Ok(close) = Close::decode(bytes) {
        let again = Close::decode(&close.encode()).expect("what was decoded can be encoded");
        assert!(close.text.starts_with(&again.text));
        assert_eq!(
            (again.incarnations, again.echo, again.reason),
            (close.incarnations, close.echo, close.reason)
        );
    }
}

/// The links of a daemon, and peers who say and do what the input tells:
/// one byte for what happens, one for which peer, and what that needs.
pub fn links(bytes: &[u8]) {
    let mut daemon = Daemon::new();
    let mut input = Input(bytes);
    while let Some((event, peer)) = input.byte().zip(input.byte()) {
        daemon.happens(event, usize::from(peer) % PEERS.len(), &mut input);
        daemon.carry_out_actions();
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// As many bytes as the next one says, or all that are left.
    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte().unwrap_or(0)).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

/// Of each peer: its name, what carries the link to it, and whether it opens it.
const PEERS: [(&str, LinkKind, bool); 4] = [
    ("b", LinkKind::Udp, false),
    ("c", LinkKind::Udp, true),
    ("d", LinkKind::Tcp, false),
    ("e", LinkKind::Tcp, true),
];

struct Daemon {
    links: LinkSet,
    now: Instant,
    /// The last message to each peer, and the last connection that it has to do with.
    heard: [Vec<u8>; PEERS.len()],
    connections: [Option<ConnectionId>; PEERS.len()],
}

fn name(name: &str) -> HostName {
    HostName::new(name).expect("a legal name")
}

fn address(peer: usize) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, peer as u8), 7777).into()
}

impl Daemon {
    fn new() -> Self {
        let now = Instant::now();
        let mut daemon = Self {
            links: LinkSet::new(name("a"), 1, LinkTiming::default(), now),
            now,
            heard: Default::default(),
            connections: Default::default(),
        };
        for peer in 0..PEERS.len() {
            daemon.insert(peer);
        }
        daemon.carry_out_actions();
        daemon
    }

    fn insert(&mut self, peer: usize) {
        let (other, kind, peer_opens) = PEERS[peer];
        let opener = if peer_opens { other } else { "a" };
        let link = Link { kind, opener: name(opener), a: name("a"), b: name(other) };
        self.links.insert(peer, link, self.now).expect("`a` is an end of the link");
        self.links.set_target(peer, address(peer), self.now);
    }

    fn path(&self, peer: usize) -> Path {
        match (PEERS[peer].1, self.connections[peer]) {
            (LinkKind::Tcp, Some(connection)) => Path::Tcp(connection),
            _ => Path::Udp(address(peer)),
        }
    }

    fn happens(&mut self, event: u8, peer: usize, input: &mut Input<'_>) {
        match event % 11 {
            0 => {
                let steps = u64::from(input.byte().unwrap_or(0));
                self.now += Duration::from_millis(steps * 16);
                self.links.on_time(self.now);
                assert!(self.links.deadline().is_none_or(|due| due > self.now), "what is due is done");
            }
            1 => self.receive(peer, input.bytes()),
            2 => self.answer(peer, input),
            3 => {
                self.connections[peer] = self.links.accept(self.now);
            }
            4 => {
                if let Some(connection) = self.connections[peer] {
                    self.links.connected(connection, self.now);
                }
            }
            5 => {
                if let Some(connection) = self.connections[peer].take() {
                    self.links.disconnected(connection, "reset", self.now);
                }
            }
            6 => match self.links.get(peer) {
                Some(_) => self.links.remove(peer, self.now),
                None => self.insert(peer),
            },
            7 => {
                let label = Label { network: NetworkId(0), version: RuleVersion(0), hop_limit: 64 };
                let departure = self.links.departure(peer);
                assert_eq!(departure.is_ok(), self.links.is_up(peer));
                if let Ok(Departure { room, .. }) = departure {
                    let mut datagram = vec![0; room.head + HEADER + 60 + room.tail];
                    self.links.finish(peer, &label, Kind::Frame, self.now, &mut datagram);
                }
            }
            8 => self.links.unreachable(address(peer), "refused", self.now),
            9 => self.links.refused(address(peer), 1500, self.now),
            _ => {
                let mtu = usize::from(input.byte().unwrap_or(0)) * 32;
                self.links.limited(address(peer), mtu, mtu % 64 == 0, self.now);
            }
        }
    }

    fn receive(&mut self, peer: usize, message: &[u8]) {
        let path = self.path(peer);
        let mut message = message.to_vec();
        // Refusal is an answer like others.
        let received = self.links.receive(path, &mut message, self.now);
        if let Ok(Inbound::Frame { link, header, payload }) = received
            && header.kind == Kind::Fragment
            && let Ok(Rejoined::Whole { frame, .. }) = self.links.rejoin(link, &header, &message[payload])
        {
            assert!(frame.len() <= MAX_FRAME);
            self.links.recycle(link, frame);
        }
    }

    /// The peer answers the last message as a good daemon might, but for the
    /// bytes that the input changes.
    fn answer(&mut self, peer: usize, input: &mut Input<'_>) {
        let kind = Kind::try_from(input.byte().unwrap_or(0) % 12 + 1).expect("1 to 12 are kinds");
        let heard = Header::decode(&self.heard[peer]).ok();
        let echo = heard.map_or(0, |(header, _)| header.timestamp);
        let incarnations = Incarnations { sender: u64::from(input.byte().unwrap_or(0)), receiver: 1 };
        let body = match kind {
            Kind::Frame | Kind::PartialFrame | Kind::SuperFrame | Kind::Probe => vec![0xff; 60],
            Kind::SizeProbe => SizeProbe { incarnations }.encode(input.byte().unwrap_or(0).into()),
            Kind::SizeAck => {
                let length = u32::from(input.byte().unwrap_or(0)) * 64;
                SizeAck { incarnations, length }.encode()
            }
            Kind::Fragment => {
                let frame = vec![0xff; 60 + usize::from(input.byte().unwrap_or(0))];
                let pieces = Pieces::new(frame.len(), 80).expect("a few pieces");
                let mut body = vec![0; pieces.size()];
                let n = usize::from(input.byte().unwrap_or(0)) % pieces.count();
                let number = input.byte().unwrap_or(0).into();
                pieces.write(n, number, Kind::Frame, &frame, &mut body);
                body
            }
            Kind::Hello | Kind::HelloAck => {
                let (from, to) = (name(PEERS[peer].0), name("a"));
                Greeting { incarnations, echo, from, to, features: Features::ALL }.encode()
            }
            Kind::Keepalive | Kind::KeepaliveAck => Pulse { incarnations, echo, delay: 1000 }.encode(),
            Kind::Close => {
                let reason = input.byte().unwrap_or(0).into();
                Close { incarnations, echo, reason, text: "so".to_owned() }.encode()
            }
        };
        let header = Header {
            kind,
            hop_limit: 64,
            rule_version: RuleVersion(0),
            network: NetworkId(0),
            sequence: u64::from(input.byte().unwrap_or(0)),
            timestamp: echo.wrapping_add(1),
        };
        let mut message = header.encode().to_vec();
        message.extend(body);
        for change in input.bytes().chunks_exact(2) {
            let at = usize::from(change[0]) % message.len();
            message[at] = change[1];
        }
        self.receive(peer, &message);
    }

    fn carry_out_actions(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.links.poll_action() {
            actions += 1;
            // Time may end all connections that have not said what they are for: 1024.
            assert!(actions < 1100, "one event causes {actions} actions and more");
            match action {
                Action::Send { path, message } => {
                    assert!(Header::decode(&message).is_ok());
                    let to = (0..PEERS.len()).find(|peer| self.path(*peer) == path);
                    if let Some(peer) = to {
                        self.heard[peer] = message;
                    }
                }
                Action::Dial { connection, address: to } => {
                    let peer = (0..PEERS.len()).find(|peer| address(*peer) == to);
                    self.connections[peer.expect("only peers are dialled")] = Some(connection);
                }
                Action::HangUp { connection } => {
                    for known in &mut self.connections {
                        known.take_if(|known| *known == connection);
                    }
                }
                Action::Up { .. } | Action::Down { .. } => {}
            }
        }
        let status = self.links.status(self.now);
        assert!(status.iter().all(|link| link.state.up == link.state.why.is_empty()), "{status:?}");
    }
}
