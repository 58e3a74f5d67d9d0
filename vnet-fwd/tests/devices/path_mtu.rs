//! The path MTU of a real network, and what it does to interfaces and frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use vnet_core::control::{InterfaceSpec, LinkSpec, LinkStatus, PortKind};
use vnet_core::{Action, EdgeRef, Link, LinkKind};
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, OffloadSwitches};

use crate::netns::NetNs;
use crate::{NET, echo_over_tcp, everything_to, host, name, status, wait_for, wait_up};

/// Two daemons on two hosts, a wire between those, and a TAP device at each.
struct TwoHosts {
    hosts: [NetNs; 2],
    planes: [DataPlane; 2],
}

/// What the daemons of [`TwoHosts`] may differ in.
#[derive(Clone, Copy, Debug)]
struct Settings {
    split_frames: bool,
    offloads: [OffloadSwitches; 2],
    /// The MTUs of the wire's ends.
    wires: [i32; 2],
    /// IPv6 under the link.
    v6: bool,
    /// The second daemon takes datagrams at all its addresses, of both families.
    any: bool,
}

const SAME: Settings = Settings {
    split_frames: true,
    offloads: [OffloadSwitches::ON; 2],
    wires: [1500; 2],
    v6: false,
    any: false,
};

impl TwoHosts {
    fn new(settings: Settings) -> Self {
        let hosts = [NetNs::new(), NetNs::new()];
        hosts[0].add_veth("wire0", &hosts[1], "wire0");
        let address = |n: u8| match settings.v6 {
            true => IpAddr::from([0xfd09, 0, 0, 0, 0, 0, 0, u16::from(n) + 1]),
            false => IpAddr::from([10, 9, 0, n + 1]),
        };
        let planes = [0, 1].map(|n: u8| {
            let own = &hosts[usize::from(n)];
            own.set_mtu("wire0", settings.wires[usize::from(n)]);
            own.add_address("wire0", address(n));
            let bind = if settings.any && n == 1 { Ipv6Addr::UNSPECIFIED.into() } else { address(n) };
            let config = DataPlaneConfig {
                bind: Some(SocketAddr::from((bind, 7700))),
                incarnation: u64::from(n) + 1,
                encryption: Encryption::None,
                split_frames: settings.split_frames,
                offloads: settings.offloads[usize::from(n)],
                ..DataPlaneConfig::new(host(usize::from(n)))
            };
            own.run(|| DataPlane::start(config).unwrap())
        });
        for n in 0..2 {
            let port = PortKind::Tap { device: "tap0".to_owned(), netns: None, create: true };
            let spec = InterfaceSpec { name: name("vm"), network: NET, mac: None, port };
            planes[n].add_interface(spec).unwrap();
            wait_up(&planes[n]);
            hosts[n].add_address("tap0", Ipv4Addr::new(10, 7, 0, n as u8 + 1));
            let edge = EdgeRef { from: host(n), to: host(1 - n) };
            for action in [Action::Interface(name("vm")), Action::Edge(edge)] {
                planes[n].add_rule(NET, everything_to(action)).unwrap();
            }
            let link = Link { kind: LinkKind::Udp, opener: host(0), a: host(0), b: host(1) };
            let peer = Some(SocketAddr::from((address(1 - n as u8), 7700)));
            planes[n].add_link(LinkSpec { link, peer }).unwrap();
        }
        let lab = Self { hosts, planes };
        (0..2).for_each(|n| lab.wait_for_mtu(n, 1500));
        lab
    }

    fn link(&self, n: usize) -> LinkStatus {
        self.planes[n].links().unwrap().remove(0)
    }

    fn wait_for_mtu(&self, n: usize, mtu: u32) {
        wait_for("the path MTU is found", || {
            let link = self.link(n);
            let found = link.path_mtu.unwrap_or(0);
            link.path_mtu_search == "complete" && found <= mtu && found + 8 > mtu
        });
    }

    /// A socket in each VM.
    fn sockets(&self) -> [UdpSocket; 2] {
        [0, 1].map(|n: u8| {
            let bind = || UdpSocket::bind((Ipv4Addr::new(10, 7, 0, n + 1), 7)).unwrap();
            let socket = self.hosts[usize::from(n)].run(bind);
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            socket
        })
    }
}

#[test]
fn a_path_that_shrinks_under_traffic_is_followed() {
    let lab = TwoHosts::new(SAME);
    // 1500 less IPv4, UDP, our header, and Ethernet.
    wait_for("the interface follows", || status(&lab.planes[0]).mtu == Some(1500 - 28 - 24 - 14));
    assert_eq!(status(&lab.planes[0]).mtu_problem, "");

    let [from, to] = lab.sockets();
    let shrunk_at = Instant::now() + Duration::from_millis(500);
    let (mut shrunk, mut last, mut longest) = (false, Instant::now(), Duration::ZERO);
    let mut buffer = [0; 2000];
    while Instant::now() < shrunk_at + Duration::from_secs(8) {
        if !shrunk && Instant::now() > shrunk_at {
            // Only there: what is too long vanishes without a word.
            lab.hosts[1].set_mtu("wire0", 1280);
            (shrunk, last) = (true, Instant::now());
        }
        from.send_to(&[7; 1390], (Ipv4Addr::new(10, 7, 0, 2), 7)).unwrap();
        if let Ok(length) = to.recv(&mut buffer) {
            assert_eq!(buffer[..length], [7; 1390]);
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest = longest.max(last.elapsed());
    assert!(longest < Duration::from_secs(5), "nothing arrived for {longest:?}");
    lab.wait_for_mtu(0, 1280);
    // Whole frames would need 1214, which is too little for IPv6.
    wait_for("the interface follows", || status(&lab.planes[0]).mtu == Some(1280));
    assert!(lab.link(0).split_frames > 0);
    assert_eq!(lab.link(0).not_fitting, 0);
}

#[test]
fn a_frame_of_1500_bytes_crosses_a_path_of_1500_in_pieces() {
    let lab = TwoHosts::new(SAME);
    wait_for("the interface follows", || status(&lab.planes[0]).mtu == Some(1434));
    // As a guest that knows nothing of the link.
    lab.hosts[0].set_mtu("tap0", 1500);
    let [from, to] = lab.sockets();
    let mut buffer = [0; 2000];
    wait_for("it arrives", || {
        from.send_to(&[9; 1472], (Ipv4Addr::new(10, 7, 0, 2), 7)).unwrap();
        to.recv(&mut buffer).is_ok_and(|length| buffer[..length] == [9; 1472])
    });
    assert!(lab.link(0).split_frames > 0);
}

#[test]
fn a_frame_that_is_too_long_is_dropped_with_a_counter_where_nothing_is_to_be_split() {
    let lab = TwoHosts::new(Settings { split_frames: false, ..SAME });
    wait_for("the interface follows", || status(&lab.planes[0]).mtu == Some(1434));
    lab.hosts[0].set_mtu("tap0", 1500);
    let [from, to] = lab.sockets();
    wait_for("it is counted", || {
        from.send_to(&[9; 1472], (Ipv4Addr::new(10, 7, 0, 2), 7)).unwrap();
        assert!(to.recv(&mut [0; 2000]).is_err());
        lab.link(0).not_fitting > 0
    });
    let drops = lab.planes[0].drops().unwrap();
    assert!(drops.iter().any(|drop| drop.reason == "path-mtu" && drop.frames > 0), "{drops:?}");
}

#[test]
fn daemons_of_different_settings_work_together() {
    let (on, off) = (OffloadSwitches::ON, OffloadSwitches::OFF);
    let settings = [
        Settings { offloads: [on, off], ..SAME },
        Settings { offloads: [off, on], ..SAME },
        Settings { wires: [9000, 1500], ..SAME },
        Settings { wires: [1500, 9000], split_frames: false, offloads: [off, on], ..SAME },
        Settings { v6: true, ..SAME },
        Settings { v6: true, wires: [9000, 1500], offloads: [on, off], any: true, ..SAME },
        Settings { any: true, ..SAME },
    ];
    for settings in settings {
        println!("{settings:?}");
        let lab = TwoHosts::new(settings);
        echo_over_tcp(&lab.hosts, 300_000);
        assert_eq!(lab.link(0).not_fitting + lab.link(1).not_fitting, 0);
    }
}
