//! Whole runs over loopback: who talks to whom, big messages, and how runs end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::in_time;
use patterns::report::{Ended, Record, Throughput};
use patterns::{Compute, Local, Operation, Workload, local};
use vnet_core::Shape;

const OPERATIONS: [Operation; 3] = [Operation::Neighbour, Operation::Reduction, Operation::AllToAll];

/// The pairs that a run must use, from the definitions alone.
fn expected_edges(shape: &Shape, operation: Operation, ranks: usize) -> Vec<(usize, usize)> {
    match operation {
        Operation::AllToAll => Shape::AllToAll.edges(ranks).unwrap(),
        Operation::Neighbour => shape.edges(ranks).unwrap(),
        // Rank 0 is the root; any spanning tree along the shape would do, the
        // breadth-first one joins each rank to its least neighbour one hop nearer.
        Operation::Reduction => {
            let edges = shape.edges(ranks).unwrap();
            let joined = |a: usize, b: usize| edges.contains(&(a.min(b), a.max(b)));
            let mut hops = vec![usize::MAX; ranks];
            hops[0] = 0;
            for _ in 0..ranks {
                for (a, b) in edges.iter().flat_map(|&(a, b)| [(a, b), (b, a)]) {
                    hops[b] = hops[b].min(hops[a].saturating_add(1));
                }
            }
            let parent =
                |rank: usize| (0..ranks).find(|p| joined(*p, rank) && hops[*p] + 1 == hops[rank]).unwrap();
            let mut tree: Vec<_> =
                (1..ranks).map(|rank| (parent(rank).min(rank), parent(rank).max(rank))).collect();
            tree.sort_unstable();
            tree
        }
    }
}

#[test]
fn every_operation_on_every_shape_uses_exactly_its_channels() {
    in_time(|| {
        for shape in Shape::all() {
            for operation in OPERATIONS {
                for ranks in [8, 16] {
                    let (iterations, message) = (12, 3000);
                    let workload = Workload {
                        shape: shape.clone(),
                        operation,
                        message,
                        iterations: Some(iterations),
                        ..Workload::default()
                    };
                    let summaries = local(&workload, ranks, None, |_| Ok(())).unwrap();
                    let mut used = Vec::new();
                    for summary in &summaries {
                        assert_eq!(summary.total.iterations, iterations, "{workload}");
                        assert_eq!(summary.total.connections_lost, 0, "{workload}");
                        assert_eq!(summary.ended, Ended::Iterations);
                        for channel in &summary.channels {
                            assert_eq!(channel.bytes_sent, iterations * message, "{workload}");
                            assert_eq!(channel.bytes_received, iterations * message, "{workload}");
                            used.push((summary.total.rank, channel.peer));
                        }
                    }
                    let edges = expected_edges(&shape, operation, ranks);
                    let mut both: Vec<_> = edges.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect();
                    both.sort_unstable();
                    assert_eq!(used, both, "{workload}");
                }
            }
        }
    });
}

#[test]
fn messages_larger_than_all_buffers_do_not_deadlock() {
    in_time(|| {
        for operation in OPERATIONS {
            let workload =
                Workload { operation, message: 8 << 20, iterations: Some(3), ..Workload::default() };
            let summaries = local(&workload, 4, None, |_| Ok(())).unwrap();
            assert!(summaries.iter().all(|s| s.total.iterations == 3), "{workload}");
        }
    });
}

#[test]
fn thirty_two_ranks_with_messages_of_a_mebibyte_get_through() {
    in_time(|| {
        let workload = Workload {
            shape: "torus".parse().unwrap(),
            message: 1 << 20,
            iterations: Some(3),
            ..Workload::default()
        };
        let summaries = local(&workload, 32, None, |_| Ok(())).unwrap();
        let received: u64 = summaries.iter().map(|s| s.total.bytes_received).sum();
        assert_eq!(received, 2 * 64 * 3 * (1 << 20));
    });
}

#[test]
fn a_message_of_one_byte_works_too() {
    let workload = Workload { message: 1, iterations: Some(100), ..Workload::default() };
    let summaries = in_time(move || local(&workload, 3, None, |_| Ok(())).unwrap());
    assert!(summaries.iter().all(|s| s.total.bytes_received == 200));
}

#[test]
fn a_duration_ends_all_ranks_and_loses_no_connection() {
    let workload = Workload { message: 100_000, ..Workload::default() };
    let summaries =
        in_time(move || local(&workload, 6, Some(Duration::from_millis(300)), |_| Ok(())).unwrap());
    assert!(summaries.iter().any(|s| s.ended == Ended::Duration));
    for summary in summaries {
        assert!(matches!(summary.ended, Ended::Duration | Ended::Peer), "{summary}");
        assert_eq!(summary.total.connections_lost, 0, "{summary}");
        assert!(summary.total.iterations > 0 && summary.seconds > 0.2, "{summary}");
    }
}

#[test]
fn a_stopper_ends_all_ranks_even_while_they_compute() {
    let workload = Workload {
        shape: Shape::Bus,
        compute: Compute { time: Duration::from_secs(3600), busy: false },
        ..Workload::default()
    };
    let mut local = Local::bind(&workload, 5).unwrap();
    local.options_mut().for_each(|options| {
        // Longer than a clock can count is for ever.
        options.startup = Duration::MAX;
        options.patience = Duration::MAX;
        options.interval = Duration::MAX;
        options.duration = Some(Duration::MAX);
    });
    let stopper = local.stopper();
    let summaries = in_time(move || {
        let mut started = 0;
        local
            .run(|record| {
                started += usize::from(matches!(record, Record::Start(_)));
                if started == 5 {
                    stopper.stop();
                }
                Ok(())
            })
            .unwrap()
    });
    for summary in summaries {
        let ended = if summary.total.rank == 0 { Ended::Stopped } else { Ended::Peer };
        assert_eq!((summary.ended, summary.total.connections_lost), (ended, 0), "{summary}");
        assert!(summary.seconds < 60.0);
    }
}

#[test]
fn samples_are_reported_at_the_interval_and_add_up_to_the_throughput() {
    let workload = Workload {
        compute: Compute { time: Duration::from_millis(2), busy: false },
        message: 1000,
        ..Workload::default()
    };
    let mut local = Local::bind(&workload, 3).unwrap();
    local.options_mut().for_each(|options| {
        options.interval = Duration::from_millis(20);
        options.duration = Some(Duration::from_secs(1));
    });
    let (records, summaries) = in_time(move || {
        let mut records = Vec::new();
        let summaries = local.run(|record| {
            records.push(record.clone());
            Ok(())
        });
        (records, summaries.unwrap())
    });
    let mut throughput = Throughput::new(3);
    records.iter().for_each(|record| throughput.add_record(record));
    let (from, to) = throughput.span().unwrap();
    let rates = throughput.rates(from, to).unwrap();
    let seconds = (to - from) as f64 / 1e9;
    let slowest = summaries.iter().map(|s| s.total.iterations).min().unwrap() as f64;
    let bytes: u64 = summaries.iter().map(|s| s.total.bytes_received).sum();
    // A little happens before the last rank's first sample.
    assert!((rates.iterations_per_s * seconds - slowest).abs() < 0.2 * slowest + 5.0);
    assert!(rates.mbit_per_s * seconds <= bytes as f64 * 8.0 / 1e6 * 1.001);
    for rank in 0..3 {
        let samples: Vec<_> = records
            .iter()
            .filter_map(|record| match record {
                Record::Sample(sample) if sample.rank == rank => Some(sample),
                _ => None,
            })
            .collect();
        assert!((3..=60).contains(&samples.len()), "{} samples", samples.len());
        for pair in samples.windows(2) {
            assert!(pair[0].at.monotonic_ns <= pair[1].at.monotonic_ns);
            assert!(pair[0].iterations <= pair[1].iterations);
            assert!(pair[0].bytes_received <= pair[1].bytes_received);
        }
    }
}

#[test]
fn a_reader_that_fails_ends_the_run() {
    let workload = Workload::default();
    let start = Instant::now();
    let error =
        in_time(move || local(&workload, 3, None, |_| Err(std::io::Error::other("no room"))).unwrap_err());
    assert!(error.to_string().contains("no room"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30));
}
