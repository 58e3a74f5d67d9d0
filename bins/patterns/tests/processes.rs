//! Ranks as processes: killed, restarted, told to stop, started at different times.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{Rank, free_addresses, until};
use patterns::report::{Ended, Record};

fn start_all(
    directory: &std::path::Path,
    ranks: usize,
    more: &[&str],
) -> (Vec<std::net::SocketAddr>, Vec<Rank>) {
    let peers = free_addresses(ranks);
    let processes = (0..ranks).map(|rank| Rank::start(directory, rank, &peers, more)).collect();
    (peers, processes)
}

fn wait_for_iterations(ranks: &mut [Rank], iterations: u64) {
    for rank in ranks {
        until("iterations go on", || (rank.iterations() >= iterations).then_some(()));
    }
}

#[test]
fn a_killed_peer_is_reported_and_the_run_goes_on_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let options = ["--compute", "1ms", "--message", "20kB"];
    let (peers, mut ranks) = start_all(directory.path(), 4, &options);
    wait_for_iterations(&mut ranks, 20);

    ranks[2].child.kill().unwrap();
    ranks[2].child.wait().unwrap();
    for rank in [0, 1, 3] {
        let lost = until("the loss is reported", || {
            ranks[rank].records().iter().find_map(|record| match record {
                Record::ConnectionLost(lost) => Some(lost.clone()),
                _ => None,
            })
        });
        assert_eq!((lost.rank, lost.peer, lost.address), (rank, 2, peers[2]));
        // A killed process closes its sockets; which of these it is depends on what was under way.
        let known = [None, Some(rustix::io::Errno::CONNRESET), Some(rustix::io::Errno::PIPE)];
        assert!(known.contains(&lost.errno.map(rustix::io::Errno::from_raw_os_error)), "{lost:?}");
        assert!(!lost.why.is_empty());
    }
    let stuck_at = ranks[0].iterations();

    ranks[2] = Rank::start(directory.path(), 2, &peers, &options);
    wait_for_iterations(&mut ranks, stuck_at + 50);
    assert_eq!(ranks[2].lost(), 0);
    ranks[1].terminate();
    for (i, rank) in ranks.into_iter().enumerate() {
        let summary = rank.wait().unwrap();
        let times = u64::from(i != 2);
        assert_eq!(
            (summary.total.connections_lost, summary.connections_restored),
            (times, times),
            "{summary}"
        );
    }
}

#[test]
fn sigterm_to_one_rank_stops_all_and_loses_nothing() {
    for (signal_to, shape) in [(0, "all-to-all"), (4, "bus"), (2, "star")] {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut ranks) = start_all(directory.path(), 5, &["--shape", shape, "--message", "300kB"]);
        wait_for_iterations(&mut ranks, 5);
        ranks[signal_to].terminate();
        for (i, rank) in ranks.into_iter().enumerate() {
            let summary = rank.wait().unwrap();
            let ended = if i == signal_to { Ended::Stopped } else { Ended::Peer };
            assert_eq!((summary.ended, summary.total.connections_lost), (ended, 0), "{summary}");
        }
    }
}

#[test]
fn sigterm_to_all_ranks_at_once_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut ranks) = start_all(directory.path(), 5, &["--shape", "ring", "--message", "1MiB"]);
    wait_for_iterations(&mut ranks, 3);
    ranks.iter().for_each(Rank::terminate);
    for rank in ranks {
        let summary = rank.wait().unwrap();
        assert_eq!(summary.total.connections_lost, 0, "{summary}");
    }
}

#[test]
fn ranks_that_start_late_are_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let peers = free_addresses(3);
    let start = |rank| Rank::start(directory.path(), rank, &peers, &["--iterations", "10"]);
    // The highest rank connects to all others, so it has to try for longest.
    let last = start(2);
    thread::sleep(Duration::from_millis(700));
    let middle = start(1);
    thread::sleep(Duration::from_millis(300));
    for rank in [start(0), middle, last] {
        let summary = rank.wait().unwrap();
        assert_eq!((summary.total.iterations, summary.total.connections_lost), (10, 0), "{summary}");
        assert_eq!(summary.ended, Ended::Iterations);
    }
}

#[test]
fn a_peer_that_does_not_come_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let peers = free_addresses(3);
    let start = |rank| Rank::start(directory.path(), rank, &peers, &["--startup", "1s"]);
    let (one, two) = (start(1), start(2));
    for (rank, process, why) in [(1, one, "Connection refused"), (2, two, "Connection refused")] {
        let error = process.wait().unwrap_err();
        assert!(error.contains(&format!("rank {rank} waited 1s for")), "{error}");
        assert!(error.contains(&format!("rank 0 at {} ({why}", peers[0])), "{error}");
        assert!(error.starts_with("exit status: 1"), "{error}");
    }
}

#[test]
fn a_peer_that_does_not_come_back_ends_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut ranks) = start_all(directory.path(), 2, &["--patience", "500ms"]);
    wait_for_iterations(&mut ranks, 5);
    ranks[0].child.kill().unwrap();
    let error = ranks.pop().unwrap().wait().unwrap_err();
    assert!(error.contains("rank 1 waited 0.5s for rank 0"), "{error}");
}

#[test]
fn ranks_with_different_workloads_refuse_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let peers = free_addresses(2);
    let low = Rank::start(directory.path(), 0, &peers, &["--message", "1kB", "--startup", "5s"]);
    let high = Rank::start(directory.path(), 1, &peers, &["--message", "2kB"]);
    let error = high.wait().unwrap_err();
    assert!(error.contains("refuses rank 1: it runs another workload"), "{error}");
    drop(low);
}

#[test]
fn dummy_computing_leaves_the_processor_alone_and_busy_computing_uses_it() {
    for busy in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut options = vec!["--compute", "20ms"];
        options.extend(busy.then_some("--busy"));
        let (_, mut ranks) = start_all(directory.path(), 2, &options);
        wait_for_iterations(&mut ranks, 20);
        let used = processor_seconds(ranks[0].child.id());
        let phases = 0.020 * ranks[0].iterations() as f64;
        match busy {
            true => assert!(used > 0.4 * 0.9, "{used} s of processor for {phases} s of busy computing"),
            false => assert!(used < phases * 0.5, "{used} s of processor for {phases} s of dummy computing"),
        }
    }
}

/// What a process has used of the processor (proc_pid_stat(5), fields 14 and 15).
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[test]
fn exit_status_and_output_are_as_the_help_says() {
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_patterns")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();

    let local = run(&["local", "--ranks", "4", "--shape", "ring", "--iterations", "5", "--json"]);
    assert!(local.status.success());
    let json: serde_json::Value = serde_json::from_slice(&local.stdout).unwrap();
    assert_eq!(json["ranks"].as_array().unwrap().len(), 4);
    assert_eq!(json["ranks"][3]["iterations"], 5);
    assert!(json["rates"]["iterations_per_s"].is_number());

    let local = run(&["local", "--ranks", "3", "--iterations", "5", "--report", "-"]);
    let mut parser = patterns::report::LineParser::default();
    let records = parser.feed(&local.stdout).unwrap();
    assert_eq!(records.iter().filter(|r| matches!(r, Record::Summary(_))).count(), 3);

    let edges = run(&["edges", "--ranks", "4", "--shape", "star"]);
    assert_eq!(text(&edges.stdout), "0 1\n0 2\n0 3\n");

    for (args, status, message) in [
        (&["local", "--ranks", "5", "--shape", "hypercube"][..], 2, "5 nodes do not make a hypercube"),
        (&["--rank", "7", "--peers", "127.0.0.1:1,127.0.0.1:2"], 2, "there is no rank 7"),
        (&["local", "--message", "2 lightyears"], 2, "not a size"),
        (&["local", "--interval", "0"], 2, "interval"),
        (&["--nonsense"], 2, "--help"),
        (&["--rank", "0", "--peers", "192.0.2.1:7000,192.0.2.2:7000"], 1, "can't listen on 192.0.2.1:7000"),
        (&["local", "--iterations", "1", "--report", "/nowhere/report"], 1, "/nowhere/report"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}");
        assert!(text(&output.stderr).contains(message), "{args:?}: {}", text(&output.stderr));
    }
    assert!(run(&["--help"]).status.success());
}
