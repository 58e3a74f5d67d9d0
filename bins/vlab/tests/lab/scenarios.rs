//! What happens inside a laboratory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vlab::wan::Figures;
use vlab::{Host, Lab, LabError, LabSpec, Machine, NicKind, VmPort};
use vnet_core::control::PortKind;
use vnet_core::{Bandwidth, HostName, InterfaceName};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("nics_are_of_the_kind_asked_for", nics_are_of_the_kind_asked_for),
    ("paths_have_their_latency", paths_have_their_latency),
    ("paths_have_their_rate", paths_have_their_rate),
    ("the_network_changes_while_it_runs", the_network_changes_while_it_runs),
    ("unknown_addresses_are_resolved", unknown_addresses_are_resolved),
    ("a_vm_keeps_its_connections_when_rehomed", a_vm_keeps_its_connections_when_rehomed),
    ("a_vm_keeps_its_sockets_without_a_nic", a_vm_keeps_its_sockets_without_a_nic),
    ("processes_run_where_they_are_put", processes_run_where_they_are_put),
    ("dropping_a_lab_ends_what_runs_in_it", dropping_a_lab_ends_what_runs_in_it),
    ("a_large_lab_is_built_fast", a_large_lab_is_built_fast),
    ("many_frames_per_second_come_through", many_frames_per_second_come_through),
];

const MS: Duration = Duration::from_millis(1);

/// For what comes at once unless the machine is very busy.
const SOON: Duration = Duration::from_secs(10);

fn nics_are_of_the_kind_asked_for() {
    let lab = Lab::build(&LabSpec::papers()).unwrap();
    let tun = std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_ok();
    let expected = match std::env::var("VLAB_NICS").as_deref() {
        Ok("tap") => NicKind::Tap,
        Ok("veth") => NicKind::Veth,
        _ if tun => NicKind::Tap,
        _ => NicKind::Veth,
    };
    assert_eq!(lab.nic_kind(), expected);
    let kind = lab.vms()[0].attachment();
    assert_eq!(matches!(kind, PortKind::Tap { create: false, .. }), expected == NicKind::Tap);
    assert_eq!(matches!(kind, PortKind::Packet { .. }), expected == NicKind::Veth);

    let clash = Lab::build(&LabSpec::papers()).map(drop).unwrap_err();
    assert!(matches!(&clash, LabError::NameInUse { name } if name == "fast1"), "{clash}");
    drop(lab);
    drop(Lab::build(&LabSpec::papers()).unwrap());
}

fn paths_have_their_latency() {
    let spec = LabSpec::papers();
    let lab = Lab::build(&spec).unwrap();
    let from = host(&lab, "fast1");
    for to in ["fast2", "slow1", "far1", "proxy"].map(|name| host(&lab, name)) {
        let one_way = spec.path(from.name(), to.name()).unwrap().latency;
        let echo = UdpPair::new(from, to);
        let best = (0..20).filter_map(|n| echo.round_trip(n)).min().expect("no answer at all");
        println!("{} - {}: {best:?} for twice {one_way:?}", from.name(), to.name());
        assert!(best >= (one_way * 2).saturating_sub(2 * MS), "faster than light: {best:?}");
        assert!(best <= one_way * 2 + 20 * MS, "{best:?}");
    }
}

fn paths_have_their_rate() {
    let spec = LabSpec::papers();
    let lab = Lab::build(&spec).unwrap();
    for (from, to) in [("fast1", "fast2"), ("fast1", "slow1"), ("proxy", "fast1")] {
        let (from, to) = (host(&lab, from), host(&lab, to));
        let truth = spec.path(from.name(), to.name()).unwrap().bandwidth.mbit();
        let udp = udp_mbit(from, to, truth * 1.5, Duration::from_secs(1));
        let tcp = tcp_mbit(from, to, Duration::from_secs(1));
        println!("{} - {}: UDP {udp:.2}, TCP {tcp:.2} of {truth} Mbit/s", from.name(), to.name());
        assert!((truth * 0.9..truth * 1.05).contains(&udp));
        // TCP hands over in bursts what a retransmission had held up.
        assert!((truth * 0.4..truth * 1.4).contains(&tcp));
    }
}

fn the_network_changes_while_it_runs() {
    let lab = Lab::build(&LabSpec::papers()).unwrap();
    let (a, b) = (host(&lab, "fast1"), host(&lab, "slow1"));
    let bystander = UdpPair::new(host(&lab, "fast2"), b);
    let pair = UdpPair::new(a, b);
    assert!(pair.answers());

    lab.wan().cut("fast", "slow").unwrap();
    assert!(!pair.round_trip_within(7, 100 * MS));
    assert!(lab.wan().path_counters("fast", "slow").unwrap().unwrap().dropped_cut > 0);
    lab.wan().heal("slow", "fast").unwrap();
    assert!(pair.answers());

    lab.wan().cut("fast1", "slow1").unwrap();
    assert!(!pair.round_trip_within(8, 100 * MS));
    assert!(bystander.answers());
    lab.wan().heal("fast1", "slow1").unwrap();
    assert!(pair.answers());

    lab.wan().cut_host(b.name()).unwrap();
    assert!(!pair.round_trip_within(9, 100 * MS));
    lab.wan().heal_host(b.name()).unwrap();
    assert!(pair.answers());

    lab.wan().set_path("fast", "slow", Figures::delay(80 * MS)).unwrap();
    let slow = pair.round_trip(10).unwrap();
    assert!(slow >= 160 * MS, "{slow:?}");
    let (up, _) = lab.wan().access_counters(a.name()).unwrap();
    assert!(up.frames >= 6 && up.bytes >= up.frames * 42, "{up:?}");
    assert_eq!(lab.wan().overruns(), 0);

    let error = lab.wan().cut("fast", "slow1").unwrap_err().to_string();
    assert!(error.contains("two sites, or two hosts"), "{error}");
    let error = lab.wan().cut("fsat", "slow").unwrap_err().to_string();
    assert!(error.contains("no site or host is named `fsat`; there are fast, slow"), "{error}");
}

/// Broadcasts cross the network: VMs here are bridged by hand, and ask for
/// each other's MAC addresses.
fn unknown_addresses_are_resolved() {
    let lab = Lab::build(&LabSpec::lan(1, Bandwidth::from_mbit(100), MS).with_vms(3)).unwrap();
    let ports: Vec<VmPort> = lab.vms().iter().map(|vm| vm.open().unwrap()).collect();
    with_hub(&ports, || {
        assert!(UdpPair::new(&lab.vms()[0], &lab.vms()[2]).answers());
        assert!(UdpPair::new(&lab.vms()[2], &lab.vms()[1]).answers());
    });
}

fn a_vm_keeps_its_connections_when_rehomed() {
    let lab = Lab::build(&LabSpec::lan(1, Bandwidth::from_mbit(100), MS).with_vms(2)).unwrap();
    let (a, b) = (&lab.vms()[0], &lab.vms()[1]);
    let open = || [a.open().unwrap(), b.open().unwrap()];
    let (mut client, mut server) = {
        let first = open();
        with_hub(&first, || tcp_pair(a, b))
        // The first daemon closes the ports here.
    };
    client.write_all(b"sent while nobody carries frames").unwrap();
    std::thread::sleep(300 * MS);
    let mut text = [0; 32];
    with_hub(&open(), || {
        server.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"sent while nobody carries frames");
        server.write_all(b"back").unwrap();
        client.read_exact(&mut text[..4]).unwrap();
    });
}

fn a_vm_keeps_its_sockets_without_a_nic() {
    let lab = Lab::build(&LabSpec::lan(1, Bandwidth::from_mbit(100), MS).with_vms(2)).unwrap();
    lab.populate_neighbours().unwrap();
    let (a, b) = (&lab.vms()[0], &lab.vms()[1]);
    let attachment = b.attachment();
    let pair = UdpPair::new(a, b);
    with_hub(&[a.open().unwrap(), b.open().unwrap()], || assert!(pair.answers()));
    b.unplug().unwrap();
    let error = b.unplug().unwrap_err().to_string();
    assert!(error.starts_with("vm2: cannot take its NIC away"), "{error}");
    b.plug().unwrap();
    assert_eq!(b.attachment(), attachment);
    with_hub(&[a.open().unwrap(), b.open().unwrap()], || assert!(pair.answers()));
}

fn processes_run_where_they_are_put() {
    let lab = Lab::build(&LabSpec::papers()).unwrap();
    let host = host(&lab, "far1");
    let vm = lab.vm(&InterfaceName::new("vm3").unwrap()).unwrap();
    for (machine, address) in [(host.command("cat"), "10.77.0.8"), (vm.command("cat"), "10.88.0.3")] {
        let mut command = machine;
        let output = command.arg("/proc/net/fib_trie").output().unwrap();
        let routes = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(routes.contains(address), "{routes}");
    }

    let mut logged =
        host.spawn_logged(Command::new("sh").arg("-c").arg("echo out; echo err >&2"), "say").unwrap();
    assert!(logged.wait_for(SOON).unwrap().unwrap().success());
    assert_eq!(std::fs::read_to_string(logged.log().unwrap()).unwrap(), "out\nerr\n");

    // The whole group ends, however its leader takes the signals.
    let mut group = host
        .spawn(Command::new("sh").arg("-c").arg("trap '' TERM; sleep 1000 & sleep 1000; sleep 1000"))
        .unwrap();
    assert_eq!(group.try_wait().unwrap(), None);
    group.terminate(50 * MS).unwrap();
    wait_until("the group is gone", || processes_named("sleep") == 0);

    let error = host.spawn(&mut Command::new("/no/such/program")).unwrap_err().to_string();
    assert!(error.starts_with("far1: cannot start /no/such/program: No such file"), "{error}");
    let error = lab.host(&HostName::new("fast9").unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("no host is named `fast9`; there are fast1, fast2"), "{error}");
}

fn dropping_a_lab_ends_what_runs_in_it() {
    let lab = Lab::build(&LabSpec::papers()).unwrap();
    let host = host(&lab, "far1");
    // A child in a session of its own, which no process group holds.
    let mut shell = host.command("sh").arg("-c").arg("setsid sleep 1000 & exit").spawn().unwrap();
    shell.wait().unwrap();
    wait_until("it runs", || processes_named("sleep") == 1);
    drop(lab);
    wait_until("it is gone", || processes_named("sleep") == 0);
    assert_eq!(std::fs::read_dir("/run/netns").unwrap().count(), 0);
}

fn a_large_lab_is_built_fast() {
    let spec = LabSpec::lan(129, Bandwidth::from_mbit(1000), Duration::from_micros(100));
    let start = Instant::now();
    let lab = Lab::build(&spec).unwrap();
    let built = start.elapsed();
    assert!(UdpPair::new(&lab.hosts()[0], &lab.hosts()[128]).answers());
    let start = Instant::now();
    drop(lab);
    println!("129 hosts: built in {built:?}, removed in {:?}", start.elapsed());
    assert!(built < SOON, "{built:?}");
}

fn many_frames_per_second_come_through() {
    let lab = Lab::build(&LabSpec::lan(2, Bandwidth::from_mbit(10_000), Duration::from_micros(50))).unwrap();
    let pair = UdpPair::new(&lab.hosts()[0], &lab.hosts()[1]);
    let stop = AtomicBool::new(false);
    let (sent, time) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                let _ = pair.b.recv(&mut buffer);
            }
        });
        let start = Instant::now();
        let mut sent = 0_u64;
        while start.elapsed() < Duration::from_secs(1) {
            sent += u64::from(pair.a.send_to(&[0; 64], pair.to).is_ok());
        }
        let time = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        (sent, time)
    });
    std::thread::sleep(100 * MS);
    let (_, down) = lab.wan().access_counters(lab.hosts()[1].name()).unwrap();
    let rate = down.frames as f64 / time.as_secs_f64();
    println!("{rate:.0} frames/s of {:.0} offered", sent as f64 / time.as_secs_f64());
    assert!(rate > 10_000.0);
}

/// Sockets in two machines, the second of which answers.
struct UdpPair {
    a: UdpSocket,
    b: UdpSocket,
    to: SocketAddr,
}

impl UdpPair {
    fn new(a: &impl Machine, b: &impl Machine) -> Self {
        let bind = |machine_ip| UdpSocket::bind((machine_ip, 0)).unwrap();
        let (a, b) = (a.run_in(|| bind(a.ip())).unwrap(), b.run_in(|| bind(b.ip())).unwrap());
        for socket in [&a, &b] {
            socket.set_read_timeout(Some(500 * MS)).unwrap();
        }
        let to = b.local_addr().unwrap();
        Self { a, b, to }
    }

    fn answers(&self) -> bool {
        (100..110).any(|mark| self.round_trip(mark).is_some())
    }

    fn round_trip_within(&self, mark: u8, time: Duration) -> bool {
        self.b.set_read_timeout(Some(time)).unwrap();
        let came = self.round_trip(mark).is_some();
        self.b.set_read_timeout(Some(500 * MS)).unwrap();
        came
    }

    /// There and back, or nothing.
    fn round_trip(&self, mark: u8) -> Option<Duration> {
        let start = Instant::now();
        // Without a route for the moment, this is an error.
        self.a.send_to(&[mark; 100], self.to).ok()?;
        let back = receive_marked(&self.b, mark)?;
        self.b.send_to(&[mark; 100], back).ok()?;
        receive_marked(&self.a, mark)?;
        Some(start.elapsed())
    }
}

fn receive_marked(socket: &UdpSocket, mark: u8) -> Option<SocketAddr> {
    let mut buffer = [0; 200];
    loop {
        let (_, from) = socket.recv_from(&mut buffer).ok()?;
        if buffer[0] == mark {
            return Some(from);
        }
    }
}

fn tcp_pair(a: &impl Machine, b: &impl Machine) -> (TcpStream, TcpStream) {
    let listener = b.run_in(|| TcpListener::bind((b.ip(), 0)).unwrap()).unwrap();
    let to = listener.local_addr().unwrap();
    let client = a.run_in(|| TcpStream::connect_timeout(&to, SOON).unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
    }
    (client, server)
}

/// What arrives of UDP datagrams that are sent at `offered`, once the queue is
/// full: bits of Ethernet frames per second.
fn udp_mbit(from: &Host, to: &Host, offered: f64, time: Duration) -> f64 {
    const PAYLOAD: usize = 1000;
    const FRAME: usize = PAYLOAD + 8 + 20 + 14;
    let UdpPair { a, b, to } = UdpPair::new(from, to);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| {
            let start = Instant::now();
            let mut sent = 0.0;
            while !stop.load(Ordering::Relaxed) {
                while sent * FRAME as f64 * 8e-6 < start.elapsed().as_secs_f64() * offered {
                    a.send_to(&[0; PAYLOAD], to).unwrap();
                    sent += 1.0;
                }
                std::thread::sleep(MS);
            }
        });
        let count = |time: Duration| {
            let start = Instant::now();
            let mut frames = 0;
            while start.elapsed() < time {
                b.recv(&mut [0; PAYLOAD]).unwrap();
                frames += 1;
            }
            (frames * FRAME) as f64 * 8e-6 / start.elapsed().as_secs_f64()
        };
        count(500 * MS);
        count(time)
    })
}

/// What TCP carries in `time`, after a while to get going.
fn tcp_mbit(from: &Host, to: &Host, time: Duration) -> f64 {
    let (mut client, mut server) = tcp_pair(from, to);
    std::thread::scope(|scope| {
        // Until the other end closes.
        scope.spawn(move || while client.write_all(&[0; 16 * 1024]).is_ok() {});
        let mut buffer = vec![0; 64 * 1024];
        let mut count = |time: Duration| {
            let start = Instant::now();
            let mut bytes = 0;
            while start.elapsed() < time {
                bytes += server.read(&mut buffer).unwrap();
            }
            bytes as f64 * 8e-6 / start.elapsed().as_secs_f64()
        };
        count(500 * MS);
        let rate = count(time);
        drop(server);
        rate
    })
}

/// Plays the overlay: carries every frame of each port to all others while
/// `work` runs.
fn with_hub<T>(ports: &[VmPort], work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 2000];
            while !stop.load(Ordering::Relaxed) {
                for (n, from) in ports.iter().enumerate() {
                    while let Some(length) = from.receive(&mut buffer).unwrap() {
                        for (m, to) in ports.iter().enumerate() {
                            if n != m {
                                to.send(&buffer[..length]);
                            }
                        }
                    }
                }
                std::thread::sleep(MS);
            }
        });
        // Stops the hub also when `work` panics.
        let _stop = StopAtEnd(&stop);
        work()
    })
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn host<'a>(lab: &'a Lab, name: &str) -> &'a Host {
    lab.host(&HostName::new(name).unwrap()).unwrap()
}

/// Of this laboratory: its `/proc` shows no others.
fn processes_named(name: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let named = |path: std::path::PathBuf| {
        // A zombie has no command line.
        std::fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line.split('\0').next() == Some(name))
    };
    processes.filter(|process| named(process.path())).count()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(10 * MS);
    }
}
