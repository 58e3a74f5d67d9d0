//! A frame whose flow is cached costs no allocation.
#![allow(clippy::unwrap_used)] // a test

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vnet_core::encap::{Header, Kind};
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, LinkId, MacAddr, NetworkId, Rule, RuleVersion,
    Source,
};
use vnet_fwd::{Forwarder, FrameInfo, Ingress, PortId, RuleBook};

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
        let info = FrameInfo { source: MacAddr::local(9), destination: MacAddr::local(n), bytes: 1500 };
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
