//! Data planes on real devices: TAP and veth in network namespaces of their own.
//! Needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

mod netns;
mod path_mtu;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use netns::NetNs;
use vnet_core::control::{InterfaceSpec, InterfaceStatus, LinkSpec, PortKind};
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, Link, LinkKind, MacAddr, NetworkId, Rule, Source,
};
use vnet_fwd::channel::{self, ChannelEnd};
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, PlaneError};

const NET: NetworkId = NetworkId(0);
/// Far more than anything here takes, for machines that are busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

fn host(n: usize) -> HostName {
    HostName::new(&format!("host{n}")).unwrap()
}

fn name(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

fn tap(netns: &NetNs, create: bool) -> InterfaceSpec {
    let port = PortKind::Tap { device: "tap0".to_owned(), netns: Some(netns.path()), create };
    InterfaceSpec { name: name("vm"), network: NET, mac: None, port }
}

fn packet(netns: &NetNs, device: &str) -> InterfaceSpec {
    let port = PortKind::Packet { device: device.to_owned(), netns: Some(netns.path()) };
    InterfaceSpec { name: name("vm"), network: NET, mac: None, port }
}

fn everything_to(action: Action) -> Rule {
    Rule { source: Source::Any, destination: Destination::Any, action }
}

fn start(n: usize) -> DataPlane {
    let bind = Some("127.0.0.1:0".parse().unwrap());
    let config = DataPlaneConfig { bind, incarnation: n as u64, ..DataPlaneConfig::new(host(n)) };
    DataPlane::start(DataPlaneConfig { encryption: Encryption::None, ..config }).unwrap()
}

fn status(plane: &DataPlane) -> InterfaceStatus {
    plane.interfaces().unwrap().remove(0)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it doesn't come to pass: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

fn wait_up(plane: &DataPlane) -> Duration {
    wait_for("the interface is up", || status(plane).state.up)
}

fn wait_why(plane: &DataPlane, text: &str) {
    wait_for(text, || !status(plane).state.up && status(plane).state.why.contains(text));
}

/// A data plane between the interface `vm` and an in-memory end, both of which
/// get whatever comes from the other.
fn bridged(spec: InterfaceSpec) -> (DataPlane, ChannelEnd) {
    let plane = DataPlane::start(DataPlaneConfig::new(host(1))).unwrap();
    let (port, end) = channel::pair(1024).unwrap();
    plane.add_port(name("memory"), NET, Box::new(port)).unwrap();
    for interface in ["memory", "vm"] {
        plane.add_rule(NET, everything_to(Action::Interface(name(interface)))).unwrap();
    }
    plane.add_interface(spec).unwrap();
    (plane, end)
}

/// An Ethernet frame of an experimental type, which no kernel answers.
fn frame(payload: &[u8]) -> Vec<u8> {
    [&MacAddr::BROADCAST.0[..], &MacAddr::local(7).0, &[0x88, 0xb5], payload].concat()
}

/// Writes a frame to a device until it comes out of the plane: the kernel drops
/// what is sent before it has noticed that the device is connected.
fn write_until_heard(raw: &mut File, frame: &[u8], end: &ChannelEnd) {
    wait_for("the frame is heard", || {
        raw.write_all(frame).unwrap();
        std::iter::from_fn(|| end.receive_within(Duration::from_millis(20))).take(100).any(|f| f == frame)
    });
}

/// The same in the other direction.
fn send_until_read(end: &ChannelEnd, frame: &[u8], raw: &mut File) {
    let mut buffer = vec![0; 70_000];
    wait_for("the frame is read", || {
        assert!(end.send(frame));
        std::thread::sleep(Duration::from_millis(5));
        (0..100).any(|_| raw.read(&mut buffer).is_ok_and(|length| buffer[..length] == *frame))
    });
}

/// Two namespaces as VMs, each behind its own daemon, and a link between those.
/// Sends `bytes` from the first VM to the second through TCP, and back.
fn echo_over_tcp(vms: &[NetNs; 2], bytes: usize) {
    let listener = vms[1].run(|| TcpListener::bind(TwoVms::address(2, 9)).unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = vec![0; bytes];
        stream.read_exact(&mut received).unwrap();
        stream.write_all(&received).unwrap();
    });
    let mut stream = vms[0].run(|| TcpStream::connect(TwoVms::address(2, 9)).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent: Vec<u8> = (0..bytes).map(|i| (i * 7 / 3) as u8).collect();
    stream.write_all(&sent).unwrap();
    let mut echoed = vec![0; bytes];
    stream.read_exact(&mut echoed).unwrap();
    assert!(sent == echoed, "what comes back is what was sent");
    server.join().unwrap();
}

struct TwoVms {
    namespaces: [NetNs; 2],
    planes: [DataPlane; 2],
}

impl TwoVms {
    fn new(make: impl Fn(&NetNs) -> InterfaceSpec, device: &str) -> Self {
        let namespaces = [NetNs::new(), NetNs::new()];
        let planes = [start(1), start(2)];
        for (n, (plane, namespace)) in planes.iter().zip(&namespaces).enumerate() {
            plane.add_interface(make(namespace)).unwrap();
            let edge = EdgeRef { from: host(n + 1), to: host(2 - n) };
            plane.add_rule(NET, everything_to(Action::Interface(name("vm")))).unwrap();
            plane.add_rule(NET, everything_to(Action::Edge(edge))).unwrap();
            let link = Link { kind: LinkKind::Udp, opener: host(1), a: host(1), b: host(2) };
            let peer = planes[1 - n].address();
            plane.add_link(LinkSpec { link, peer }).unwrap();
        }
        for (n, (plane, namespace)) in planes.iter().zip(&namespaces).enumerate() {
            wait_up(plane);
            wait_for("the link is up", || plane.links().unwrap()[0].state.up);
            namespace.add_address(device, Ipv4Addr::new(10, 7, 0, n as u8 + 1));
        }
        Self { namespaces, planes }
    }

    fn address(n: u8, port: u16) -> SocketAddr {
        (Ipv4Addr::new(10, 7, 0, n), port).into()
    }

    fn echo_over_tcp(&self, bytes: usize) {
        echo_over_tcp(&self.namespaces, bytes);
    }

    fn echo_over_udp(&self) {
        let [client, server] = [(0, 1), (1, 2)].map(|(n, address)| {
            self.namespaces[n].run(|| UdpSocket::bind(Self::address(address, 7)).unwrap())
        });
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let mut buffer = [0; 2000];
        for length in [0, 1, 1000, 1001, 1400] {
            client.send_to(&vec![length as u8; length], Self::address(2, 7)).unwrap();
            let (got, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(got, length);
            server.send_to(&buffer[..got], from).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), length);
            assert_eq!(buffer[..length], vec![length as u8; length]);
        }
    }
}

#[test]
fn virtual_machines_talk_over_tap_devices() {
    let vms = TwoVms::new(
        |namespace| {
            namespace.add_tap("tap0");
            tap(namespace, false)
        },
        "tap0",
    );
    vms.echo_over_udp();
    vms.echo_over_tcp(1 << 20);
    let counted = status(&vms.planes[0]);
    assert!(counted.received_bytes > 1 << 20 && counted.sent_bytes > 1 << 20, "{counted:?}");
    assert_eq!(counted.send_errors, 0);
}

/// Segmentation offload has to be off under a packet port; checksum offload,
/// which is on here, has not. Small writes keep TCP from segmenting.
#[test]
fn virtual_machines_talk_over_packet_sockets_on_veth() {
    let daemons = NetNs::new();
    let next = std::cell::Cell::new(0);
    let vms = TwoVms::new(
        |namespace| {
            let device = format!("host{}", next.replace(next.get() + 1));
            namespace.add_veth("eth0", &daemons, &device);
            packet(&daemons, &device)
        },
        "eth0",
    );
    vms.echo_over_udp();
    vms.echo_over_tcp(1000);
}

#[test]
fn super_frames_of_a_device_are_cut_for_ports_that_do_not_take_them() {
    let [daemon, vm] = [NetNs::new(), NetNs::new()];
    vm.add_veth("eth0", &daemon, "host0");
    let (plane, end) = bridged(packet(&daemon, "host0"));
    wait_up(&plane);
    vm.add_address("eth0", Ipv4Addr::new(10, 7, 0, 1));
    let socket = vm.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_broadcast(true).unwrap();
    segment(&socket, 500);
    let payload: Vec<u8> = (0..5000_u32).map(|n| (n / 500) as u8).collect();
    let mut heard = Vec::new();
    wait_for("the datagrams come one by one", || {
        socket.send_to(&payload, (Ipv4Addr::new(10, 7, 0, 255), 9)).unwrap();
        heard.extend(std::iter::from_fn(|| end.receive_within(Duration::from_millis(20))));
        heard.retain(|frame: &Vec<u8>| frame[12..14] == [8, 0] && frame.len() == 542);
        heard.len() >= 10
    });
    for (n, frame) in heard[..10].iter().enumerate() {
        assert!(frame[42..].iter().all(|byte| usize::from(*byte) == n), "datagram {n}: {frame:?}");
        let layout = vnet_fwd::offload::Layout::of(frame).unwrap();
        assert!(layout.is_exact(frame) && layout.verify_checksum(frame), "datagram {n}: {frame:?}");
    }
    assert!(plane.drops().unwrap().iter().all(|drop| drop.reason != "unsegmented" || drop.frames == 0));
}

/// Has the kernel cut what is sent into datagrams of `bytes` (`UDP_SEGMENT`).
fn segment(socket: &UdpSocket, bytes: i32) {
    let fd = std::os::fd::AsRawFd::as_raw_fd(socket);
    let pointer = (&raw const bytes).cast();
    // SAFETY: the option's value is an integer that outlives the call.
    let result = unsafe { libc::setsockopt(fd, libc::SOL_UDP, libc::UDP_SEGMENT, pointer, 4) };
    assert_eq!(result, 0, "UDP_SEGMENT");
}

#[test]
fn packet_sockets_keep_vlan_tags_and_do_not_hear_themselves() {
    let [daemon, vm] = [NetNs::new(), NetNs::new()];
    vm.add_veth("eth0", &daemon, "host0");
    let (plane, end) = bridged(packet(&daemon, "host0"));
    wait_up(&plane);
    let mut raw = vm.raw_socket("eth0");
    let tagged =
        [&MacAddr::BROADCAST.0[..], &MacAddr::local(7).0, &[0x81, 0x00, 0x00, 0x2a, 0x88, 0xb5, 1, 2, 3]]
            .concat();
    write_until_heard(&mut raw, &tagged, &end);
    // The other way: it comes out of the device, and is not read back.
    send_until_read(&end, &frame(b"out"), &mut raw);
    write_until_heard(&mut raw, &frame(b"in"), &end);
    assert!(std::iter::from_fn(|| end.receive()).all(|heard| heard != frame(b"out")));
}

#[test]
fn a_device_that_is_missing_is_waited_for_and_never_made() {
    let namespace = NetNs::new();
    let (plane, end) = bridged(tap(&namespace, false));
    wait_why(&plane, "there is no device tap0");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!namespace.has("tap0"));
    namespace.add_tap("tap0");
    let after = wait_up(&plane);
    assert!(after < Duration::from_secs(5), "{after:?}");
    let mut raw = namespace.raw_socket("tap0");
    send_until_read(&end, &frame(b"to the device"), &mut raw);
}

#[test]
fn a_tap_that_is_deleted_under_the_daemon_is_taken_up_again() {
    let namespace = NetNs::new();
    namespace.add_tap("tap0");
    let (plane, end) = bridged(tap(&namespace, false));
    wait_up(&plane);
    for round in 0..3_u8 {
        namespace.delete("tap0");
        wait_why(&plane, "there is no device tap0");
        assert!(!namespace.has("tap0"));
        namespace.add_tap("tap0");
        wait_up(&plane);
        let mut raw = namespace.raw_socket("tap0");
        write_until_heard(&mut raw, &frame(&[round]), &end);
    }
}

#[test]
fn a_veth_that_is_deleted_or_taken_down_is_taken_up_again() {
    let [daemon, vm] = [NetNs::new(), NetNs::new()];
    vm.add_veth("eth0", &daemon, "host0");
    let (plane, end) = bridged(packet(&daemon, "host0"));
    wait_up(&plane);
    daemon.set_up("host0", false);
    wait_why(&plane, "host0 is administratively down");
    daemon.set_up("host0", true);
    wait_up(&plane);
    vm.delete("eth0");
    wait_why(&plane, "there is no device host0");
    vm.add_veth("eth0", &daemon, "host0");
    wait_up(&plane);
    write_until_heard(&mut vm.raw_socket("eth0"), &frame(b"back"), &end);
}

#[test]
fn a_device_of_our_own_comes_and_goes_with_the_interface() {
    let namespace = NetNs::new();
    let (plane, end) = bridged(tap(&namespace, true));
    wait_up(&plane);
    let mut raw = namespace.raw_socket("tap0");
    send_until_read(&end, &frame(b"it is up"), &mut raw);
    plane.remove_interface(&name("vm")).unwrap();
    wait_for("the device is gone", || !namespace.has("tap0"));
}

#[test]
fn a_device_moves_from_one_daemon_to_another() {
    let namespace = NetNs::new();
    namespace.add_tap("tap0");
    let (first, _end) = bridged(tap(&namespace, false));
    wait_up(&first);
    let (second, end) = bridged(tap(&namespace, false));
    wait_why(&second, "tap0 is in use by another program");
    first.remove_interface(&name("vm")).unwrap();
    wait_up(&second);
    write_until_heard(&mut namespace.raw_socket("tap0"), &frame(b"here now"), &end);
}

#[test]
fn the_status_says_what_is_wrong_with_a_device() {
    let namespace = NetNs::new();
    namespace.add_tap("tap0");
    namespace.set_up("tap0", false);
    let (plane, end) = bridged(tap(&namespace, false));
    wait_up(&plane);
    assert!(end.send(&frame(b"to a device that is down")));
    wait_why(&plane, "tap0 is administratively down");
    let down = plane.drops().unwrap().into_iter().find(|d| d.reason == "interface-down").unwrap();
    assert_eq!(down.frames, 1);
    namespace.set_up("tap0", true);
    assert!(end.send(&frame(b"to a device that is up")));
    wait_up(&plane);

    let [daemon, vm] = [NetNs::new(), NetNs::new()];
    vm.add_veth("tap0", &daemon, "host0");
    let (plane, _end) = bridged(tap(&vm, false));
    wait_why(&plane, "tap0 is not a TAP device");

    let mut gone = tap(&namespace, false);
    gone.port = PortKind::Packet { device: "eth0".to_owned(), netns: Some("/run/netns/no-such".into()) };
    let (plane, _end) = bridged(gone);
    wait_why(&plane, "network namespace /run/netns/no-such: No such file");
}

#[test]
fn interfaces_are_checked_before_they_are_opened() {
    let namespace = NetNs::new();
    namespace.add_tap("tap0");
    let (plane, _end) = bridged(tap(&namespace, false));
    plane.add_interface(tap(&namespace, false)).unwrap();
    let other = InterfaceSpec { network: NetworkId(5), ..tap(&namespace, false) };
    assert_eq!(plane.add_interface(other), Err(PlaneError::InterfaceConflict { name: name("vm") }));
    for device in ["", "a-name-of-16-byte", "a/b", "a b", ".."] {
        let bad = InterfaceSpec { name: name("bad"), ..packet(&namespace, device) };
        assert_eq!(plane.add_interface(bad), Err(PlaneError::BadDevice { device: device.to_owned() }));
    }
    assert_eq!(plane.interfaces().unwrap().len(), 1);
}
