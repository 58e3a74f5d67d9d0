//! What a data plane costs while nothing happens. One test alone in its process,
//! since it looks at the whole process.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::time::Duration;

use vnet_core::control::LinkSpec;
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, Link, LinkKind, MacAddr, NetworkId, Rule, Source,
};
use vnet_fwd::{DataPlane, DataPlaneConfig, channel};

const NET: NetworkId = NetworkId(0);

fn host(n: usize) -> HostName {
    HostName::new(&format!("host{n}")).unwrap()
}

/// A line of `/proc/self/status`, in KiB.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time of this process, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn an_idle_plane_takes_little_memory_and_no_time() {
    let bind = Some("127.0.0.1:0".parse().unwrap());
    let plane = DataPlane::start(DataPlaneConfig { bind, ..DataPlaneConfig::new(host(0)) }).unwrap();
    // What might keep it busy: a port taken away with frames in it, whose other
    // end is still there; links that nobody answers; an open connection.
    let (port, end) = channel::pair(16).unwrap();
    let name = InterfaceName::new("vm").unwrap();
    plane.add_port(name.clone(), NET, Box::new(port)).unwrap();
    plane.remove_interface(&name).unwrap();
    let _ = end.send(&[0; 60]);
    for (n, kind) in [(1, LinkKind::Udp), (2, LinkKind::Tcp)] {
        let link = Link { kind, opener: host(0), a: host(0), b: host(n) };
        let peer = Some("127.0.0.1:9".parse().unwrap());
        plane.add_link(LinkSpec { link, peer }).unwrap();
    }
    let _stranger = std::net::TcpStream::connect(plane.address().unwrap()).unwrap();
    // Through the first, quick tries.
    std::thread::sleep(Duration::from_secs(2));
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    let spent = ticks() - before;
    assert!(spent <= 20, "{spent}0 ms of processor time in a second of idleness");
    let idle = memory("VmRSS:");
    assert!(idle < 10 << 10, "{idle} KiB resident when idle");

    for n in 0..10_000 {
        let action = Action::Edge(EdgeRef { from: host(0), to: host(n as usize % 100 + 1) });
        let destination = Destination::Exact(MacAddr::local(n));
        plane.add_rule(NET, Rule { source: Source::Any, destination, action }).unwrap();
    }
    let loaded = memory("VmRSS:");
    assert!(loaded < 40 << 10, "{loaded} KiB resident with 10,000 rules");
    println!("resident: {idle} KiB idle, {loaded} KiB with 10,000 rules; {spent}0 ms in an idle second");
}
