//! What happens inside a laboratory.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vlab::wan::Figures;
use vlab::{Host, Lab, LabError, LabSpec, Machine, NicKind, VmPort};
use vnet_core::control::PortKind;
use vnet_core::{Bandwidth, HostName, InterfaceName};

use crate::traffic::{UdpPair, tcp_mbit, tcp_pair, udp_mbit, with_hub};

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

pub(crate) const MS: Duration = Duration::from_millis(1);

/// For what comes at once unless the machine is very busy.
pub(crate) const SOON: Duration = Duration::from_secs(10);

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
        assert!((truth * 0.7..truth * 1.05).contains(&udp));
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
    assert_eq!(lab.overruns().unwrap(), 0);

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

    // What did not come through is counted, somewhere.
    wait_until("every frame is accounted for", || {
        let (up, down) = lab.wan().access_counters(lab.hosts()[0].name()).unwrap();
        let (_, at_receiver) = lab.wan().access_counters(lab.hosts()[1].name()).unwrap();
        assert_eq!(down.frames, 0);
        up.frames == at_receiver.frames + at_receiver.dropped_full
            && up.frames + up.dropped_full + lab.overruns().unwrap() == sent
    });
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
