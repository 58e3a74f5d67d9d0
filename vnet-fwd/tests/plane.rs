//! Whole data planes: real sockets over loopback, in-memory ports at the ends.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use vnet_core::control::{LinkSpec, LinkStatus};
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, Link, LinkId, LinkKind, MacAddr, NetworkId, Rule,
    RuleVersion, Source,
};
use vnet_fwd::channel::{self, ChannelEnd};
use vnet_fwd::secure::SecureOptions;
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, Event, PlaneError, PrivateKey};

const NET: NetworkId = NetworkId(1);
/// Far more than anything here takes, for machines that are busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

fn host(n: usize) -> HostName {
    HostName::new(&format!("host{n}")).unwrap()
}

fn vm(n: usize) -> InterfaceName {
    InterfaceName::new(&format!("vm{n}")).unwrap()
}

fn mac(n: usize) -> MacAddr {
    MacAddr::local(n as u32)
}

fn frame(from: MacAddr, to: MacAddr, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &[0x88, 0xb5], payload].concat()
}

fn to_interface(destination: Destination, n: usize) -> Rule {
    Rule { source: Source::Any, destination, action: Action::Interface(vm(n)) }
}

fn to_link(destination: Destination, from: usize, to: usize) -> Rule {
    let action = Action::Edge(EdgeRef { from: host(from), to: host(to) });
    Rule { source: Source::Any, destination, action }
}

fn key(n: usize) -> PrivateKey {
    PrivateKey::from_bytes([n as u8 + 1; 32])
}

/// A daemon's data plane with one VM, `vm<n>`.
struct Daemon {
    plane: DataPlane,
    vm: ChannelEnd,
    events: Receiver<Event>,
}

impl Daemon {
    fn start(n: usize, bind: &str, incarnation: u64) -> Self {
        let encryption = Encryption::Key(key(n), SecureOptions::default());
        let daemon = Self::start_with(n, bind, incarnation, encryption);
        for peer in 0..10 {
            daemon.plane.allow(&host(peer), key(peer).public()).unwrap();
        }
        daemon
    }

    fn start_with(n: usize, bind: &str, incarnation: u64, encryption: Encryption) -> Self {
        let bind = Some(bind.parse().unwrap());
        let config = DataPlaneConfig {
            bind,
            incarnation,
            measure_paths: true,
            encryption,
            ..DataPlaneConfig::new(host(n))
        };
        let plane = DataPlane::start(config).unwrap();
        let (sender, events) = mpsc::channel();
        // The test may be over before the plane is.
        plane.subscribe(move |event| drop(sender.send(event.clone()))).unwrap();
        let (port, end) = channel::pair(4096).unwrap();
        plane.add_port(vm(n), NET, Box::new(port)).unwrap();
        plane.add_rule(NET, to_interface(Destination::Exact(mac(n)), n)).unwrap();
        plane.add_rule(NET, to_interface(Destination::Exact(MacAddr::BROADCAST), n)).unwrap();
        Self { plane, vm: end, events }
    }

    fn address(&self) -> SocketAddr {
        self.plane.address().unwrap()
    }

    fn link(&self, kind: LinkKind, a: usize, b: usize, peer: Option<SocketAddr>) {
        let link = Link { kind, opener: host(a), a: host(a), b: host(b) };
        self.plane.add_link(LinkSpec { link, peer }).unwrap();
    }

    fn wait(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) if wanted(&event) => return event,
                Ok(_) => {}
                Err(_) => panic!("no such event; links: {:#?}", self.plane.links()),
            }
        }
    }

    fn wait_up(&self) {
        self.wait(|event| matches!(event, Event::LinkUp { .. }));
    }

    fn wait_down(&self) -> String {
        match self.wait(|event| matches!(event, Event::LinkDown { .. })) {
            Event::LinkDown { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    fn link_status(&self) -> LinkStatus {
        self.plane.links().unwrap().remove(0)
    }

    fn drops(&self) -> BTreeMap<String, u64> {
        let drops = self.plane.drops().unwrap();
        drops.into_iter().filter(|d| d.frames > 0).map(|d| (d.reason, d.frames)).collect()
    }

    fn send(&self, frame: &[u8]) {
        let end = Instant::now() + PATIENCE;
        while !self.vm.send(frame) {
            assert!(Instant::now() < end, "the data plane takes no frames");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn receive(&self) -> Vec<u8> {
        self.vm.receive_within(PATIENCE).expect("a frame")
    }
}

/// Two daemons joined by a link that the first opens, with rules both ways.
fn pair(kind: LinkKind, bind: &str) -> [Daemon; 2] {
    let [a, b] = [1, 2].map(|n| Daemon::start(n, bind, n as u64));
    b.link(kind, 1, 2, None);
    a.link(kind, 1, 2, Some(b.address()));
    for (daemon, from, to) in [(&a, 1, 2), (&b, 2, 1)] {
        for destination in [mac(to), MacAddr::BROADCAST].map(Destination::Exact) {
            daemon.plane.add_rule(NET, to_link(destination, from, to)).unwrap();
        }
    }
    a.wait_up();
    b.wait_up();
    [a, b]
}

#[test]
fn frames_of_all_lengths_cross_a_link_in_order() {
    for (kind, bind) in [
        (LinkKind::Udp, "127.0.0.1:0"),
        (LinkKind::Tcp, "127.0.0.1:0"),
        (LinkKind::Udp, "[::1]:0"),
        (LinkKind::Tcp, "[::]:0"),
    ] {
        let [a, b] = pair(kind, bind);
        // UDP over IPv4 carries 65,507 bytes, of which the header takes 24 and encryption 24.
        let longest = if kind == LinkKind::Udp { 65_459 - 14 } else { 65_535 };
        for length in (0..1500).step_by(7).chain([longest]) {
            let there = frame(mac(1), mac(2), &vec![length as u8; length]);
            a.send(&there);
            assert_eq!(b.receive(), there, "{kind} {bind}");
            let back = frame(mac(2), mac(1), &vec![length as u8; length]);
            b.send(&back);
            assert_eq!(a.receive(), back, "{kind} {bind}");
        }
        assert_eq!(a.drops(), BTreeMap::new());
        let status = a.link_status();
        assert!(status.state.up && status.times_up == 1, "{status:?}");
        assert_eq!(a.plane.rules().unwrap().iter().map(|r| r.frames).sum::<u64>(), 2 * 216);
        let traffic = a.plane.traffic().unwrap();
        let entry = traffic.iter().find(|e| e.source == mac(1)).unwrap();
        assert_eq!((entry.sent_frames, entry.received_frames), (216, 0));
        let entry = traffic.iter().find(|e| e.source == mac(2)).unwrap();
        assert_eq!((entry.sent_frames, entry.received_frames), (0, 216));
    }
}

#[test]
fn a_frame_longer_than_any_datagram_arrives_in_pieces() {
    let [a, b] = pair(LinkKind::Udp, "127.0.0.1:0");
    let long = frame(mac(1), mac(2), &[7; 65_500]);
    a.send(&long);
    assert!(b.receive() == long);
    assert_eq!((a.link_status().split_frames, a.drops()), (1, BTreeMap::new()));
}

#[test]
fn what_has_no_way_is_dropped_and_counted() {
    let [a, b] = pair(LinkKind::Udp, "127.0.0.1:0");
    a.send(&frame(mac(1), mac(9), b"nobody"));
    a.send(b"short");
    a.plane.add_rule(NET, to_link(Destination::Exact(mac(8)), 1, 3)).unwrap();
    a.send(&frame(mac(1), mac(8), b"no link"));
    a.plane.add_rule(NET, to_interface(Destination::Exact(mac(7)), 7)).unwrap();
    a.send(&frame(mac(1), mac(7), b"no interface"));
    let expected = ["no-rule", "malformed", "no-link", "no-interface"].map(|r| (r.to_owned(), 1));
    wait_for(|| a.drops() == BTreeMap::from(expected.clone()));

    // The other end has gone for good, without a word: the link is down at once
    // at its `Close`, and frames are counted.
    drop(b);
    assert!(a.wait_down().contains("host2 is stopping"));
    a.send(&frame(mac(1), mac(2), b"late"));
    wait_for(|| a.drops().get("link-down") == Some(&1));
    wait_for(|| a.link_status().state.why.contains("refused"));
}

#[test]
fn a_loop_of_rules_ends_with_the_hop_limit() {
    let [a, b] = pair(LinkKind::Udp, "127.0.0.1:0");
    // A third daemon closes the triangle; each sends what it doesn't know on.
    let c = Daemon::start(3, "127.0.0.1:0", 3);
    c.link(LinkKind::Udp, 3, 1, Some(a.address()));
    c.link(LinkKind::Udp, 3, 2, Some(b.address()));
    a.link(LinkKind::Udp, 3, 1, None);
    b.link(LinkKind::Udp, 3, 2, None);
    (0..2).for_each(|_| c.wait_up());
    a.wait_up();
    b.wait_up();
    for (daemon, from, to) in [(&a, 1, 2), (&b, 2, 3), (&c, 3, 1)] {
        daemon.plane.add_rule(NET, to_link(Destination::Default, from, to)).unwrap();
    }
    a.send(&frame(mac(1), mac(9), b"round and round"));
    let limited = |d: &Daemon| d.drops().get("hop-limit").copied().unwrap_or(0);
    wait_for(|| limited(&a) + limited(&b) + limited(&c) == 1);
    let carried: u64 = [&a, &b, &c]
        .iter()
        .flat_map(|d| d.plane.rules().unwrap())
        .filter(|r| r.rule.destination == Destination::Default)
        .map(|r| r.frames)
        .sum();
    assert_eq!(carried, 65, "64 links, and the rule that found no more");
}

#[test]
fn networks_share_a_link_and_nothing_else() {
    let [a, b] = pair(LinkKind::Udp, "127.0.0.1:0");
    let other = NetworkId(2);
    let (port, vm_a) = channel::pair(16).unwrap();
    a.plane.add_port(InterfaceName::new("other").unwrap(), other, Box::new(port)).unwrap();
    let (port, vm_b) = channel::pair(16).unwrap();
    b.plane.add_port(InterfaceName::new("other").unwrap(), other, Box::new(port)).unwrap();
    a.plane.add_rule(other, to_link(Destination::Exact(mac(2)), 1, 2)).unwrap();
    // The same address in the other network, and a rule that points across.
    let into = Rule {
        action: Action::Interface(InterfaceName::new("other").unwrap()),
        ..to_interface(Destination::Exact(mac(2)), 2)
    };
    b.plane.add_rule(other, into).unwrap();
    b.plane.add_rule(other, to_interface(Destination::Exact(mac(2)), 2)).unwrap();

    assert!(vm_a.send(&frame(mac(1), mac(2), b"network 2")));
    assert_eq!(vm_b.receive_within(PATIENCE).unwrap(), frame(mac(1), mac(2), b"network 2"));
    wait_for(|| b.drops() == BTreeMap::from([("wrong-network".to_owned(), 1)]));
    a.send(&frame(mac(1), mac(2), b"network 1"));
    assert_eq!(b.receive(), frame(mac(1), mac(2), b"network 1"));
    assert_eq!(vm_b.receive(), None);
}

#[test]
fn a_version_goes_with_its_frame() {
    let [a, b] = pair(LinkKind::Udp, "127.0.0.1:0");
    let (port, second) = channel::pair(16).unwrap();
    b.plane.add_port(vm(7), NET, Box::new(port)).unwrap();
    let new = RuleVersion(1);
    a.plane.prepare_rules(NET, new, vec![to_link(Destination::Any, 1, 2)]).unwrap();
    b.plane.prepare_rules(NET, new, vec![to_interface(Destination::Any, 7)]).unwrap();
    a.send(&frame(mac(1), mac(2), b"old"));
    assert_eq!(b.receive(), frame(mac(1), mac(2), b"old"));
    // Only where the frame enters does the commit matter.
    a.plane.commit_rules(NET, new).unwrap();
    a.send(&frame(mac(1), mac(2), b"new"));
    assert_eq!(second.receive_within(PATIENCE).unwrap(), frame(mac(1), mac(2), b"new"));
    assert_eq!(a.plane.versions(), [(NET, new)]);
    assert_eq!(b.plane.versions(), [(NET, RuleVersion(0))]);
    b.plane.commit_rules(NET, new).unwrap();
    assert!(b.plane.retire_rules(NET, RuleVersion(0)).unwrap());
    assert!(b.plane.retire_rules(NET, new).is_err());
    assert!(b.plane.commit_rules(NET, RuleVersion(9)).is_err());
}

#[test]
fn a_killed_and_restarted_daemon_is_joined_again() {
    for kind in [LinkKind::Udp, LinkKind::Tcp] {
        for restarted_knows in [true, false] {
            let [a, b] = pair(kind, "127.0.0.1:0");
            let address_b = b.address();
            // `a` opens the link; so without knowing `b` it must be `b` that restarts.
            let (stays, mut goes, n) = if restarted_knows { (b, a, 1) } else { (a, b, 2) };
            let address = goes.address();
            for round in 0..3_u64 {
                drop(goes);
                stays.wait_down();
                std::thread::sleep(Duration::from_millis(50 * round));
                goes = Daemon::start(n, &address.to_string(), 100 + round);
                goes.link(kind, 1, 2, restarted_knows.then_some(address_b));
                goes.plane.add_rule(NET, to_link(Destination::Exact(mac(3 - n)), n, 3 - n)).unwrap();
                goes.wait_up();
                stays.wait_up();
                stays.send(&frame(mac(3 - n), mac(n), b"welcome back"));
                assert_eq!(goes.receive(), frame(mac(3 - n), mac(n), b"welcome back"));
            }
            assert_eq!(stays.link_status().times_up, 4);
        }
    }
}

#[test]
fn adding_again_is_fine_and_adding_another_is_not() {
    let [a, b] = pair(LinkKind::Udp, "127.0.0.1:0");
    a.link(LinkKind::Udp, 1, 2, Some(b.address()));
    a.link(LinkKind::Udp, 1, 2, None);
    assert!(a.link_status().state.up);
    let link = Link { kind: LinkKind::Tcp, opener: host(1), a: host(1), b: host(2) };
    let id = link.id();
    let conflict = a.plane.add_link(LinkSpec { link: link.clone(), peer: None });
    assert_eq!(conflict, Err(PlaneError::LinkConflict { link: id.clone() }));
    let foreign = Link { a: host(3), ..link };
    assert!(matches!(
        a.plane.add_link(LinkSpec { link: foreign, peer: None }),
        Err(PlaneError::ForeignLink { .. })
    ));
    let (port, _end) = channel::pair(1).unwrap();
    assert_eq!(
        a.plane.add_port(vm(1), NET, Box::new(port)),
        Err(PlaneError::InterfaceConflict { name: vm(1) })
    );
    a.plane.remove_link(&id).unwrap();
    assert_eq!(a.plane.remove_link(&id), Err(PlaneError::NoLink { link: id.clone() }));
    assert!(b.wait_down().contains("host1 has removed the link"));
    a.plane.remove_interface(&vm(1)).unwrap();
    assert_eq!(a.plane.remove_interface(&vm(1)), Err(PlaneError::NoInterface { name: vm(1) }));
    assert_eq!(LinkId::new(&host(1), &host(2)), id);
}

#[test]
fn no_address_no_links() {
    let plane = DataPlane::start(DataPlaneConfig::new(host(1))).unwrap();
    let link = Link { kind: LinkKind::Udp, opener: host(1), a: host(1), b: host(2) };
    assert_eq!(plane.add_link(LinkSpec { link, peer: None }), Err(PlaneError::NoAddress { host: host(1) }));
}

#[test]
fn an_address_in_use_is_an_error_that_says_so() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap();
    let config = DataPlaneConfig { bind: Some(bind), ..DataPlaneConfig::new(host(1)) };
    let error = DataPlane::start(config).err().expect("an error").to_string();
    assert!(error.contains(&format!("UDP {bind}")) && error.contains("another daemon"), "{error}");
}

#[test]
fn strange_datagrams_and_connections_do_no_harm() {
    let [a, b] = pair(LinkKind::Udp, "127.0.0.1:0");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..200_usize {
        let mut bytes: Vec<u8> = (0..length).map(|i| (i * 31 + length) as u8).collect();
        if length % 2 == 0 && length > 1 {
            (bytes[0], bytes[1]) = (1, (length % 8) as u8);
        }
        socket.send_to(&bytes, a.address()).unwrap();
    }
    let mut streams: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(a.address()).unwrap()).collect();
    for (n, stream) in streams.iter_mut().enumerate() {
        // The other end may have hung up already.
        let _ = std::io::Write::write_all(stream, &(n as u32).pow(5).to_be_bytes());
    }
    wait_for(|| a.drops().values().sum::<u64>() >= 200);
    a.send(&frame(mac(1), mac(2), b"as before"));
    assert_eq!(b.receive(), frame(mac(1), mac(2), b"as before"));
    assert!(a.link_status().state.up && a.link_status().times_up == 1);
}

#[test]
fn a_full_tcp_link_drops_and_counts_but_never_blocks() {
    let [a, b] = pair(LinkKind::Tcp, "127.0.0.1:0");
    // A peer that reads nothing: its VM's cable is full, which must not matter,
    // and a daemon in the way of 100 MB from here.
    let payload = vec![7; 60_000];
    let mut sent = 0_u64;
    for _ in 0..2_000 {
        a.send(&frame(mac(1), mac(2), &payload));
        sent += 1;
    }
    a.send(&frame(mac(1), mac(1), b"hairpin"));
    let count = |d: &Daemon, reason: &str| d.drops().get(reason).copied().unwrap_or(0);
    wait_for(|| count(&a, "only-back") == 1);
    let mut arrived = 0;
    wait_for(|| {
        arrived += std::iter::from_fn(|| b.vm.receive()).count() as u64;
        arrived + count(&a, "link-full") + count(&b, "interface-full") == sent
    });
    assert!(a.link_status().state.up && b.link_status().state.up);
}

#[test]
fn a_thousand_rules_changed_each_second_lose_nothing() {
    let [a, b] = pair(LinkKind::Tcp, "127.0.0.1:0");
    for n in 0..10_000 {
        a.plane.add_rule(NET, to_link(Destination::Exact(mac(1000 + n)), 1, 2)).unwrap();
    }
    let started = Instant::now();
    for round in 0..500 {
        let changed = to_link(Destination::Exact(mac(1000 + round)), 1, 2);
        assert!(a.plane.delete_rule(NET, &changed));
        assert!(a.plane.add_rule(NET, changed).unwrap());
        a.send(&frame(mac(1), mac(2), &(round as u64).to_be_bytes()));
    }
    let each = started.elapsed() / 1000;
    for round in 0..500_u64 {
        assert_eq!(b.receive(), frame(mac(1), mac(2), &round.to_be_bytes()));
    }
    assert_eq!(a.drops(), BTreeMap::new());
    assert_eq!(a.plane.rule_count(), 10_004);
    assert!(each < Duration::from_millis(1), "{each:?} for one change among 10,000 rules");
}

#[test]
fn the_traffic_matrix_is_bounded_and_says_what_it_misses() {
    let config = DataPlaneConfig { traffic_capacity: 10, ..DataPlaneConfig::new(host(1)) };
    let plane = DataPlane::start(config).unwrap();
    let (port, end) = channel::pair(100).unwrap();
    plane.add_port(vm(1), NET, Box::new(port)).unwrap();
    for n in 0..50 {
        assert!(end.send(&frame(mac(n), mac(99), b"")));
    }
    wait_for(|| plane.drops().unwrap().iter().any(|d| d.reason == "no-rule" && d.frames == 50));
    assert_eq!(plane.traffic().unwrap().len(), 10);
    let untracked = plane.untracked_traffic().unwrap();
    assert_eq!((untracked.frames, untracked.bytes), (40, 40 * 14));
}

#[test]
fn an_interface_whose_other_end_is_gone_is_down() {
    let a = Daemon::start(1, "127.0.0.1:0", 1);
    a.wait(|event| *event == Event::InterfaceUp { interface: vm(1) });
    let (port, end) = channel::pair(1).unwrap();
    a.plane.add_port(vm(2), NET, Box::new(port)).unwrap();
    drop(end);
    a.wait(|event| matches!(event, Event::InterfaceDown { interface, .. } if *interface == vm(2)));
    a.plane.add_rule(NET, to_interface(Destination::Exact(mac(2)), 2)).unwrap();
    a.send(&frame(mac(1), mac(2), b""));
    wait_for(|| a.drops() == BTreeMap::from([("interface-down".to_owned(), 1)]));
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it doesn't come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A daemon shares its data plane between threads and tasks.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<DataPlane>();
};

#[test]
fn arrivals_of_frames_and_probes_are_kept_for_whoever_measures_the_path() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let [a, b] = pair(LinkKind::Udp, bind);
        for _ in 0..3 {
            a.send(&frame(mac(1), mac(2), &[7; 100]));
            b.receive();
        }
        a.plane.probe(&host(2), 20, 1400).unwrap();
        let end = Instant::now() + PATIENCE;
        let mut entries = Vec::new();
        while entries.len() < 23 {
            assert!(Instant::now() < end, "only {entries:?}");
            for arrivals in b.plane.take_arrivals().unwrap() {
                assert_eq!((&arrivals.peer, arrivals.times_up), (&host(1), 1));
                entries.extend(arrivals.entries);
            }
        }
        let lengths: Vec<u32> = entries.iter().map(|arrival| arrival.bytes).collect();
        assert_eq!(lengths, [[24 + 24 + 114; 3].as_slice(), &[24 + 24 + 1400; 20]].concat());
        for pair in entries.windows(2) {
            assert!(pair[0].sequence < pair[1].sequence && pair[0].sent_ns <= pair[1].sent_ns, "{pair:?}");
            assert!(pair[0].arrived_ns <= pair[1].arrived_ns, "{pair:?}");
        }
        assert_eq!(b.drops(), BTreeMap::new(), "padding is nobody's and nobody's loss");
        assert_eq!(b.vm.receive(), None);
        assert_eq!(
            a.plane.probe(&host(3), 1, 100),
            Err(PlaneError::NoLink { link: LinkId::new(&host(1), &host(3)) })
        );
    }
}

#[test]
fn plain_links_work_between_daemons_that_both_want_them() {
    for kind in [LinkKind::Udp, LinkKind::Tcp] {
        let [a, b] = [1, 2].map(|n| Daemon::start_with(n, "127.0.0.1:0", 1, Encryption::None));
        assert_eq!(a.plane.public_key(), Ok(None));
        a.link(kind, 1, 2, Some(b.address()));
        b.link(kind, 1, 2, None);
        a.wait_up();
        b.wait_up();
    }
}

#[test]
fn key_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = std::env::temp_dir().join(format!("vnet-keys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("private.key");
    let key = PrivateKey::load_or_make(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(PrivateKey::load_or_make(&path).unwrap(), key);
    assert!(key.store(&path).is_err(), "a key is not written over");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = PrivateKey::load(&path).unwrap_err().to_string();
    assert!(error.contains("its mode is 640") && error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "no key").unwrap();
    let error = PrivateKey::load(&path).unwrap_err().to_string();
    assert!(error.contains("holds no key: a key is 44 characters"), "{error}");
    std::fs::remove_dir_all(&directory).unwrap();
}
