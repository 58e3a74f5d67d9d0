//! A frame whose flow is cached costs no allocation, nor do its encryption and
//! whatever strangers send.
#![allow(clippy::unwrap_used)] // a test

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use vnet_core::encap::{Header, Kind};
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, LinkId, MacAddr, NetworkId, Rule, RuleVersion,
    Source,
};
use vnet_fwd::link::Path;
use vnet_fwd::secure::{Guard, Opened, PeerId, SEAL_BACK, SEAL_FRONT, SecureOptions};
use vnet_fwd::{Forwarder, FrameInfo, Ingress, PortId, PrivateKey, RuleBook};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FLOWS: u32 = 1000;
const NET: NetworkId = NetworkId(0);

fn host(n: u32) -> HostName {
    HostName::new(&format!("host{n}")).unwrap()
}

/// Every second flow goes to the interface, the others over seven links.
fn engine() -> (RuleBook, Forwarder, [PortId; 2]) {
    let mut book = RuleBook::new(host(0));
    let mut forwarder = Forwarder::new(book.reader(), 64, 1 << 13, 1 << 13);
    let vm = InterfaceName::new("vm").unwrap();
    let other = forwarder.add_interface(InterfaceName::new("other").unwrap(), NET);
    forwarder.add_interface(vm.clone(), NET);
    let links: Vec<PortId> = (1..=7).map(|n| forwarder.add_link(LinkId::new(&host(0), &host(n)))).collect();
    for n in 0..FLOWS {
        let destination = Destination::Exact(MacAddr::local(n));
        let mut add = |action| book.add(NET, Rule { source: Source::Any, destination, action }).unwrap();
        if n.is_multiple_of(2) {
            add(Action::Interface(vm.clone()));
        } else {
            (1..=7).for_each(|n| assert!(add(Action::Edge(EdgeRef { from: host(0), to: host(n) }))));
        }
    }
    (book, forwarder, [other, links[0]])
}

fn forward_all(forwarder: &mut Forwarder, [interface, link]: [PortId; 2]) -> u64 {
    let mut outputs = 0;
    let header = Header {
        kind: Kind::Frame,
        hop_limit: 9,
        rule_version: RuleVersion(0),
        network: NET,
        sequence: 0,
        timestamp: 0,
    };
    for n in 0..FLOWS {
        let info =
            FrameInfo { source: MacAddr::local(9), destination: MacAddr::local(n), bytes: 1500, frames: 1 };
        for ingress in [Ingress::Interface(interface), Ingress::Link(link, header)] {
            forwarder.refresh();
            forwarder.forward(ingress, info, |_, _| {
                outputs += 1;
                Ok(())
            });
        }
    }
    outputs
}

#[test]
fn a_cached_flow_is_forwarded_without_an_allocation() {
    let (_book, mut forwarder, ports) = engine();
    // The cache grows to its size in the first rounds.
    for _ in 0..3 {
        forward_all(&mut forwarder, ports);
    }
    forwarder.flush_counts();
    let before = ALLOCATIONS.get();
    let outputs: u64 = (0..100).map(|_| forward_all(&mut forwarder, ports)).sum();
    assert_eq!(ALLOCATIONS.get() - before, 0);
    // To the interface from both sides; over seven links, or six and not back.
    assert_eq!(outputs, 100 * (u64::from(FLOWS) + u64::from(FLOWS / 2) * 13));
}

#[test]
fn rules_that_change_for_others_cost_a_cached_flow_no_allocation() {
    let (mut book, mut forwarder, ports) = engine();
    for _ in 0..3 {
        forward_all(&mut forwarder, ports);
    }
    let mut expected = forward_all(&mut forwarder, ports);
    let rule = |n| Rule {
        source: Source::Any,
        destination: Destination::Exact(MacAddr::local(n)),
        action: Action::Interface(InterfaceName::new("vm").unwrap()),
    };
    for n in 0..10 {
        book.add(NET, rule(FLOWS + n)).unwrap();
        forwarder.flush_counts();
        let before = ALLOCATIONS.get();
        assert_eq!(forward_all(&mut forwarder, ports), expected);
        assert_eq!(ALLOCATIONS.get() - before, 0);
    }
    // And those that are about it apply at once: one more output on the way from either side.
    book.add(NET, rule(1)).unwrap();
    expected += 2;
    assert_eq!(forward_all(&mut forwarder, ports), expected);
    assert!(book.delete(NET, &rule(1)));
    assert_eq!(forward_all(&mut forwarder, ports), expected - 2);
}

/// Two ends that have agreed on keys.
fn guards(now: Instant) -> ([Guard; 2], [PeerId; 2]) {
    let keys = [1, 2].map(|n| PrivateKey::from_bytes([n; 32]));
    let guard = |n: usize| {
        let options = SecureOptions::default();
        Guard::new(&keys[n], options, [n as u8; 32], Duration::from_secs(1), now)
    };
    let mut guards = [guard(0), guard(1)];
    let peers = [0, 1].map(|n| guards[n].allow(host(1 - n as u32), keys[1 - n].public()).unwrap());
    guards[0].greet(peers[0], PATH, &[], now).unwrap();
    for to in [1, 0, 1] {
        let (_, mut packet) = guards[1 - to].poll_transmit().unwrap();
        assert_eq!(guards[to].open(PATH, &mut packet, now), Ok(Opened::Handled));
    }
    (guards, peers)
}

const PATH: Path = Path::Udp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7700));

#[test]
#[allow(clippy::disallowed_methods)] // a test starts its own clock
fn encryption_allocates_nothing_for_messages_nor_for_strangers() {
    let now = Instant::now();
    let ([mut a, mut b], [peer, _]) = guards(now);
    let mut packet = [7; SEAL_FRONT + 1400 + SEAL_BACK];
    let mut round = |n: u32| {
        a.seal(peer, &mut packet).unwrap();
        let mut copy = packet;
        assert!(matches!(b.open(PATH, &mut copy, now), Ok(Opened::Message { .. })));
        // Again, with a wrong bit, cut, and nonsense of every kind.
        copy = packet;
        assert!(b.open(PATH, &mut copy, now).is_err());
        copy = packet;
        copy[100] ^= 1;
        assert!(b.open(PATH, &mut copy, now).is_err());
        copy = packet;
        assert!(b.open(PATH, &mut copy[..SEAL_FRONT + 300], now).is_err());
        for kind in 0x80..=0x85 {
            copy = packet;
            copy[0] = kind;
            copy[4..8].copy_from_slice(&n.to_be_bytes());
            assert!(b.open(PATH, &mut copy[..600], now).is_err());
        }
    };
    round(0);
    let before = ALLOCATIONS.get();
    (1..10_000).for_each(round);
    // The library of primitives has a few of its own for each MAC that a
    // stranger's first message costs; they are gone at once.
    let per_round = (ALLOCATIONS.get() - before) as f64 / 9_999.0;
    assert!(per_round < 0.001, "{per_round} allocations in a round");
}
