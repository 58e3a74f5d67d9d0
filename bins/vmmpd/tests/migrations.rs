//! Real daemons, sockets and journals: machines move, and what can't be is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::{
    Cluster, config, disk_is_intact, guest, machine, method, noise, signal, ticks, wait, wait_for_ticks,
};
use vm_driver::{Boot, VmConfig, VmId, namespace};
use vmmp::io::channel::{Channel, Keys};
use vmmp::io::greeting::{self, Purpose};
use vmmp::io::stream::Stream;
use vmmpd::config::DriverKind;
use vmmpd::control::ProviderRequest;

/// A real guest goes from one provider to the other and back, by every method.
#[test]
fn a_real_guest_moves_by_every_method() {
    let cluster = Cluster::start(DriverKind::Qemu, 2);
    let disk = 8 << 20;
    cluster.providers[0].create(&guest(cluster.folder.path(), "web", 7, disk));
    let mut count = wait_for_ticks(&cluster.providers[0], "web", 2);
    cluster.wait_for_place(&machine("web"));
    let ways = [(1, "LIVE"), (0, "DELTA"), (1, "COPY"), (0, "DELTA"), (1, "LIVE")];
    for (number, (to, by)) in ways.into_iter().enumerate() {
        let from = &cluster.providers[1 - to];
        let version = cluster.migrate("web", to, method(by)).unwrap_or_else(|error| panic!("{by}: {error}"));
        assert_eq!(version, number as u64 + 2);
        // Its memory has come along: the counter goes on.
        let after = wait_for_ticks(&cluster.providers[to], "web", count);
        assert!(after >= count, "{by}: {after} after {count}");
        count = after;
        assert!(disk_is_intact(&cluster.providers[to], "web", 7, disk), "{by}");
        let is_here = |machines: Vec<vmmpd::control::Machine>| machines.iter().any(|m| m.state == "running");
        wait("it runs there alone", || {
            is_here(cluster.providers[to].machines()) && from.machines().is_empty()
        });
    }
    // A restart of the daemon finds it running.
    let mut cluster = cluster;
    cluster.kill_provider(1);
    let while_away = ticks(&cluster.providers[1], "web");
    wait_for_ticks(&cluster.providers[1], "web", while_away);
    let pid = common::process(&cluster.providers[1].file("web", "pid"));
    cluster.start_provider(1);
    assert_eq!(cluster.providers[1].machines()[0].pid, pid);
    let stop = |consent| ProviderRequest::Stop { machine: machine("web"), within_s: None, consent };
    let refused = cluster.providers[1].try_ask(&stop(false)).unwrap_err().to_string();
    assert!(refused.contains("would lose what its programs have in memory"), "{refused}");
    cluster.providers[1].try_ask(&stop(true)).unwrap();
    let delete = |consent| ProviderRequest::Delete { machine: machine("web"), consent };
    assert!(cluster.providers[1].try_ask(&delete(false)).unwrap_err().to_string().contains("its disk"));
    cluster.providers[1].try_ask(&delete(true)).unwrap();
    wait("the agent knows that it is gone", || cluster.agent().list().unwrap().0.is_empty());
}

/// Processes go from one provider of this machine to another, and count on.
#[test]
fn a_namespace_moves_live() {
    let cluster = Cluster::start(DriverKind::Namespace, 2);
    let count = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done";
    let config = VmConfig {
        boot: Boot::Program { command: ["sh", "-c", count].map(str::to_owned).to_vec() },
        ..VmConfig::new(VmId::new("box").unwrap(), 64 << 20)
    };
    cluster.providers[0].create(&config);
    cluster.wait_for_place(&machine("box"));
    let count = |place: usize| {
        let text =
            fs::read_to_string(cluster.providers[place].file("box", namespace::LOG)).unwrap_or_default();
        text.lines().rev().find_map(|line| line.strip_prefix("tick ")?.parse::<u64>().ok()).unwrap_or(0)
    };
    wait("it counts", || count(0) > 2);
    let process = cluster.providers[0].machines()[0].pid;
    let mut before = count(0);
    for (to, version) in [(1, 2), (0, 3), (1, 4)] {
        assert_eq!(cluster.migrate("box", to, None).unwrap(), version);
        wait("it counts on", || count(to) > before + 2);
        before = count(to);
        wait("it is there alone", || cluster.providers[1 - to].machines().is_empty());
        assert_eq!(cluster.providers[to].machines()[0].pid, process);
    }
    assert_eq!(cluster.providers[1].machines()[0].state, "running");
}

/// 32 machines at once between 4 providers, while one more migration can't go on.
#[test]
fn many_move_at_once_and_a_slow_one_keeps_nobody_waiting() {
    let cluster = Cluster::start(DriverKind::Simulated, 5);
    let disk = 1 << 20;
    for i in 0..32 {
        let provider = &cluster.providers[i % 4];
        provider.create(&config(cluster.folder.path(), &format!("vm-{i}"), i as u64, disk));
    }
    cluster.providers[0].create(&config(cluster.folder.path(), "slow", 99, disk));
    wait("the agent knows them", || cluster.agent().list().unwrap().0.len() == 33);
    let stopped = cluster.providers[4].pid();
    signal(stopped, rustix::process::Signal::STOP);
    let (sender, ended) = channel();
    thread::scope(|scope| {
        let slow = scope.spawn(|| cluster.migrate("slow", 4, method("COPY")));
        for i in 0..32 {
            let (cluster, sender) = (&cluster, sender.clone());
            scope.spawn(move || {
                let by = method(if i % 2 == 0 { "COPY" } else { "DELTA" });
                sender.send(cluster.migrate(&format!("vm-{i}"), (i + 1 + i / 4 % 3) % 4, by)).unwrap();
            });
        }
        for _ in 0..32 {
            let version = ended.recv_timeout(common::PATIENCE).expect("none waits for the slow one");
            assert_eq!(version.unwrap(), 2);
        }
        assert!(!slow.is_finished());
        signal(stopped, rustix::process::Signal::CONT);
        assert_eq!(slow.join().unwrap().unwrap(), 2);
    });
    for i in 0..32 {
        let to = &cluster.providers[(i + 1 + i / 4 % 3) % 4];
        let name = format!("vm-{i}");
        assert_eq!(fs::read(to.file(&name, "root.raw")).unwrap(), noise(i as u64, disk));
    }
    let memory = peak_memory(cluster.agent_pid());
    println!("the agent has used {} KiB", memory >> 10);
    assert!(memory < 50 << 20, "{memory} bytes");
}

/// What a process has used at most, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

#[test]
fn what_can_not_be_is_refused_and_nothing_moves() {
    let cluster = Cluster::start(DriverKind::Simulated, 2);
    cluster.providers[0].create(&config(cluster.folder.path(), "web", 1, 1 << 20));
    cluster.wait_for_place(&machine("web"));
    let refused =
        |name: &str, to: usize, by: &str| cluster.migrate(name, to, method(by)).unwrap_err().to_string();
    assert!(refused("nobody", 1, "COPY").contains("no machine nobody is known"));
    assert!(refused("web", 0, "COPY").contains("is at p1 already"));
    let unknown = refused("web", 1, "TELEPORT");
    assert!(unknown.contains("there is no method TELEPORT; there are LIVE, DELTA, COPY"), "{unknown}");
    let live = refused("web", 1, "LIVE");
    assert!(live.contains("the simulated driver can't move machines live"), "{live}");
    // Without a word about how, by the best that both have.
    assert_eq!(cluster.migrate("web", 1, None).unwrap(), 2);
    // The destination may still be putting its tools away.
    wait("it runs where it has come", || cluster.providers[1].machines()[0].state == "running");
    assert_eq!(cluster.migrate("web", 0, method("DELTA")).unwrap(), 3);

    // A destination where there is something else in the way of the disk.
    let in_the_way = cluster.providers[1].root.join("web/root.raw");
    fs::remove_file(&in_the_way).unwrap();
    fs::create_dir_all(in_the_way.join("folder")).unwrap();
    let failed = refused("web", 1, "COPY");
    assert!(failed.contains("could not write the new version of"), "{failed}");
    fs::remove_dir_all(&in_the_way).unwrap();
    wait("it runs on where it was", || cluster.providers[0].machines()[0].state == "running");
    assert_eq!(cluster.migrate("web", 1, method("COPY")).unwrap(), 4);
}

#[test]
fn strangers_and_other_versions_are_refused() {
    let cluster = Cluster::start(DriverKind::Simulated, 1);
    cluster.providers[0].create(&config(cluster.folder.path(), "web", 1, 1 << 20));
    let path = cluster.folder.path().join("p1.wire");
    let said = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        // It may hang up on us.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    // Version 1.0 may ask, and nothing else.
    assert_eq!(said(b"<VMMP 1.0 QUERY web METHODS>"), "<VMMP 1.0 RESULTS web 2 DELTA COPY>");
    let request = b"<VMMP 1.0 REQ web 1 10.0.0.1 77 10.0.0.2 78 COPY>";
    assert_eq!(said(request), "<VMMP 1.0 RESP web 1 FAIL>");
    assert_eq!(said(b"<VMMP 1.0 NONSENSE>"), "");
    assert_eq!(said(b"\xb3\x03\x03\x01"), "");
    // A stranger with keys of their own.
    let provider = Keys::load_or_make(&cluster.folder.path().join("p1/key")).unwrap();
    let mut stream = Stream::from(UnixStream::connect(&path).unwrap());
    stream.set_patience(Some(Duration::from_secs(20))).unwrap();
    greeting::say(&mut stream, Purpose::Messages).unwrap();
    assert!(Channel::connect(stream, &Keys::generate().unwrap(), &provider.public).is_err());
    let log = || fs::read_to_string(cluster.folder.path().join("p1.log")).unwrap();
    for wanted in
        ["is no message: there are QUERY", "VMMP version 3; this end speaks 2", "a peer with the unknown key"]
    {
        wait(wanted, || log().contains(wanted));
    }
    assert_eq!(cluster.providers[0].machines()[0].state, "running");
}
