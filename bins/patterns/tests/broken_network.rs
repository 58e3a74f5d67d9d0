//! Runs over relays that stall, cut connections at any byte, or change bytes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::in_time;
use patterns::report::{Record, Summary};
use patterns::{Error, Operation, Options, Worker, Workload, stop_pair};
use vnet_core::Shape;

/// What a relay does to the bytes that pass through it.
#[derive(Clone, Default)]
struct Weather {
    /// Cut a connection once about so many bytes passed; 0: never.
    cut_after: Arc<AtomicU64>,
    /// Let nothing through while set.
    stalled: Arc<AtomicBool>,
    /// Change the byte after so many; 0: none.
    damage_after: Arc<AtomicU64>,
    /// How many times that was done.
    cuts: Arc<AtomicU64>,
}

/// Relays connections to `to`; where it listens.
fn relay(to: SocketAddr, weather: Weather) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (i, incoming) in listener.incoming().enumerate() {
            let Ok(incoming) = incoming else { return };
            let Ok(outgoing) = TcpStream::connect(to) else { continue };
            for (from, to) in [(&incoming, &outgoing), (&outgoing, &incoming)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                to.set_nodelay(true).unwrap();
                let weather = weather.clone();
                thread::spawn(move || pump(from, to, &weather, i as u64));
            }
        }
    });
    address
}

/// Moves bytes one way until an end closes or the connection is cut.
fn pump(mut from: TcpStream, mut to: TcpStream, weather: &Weather, connection: u64) {
    let mut buffer = [0; 4096];
    let mut passed = 0;
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        while weather.stalled.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        let cut = weather.cut_after.load(Ordering::Relaxed);
        // Each connection is cut somewhere else.
        let limit = if cut == 0 { u64::MAX } else { cut / 2 + (connection * 7919 + 13) % cut };
        let let_through = bytes.min(usize::try_from(limit.saturating_sub(passed)).unwrap_or(usize::MAX));
        let damage = weather.damage_after.load(Ordering::Relaxed);
        if damage != 0 && (passed..passed + bytes as u64).contains(&damage) {
            buffer[usize::try_from(damage - passed).unwrap()] ^= 0x10;
        }
        if to.write_all(&buffer[..let_through]).is_err() {
            break;
        }
        passed += let_through as u64;
        if let_through < bytes {
            weather.cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    // Either way the rest of the connection is of no use.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Runs all ranks in threads; every connection goes through a relay of its own.
fn run(
    workload: &Workload,
    ranks: usize,
    weather: &Weather,
    on_record: impl Fn(&Record) + Sync,
) -> Vec<Result<Summary, Error>> {
    let listeners: Vec<TcpListener> = (0..ranks).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    let signals: Vec<_> = (0..ranks).map(|_| stop_pair().unwrap()).collect();
    let stoppers: Vec<_> = signals.iter().map(|(stopper, _)| stopper.clone()).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = listeners
            .into_iter()
            .zip(&signals)
            .enumerate()
            .map(|(rank, (listener, (_, signal)))| {
                let peers = addresses.iter().map(|to| relay(*to, weather.clone())).collect();
                let mut options = Options::new(rank, peers, workload.clone());
                options.interval = Duration::from_millis(20);
                let (on_record, stoppers) = (&on_record, &stoppers);
                scope.spawn(move || {
                    let result =
                        Worker::with_listener(options, listener).unwrap().run(signal, &mut |record| {
                            on_record(record);
                            Ok(())
                        });
                    if result.is_err() {
                        stoppers.iter().for_each(patterns::Stopper::stop);
                    }
                    result
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn connections_cut_at_any_byte_are_made_anew_and_no_message_is_lost_or_doubled() {
    for operation in [Operation::Neighbour, Operation::Reduction] {
        let iterations = 60;
        let workload = Workload {
            shape: "mesh:3x2".parse::<Shape>().unwrap(),
            operation,
            message: 5_000,
            iterations: Some(iterations),
            ..Workload::default()
        };
        let weather = Weather::default();
        weather.cut_after.store(60_000, Ordering::Relaxed);
        let (cuts, summaries) = in_time(move || {
            let summaries = run(&workload, 6, &weather, |_| {});
            (weather.cuts.load(Ordering::Relaxed), summaries)
        });
        let summaries: Vec<Summary> = summaries.into_iter().map(Result::unwrap).collect();
        let lost: u64 = summaries.iter().map(|s| s.total.connections_lost).sum();
        assert!(cuts > 5 && lost >= cuts, "{cuts} cuts, {lost} noticed");
        for summary in summaries {
            assert_eq!(summary.total.iterations, iterations, "{summary}");
            assert_eq!(summary.total.connections_lost, summary.connections_restored, "{summary}");
            for channel in &summary.channels {
                // What a cut message had got to counts too, so there is a little more.
                assert!(channel.bytes_received >= iterations * 5_000, "{summary}");
                assert!(channel.bytes_received < iterations * 5_000 * 2, "{summary}");
            }
        }
    }
}

#[test]
fn a_stall_of_seconds_is_waited_out_without_a_lost_connection() {
    let workload = Workload { iterations: Some(3_000), ..Workload::default() };
    let weather = Weather::default();
    let summaries = in_time(move || {
        let stall = |record: &Record| {
            let under_way = matches!(record, Record::Sample(sample) if sample.iterations > 0);
            // Once; it ends by itself.
            if under_way && weather.cuts.swap(1, Ordering::Relaxed) == 0 {
                weather.stalled.store(true, Ordering::Relaxed);
                let stalled = weather.stalled.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_secs(3));
                    stalled.store(false, Ordering::Relaxed);
                });
            }
        };
        run(&workload, 4, &weather, stall)
    });
    let summaries: Vec<Summary> = summaries.into_iter().map(Result::unwrap).collect();
    assert!(summaries.iter().all(|s| s.total.iterations == 3_000 && s.total.connections_lost == 0));
    assert!(summaries.iter().all(|s| s.longest_iteration_ms > 2_500.0), "{}", summaries[0]);
}

#[test]
fn a_changed_byte_is_found_and_named() {
    // Hello 32, resume 24, header 24: this is byte 920 of the first message.
    let weather = Weather::default();
    weather.damage_after.store(1_000, Ordering::Relaxed);
    let workload = Workload { shape: Shape::Bus, message: 3_000, ..Workload::default() };
    let results = in_time(move || run(&workload, 2, &weather, |_| {}));
    let damaged = results.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(!damaged.is_empty());
    for error in damaged {
        match error {
            Error::Damaged { iteration, mismatch, .. } => {
                assert_eq!((iteration, mismatch.offset), (0, 920));
                assert_eq!(mismatch.expected ^ mismatch.found, 0x10);
            }
            error => panic!("{error}"),
        }
    }
}

#[test]
fn strangers_do_not_disturb_a_run() {
    let listeners: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let peers: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    let strangers: Vec<TcpStream> = peers
        .iter()
        .flat_map(|peer| (0..100).map(|i| (*peer, i)))
        .map(|(peer, i)| {
            let mut stranger = TcpStream::connect(peer).unwrap();
            match i % 3 {
                0 => stranger.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap(),
                1 => stranger.write_all(b"VPATTERN\0\x01").unwrap(),
                _ => {}
            }
            stranger
        })
        .collect();
    let workload = Workload { iterations: Some(200), ..Workload::default() };
    let threads: Vec<_> = listeners
        .into_iter()
        .enumerate()
        .map(|(rank, listener)| {
            let options = Options::new(rank, peers.clone(), workload.clone());
            thread::spawn(move || {
                let (_stopper, stop) = stop_pair().unwrap();
                Worker::with_listener(options, listener).unwrap().run(&stop, &mut |_| Ok(()))
            })
        })
        .collect();
    let summaries =
        in_time(move || threads.into_iter().map(|t| t.join().unwrap().unwrap()).collect::<Vec<_>>());
    for summary in summaries {
        assert_eq!((summary.total.iterations, summary.total.connections_lost), (200, 0), "{summary}");
    }
    drop(strangers);
}
