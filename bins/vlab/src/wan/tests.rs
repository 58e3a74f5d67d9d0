//! The network under a simulated clock.

use std::time::Duration;

use proptest::prelude::*;
use vnet_core::Bandwidth;

use super::*;

const MS: Duration = Duration::from_millis(1);
const FAST: Figures = Figures::rate(Bandwidth::from_mbit(1000));

/// Two sites with two NICs each, and a clock.
struct Bench {
    wan: Wan,
    start: Instant,
    now: Instant,
    arrived: Vec<(Duration, NicId, Arc<[u8]>)>,
}

const A: NicId = NicId(0);
const B: NicId = NicId(1);
const C: NicId = NicId(2);
const D: NicId = NicId(3);
const WEST: SiteId = SiteId(0);
const EAST: SiteId = SiteId(1);

fn mac(nic: NicId) -> MacAddr {
    MacAddr::local(nic.0)
}

impl Bench {
    /// A and B in the west, C and D in the east, `path` between.
    fn new(path: Figures) -> Self {
        let mut wan = Wan::new(7);
        let start = Instant::now();
        for site in [WEST, EAST] {
            assert_eq!(wan.add_site(Figures::delay(MS)), site);
            for _ in 0..2 {
                let next = NicId(wan.nics.len() as u32);
                assert_eq!(wan.add_nic(site, mac(next), FAST, FAST), next);
            }
        }
        assert!(wan.set(start, PipeId::Sites(WEST, EAST), path));
        assert!(wan.set(start, PipeId::Sites(EAST, WEST), path));
        Self { wan, start, now: start, arrived: Vec::new() }
    }

    fn send(&mut self, from: NicId, to: MacAddr, bytes: usize, mark: u8) {
        let mut frame = vec![mark; bytes];
        frame[..6].copy_from_slice(&to.0);
        self.wan.ingest(self.now, from, frame.into());
    }

    /// Lets the time pass in the steps that the network asks for.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut out = Vec::new();
        while let Some(at) = self.wan.next_deadline().filter(|at| *at <= end) {
            assert!(at >= self.now, "time runs backwards");
            self.now = at;
            self.wan.advance(at, &mut out);
            let since = at - self.start;
            self.arrived.extend(out.drain(..).map(|(nic, frame)| (since, nic, frame)));
        }
        self.now = end;
    }

    fn bytes_at(&self, nic: NicId) -> usize {
        self.arrived.iter().filter(|(_, to, _)| *to == nic).map(|(_, _, frame)| frame.len()).sum()
    }

    fn path(&self) -> Counters {
        self.wan.counters(PipeId::Sites(WEST, EAST)).unwrap()
    }
}

fn path(mbit: u64, latency: Duration) -> Figures {
    Figures { latency, ..Figures::rate(Bandwidth::from_mbit(mbit)) }
}

#[test]
fn a_path_carries_its_rate_and_no_more() {
    let mut bench = Bench::new(path(10, MS));
    for _ in 0..1000 {
        bench.send(A, mac(C), 1500, 0); // 12 Mbit/s offered
        bench.run(MS);
    }
    bench.run(Duration::from_secs(1));
    let received = bench.bytes_at(C) as u64;
    let dropped = bench.path().dropped_full * 1500;
    assert_eq!(received + dropped, 1_500_000, "every frame arrives or is counted");
    // One second's worth plus what was in the queue at the end of it.
    let queue = QueueLimit::default().bytes(Bandwidth::from_mbit(10));
    assert!(received <= 1_250_000 + queue + 1500, "{received}");
    assert!(received >= 1_250_000 + queue - 3000, "{received}");
}

#[test]
fn latency_is_exact_and_serialisation_adds_up() {
    let mut bench = Bench::new(path(8, 20 * MS));
    bench.send(A, mac(C), 1000, 0);
    bench.run(Duration::from_secs(1));
    // 8 us on each access link, 1 ms on the path, 20 ms of latency.
    assert_eq!(bench.arrived[0].0, Duration::from_micros(8 + 1000 + 20_000 + 8));
    assert_eq!(bench.arrived[0].1, C);
}

#[test]
fn hosts_of_a_site_share_its_path() {
    let mut bench = Bench::new(path(10, MS));
    for _ in 0..1000 {
        bench.send(A, mac(C), 1000, 0);
        bench.send(B, mac(D), 1000, 0);
        bench.run(MS);
    }
    let (c, d) = (bench.bytes_at(C), bench.bytes_at(D));
    assert!((1_230_000..1_260_000).contains(&(c + d)), "{c} + {d}");
    // Inside a site the path between the sites doesn't matter.
    bench.send(A, mac(B), 1000, 0);
    bench.run(2 * MS);
    assert_eq!(bench.bytes_at(B), 1000);
}

#[test]
fn a_full_queue_drops_the_tail() {
    let mut bench = Bench::new(Figures { queue: QueueLimit::Bytes(10_000), ..path(1, MS) });
    for mark in 0..20 {
        bench.send(A, mac(C), 1000, mark);
    }
    bench.run(Duration::from_secs(1));
    let marks: Vec<u8> = bench.arrived.iter().map(|(_, _, frame)| frame[12]).collect();
    assert_eq!(marks, (0..10).collect::<Vec<u8>>());
    assert_eq!(bench.path().dropped_full, 10);
    assert_eq!(bench.path().queue_bytes, 0);
    assert_eq!(bench.path().queue_bytes_max, 10_000);
}

#[test]
fn loss_follows_from_the_seed() {
    let run = || {
        let mut bench = Bench::new(Figures { loss: 0.2, ..path(100, MS) });
        for mark in 0..250 {
            bench.send(A, mac(C), 100, mark);
            bench.run(MS);
        }
        bench.run(10 * MS);
        bench.arrived.iter().map(|(_, _, frame)| frame[12]).collect::<Vec<u8>>()
    };
    let (first, second) = (run(), run());
    assert_eq!(first, second);
    assert!((175..225).contains(&first.len()), "{}", first.len());
}

#[test]
fn jitter_spreads_but_never_reorders() {
    let mut bench = Bench::new(Figures { jitter: 3 * MS, ..path(1000, 10 * MS) });
    for mark in 0..200 {
        bench.send(A, mac(C), 100, mark);
        bench.run(MS);
    }
    bench.run(20 * MS);
    let marks: Vec<u8> = bench.arrived.iter().map(|(_, _, frame)| frame[12]).collect();
    assert_eq!(marks, (0..200).collect::<Vec<u8>>());
    let delays: Vec<Duration> =
        bench.arrived.iter().map(|(at, _, frame)| *at - u32::from(frame[12]) * MS).collect();
    assert!(delays.iter().all(|d| *d >= 7 * MS && *d <= 14 * MS), "{delays:?}");
    assert!(delays.iter().max().unwrap().abs_diff(*delays.iter().min().unwrap()) > 2 * MS);
}

#[test]
fn a_cut_loses_what_is_under_way_and_healing_brings_the_path_back() {
    let mut bench = Bench::new(path(10, 10 * MS));
    bench.send(A, mac(C), 1000, 0);
    bench.run(5 * MS);
    assert!(bench.wan.set_cut(PipeId::Sites(WEST, EAST), true));
    bench.send(A, mac(C), 1000, 1);
    bench.send(C, mac(A), 1000, 2);
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.bytes_at(C), 0);
    assert_eq!(bench.bytes_at(A), 1000, "the other direction is a pipe of its own");
    assert_eq!(bench.path().dropped_cut, 2);
    bench.wan.set_cut(PipeId::Sites(WEST, EAST), false);
    bench.send(A, mac(C), 1000, 3);
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.bytes_at(C), 1000);
}

#[test]
fn a_cut_pair_leaves_its_neighbours_alone() {
    let mut bench = Bench::new(path(10, MS));
    bench.wan.set_pair_cut(A, C, true);
    for (from, to) in [(A, C), (C, A), (A, D), (B, C)] {
        bench.send(from, mac(to), 1000, 0);
    }
    bench.send(A, MacAddr::BROADCAST, 100, 0);
    bench.run(100 * MS);
    assert_eq!([A, B, C, D].map(|nic| bench.bytes_at(nic)), [0, 100, 1000, 1100]);
    assert_eq!(bench.wan.strays().cut, 3);
    bench.wan.set_pair_cut(A, C, false);
    bench.send(A, mac(C), 1000, 0);
    bench.run(100 * MS);
    assert_eq!(bench.bytes_at(C), 2000);
}

#[test]
fn a_broadcast_crosses_a_path_once_and_reaches_everyone_else() {
    let mut bench = Bench::new(path(10, MS));
    bench.send(A, MacAddr::BROADCAST, 100, 0);
    bench.run(100 * MS);
    let mut receivers: Vec<NicId> = bench.arrived.iter().map(|(_, nic, _)| *nic).collect();
    receivers.sort();
    assert_eq!(receivers, [B, C, D]);
    assert_eq!(bench.path().frames, 1);
}

#[test]
fn a_private_path_replaces_that_of_the_sites() {
    let mut bench = Bench::new(path(10, MS));
    assert!(bench.wan.set(bench.start, PipeId::Nics(A, C), Figures::delay(50 * MS)));
    bench.send(A, mac(C), 100, 0);
    bench.send(A, MacAddr::BROADCAST, 100, 1);
    bench.run(10 * MS);
    assert_eq!([B, C, D].map(|nic| bench.bytes_at(nic)), [100, 0, 100]);
    bench.run(100 * MS);
    assert_eq!(bench.bytes_at(C), 200);
    assert!(!bench.wan.set(bench.start, PipeId::Nics(A, NicId(99)), FAST));
}

#[test]
fn a_new_rate_holds_for_what_already_waits() {
    let mut bench = Bench::new(path(1, MS));
    for _ in 0..10 {
        bench.send(A, mac(C), 1000, 0); // 8 ms each
    }
    bench.run(12 * MS); // half way through the second
    bench.wan.set(bench.now, PipeId::Sites(WEST, EAST), path(100, MS));
    bench.run(3 * MS);
    assert_eq!(bench.bytes_at(C), 10_000);
}

#[test]
fn what_no_pipe_can_take_is_counted() {
    let mut bench = Bench::new(path(1, MS));
    bench.wan.ingest(bench.now, A, vec![0; 13].into());
    bench.send(A, MacAddr::local(77), 60, 0);
    let island = bench.wan.add_site(Figures::PERFECT);
    let lonely = bench.wan.add_nic(island, MacAddr::local(50), FAST, FAST);
    bench.send(lonely, mac(A), 60, 0);
    bench.run(10 * MS);
    let strays = bench.wan.strays();
    assert_eq!((strays.runt, strays.unknown_destination, strays.no_path), (1, 1, 1));
    assert!(bench.arrived.is_empty());
}

proptest! {
    /// Whatever is sent, cut, healed and changed: each frame arrives once, in
    /// order per pair, or is counted exactly once as dropped.
    #[test]
    fn every_frame_is_accounted_for(
        steps in prop::collection::vec((0_u32..4, 0_u32..4, 14_usize..1515, 0_u64..3000, 0_u8..12), 1..200)
    ) {
        let mut bench = Bench::new(Figures { loss: 0.05, jitter: MS, ..path(20, 3 * MS) });
        let mut sent = 0_u64;
        for (step, (from, to, bytes, pause, change)) in steps.into_iter().enumerate() {
            let pipe = PipeId::Sites(WEST, EAST);
            match change {
                0 => { bench.wan.set_cut(pipe, true); }
                1 => { bench.wan.set_cut(pipe, false); }
                2 => { bench.wan.set(bench.now, pipe, path(1 + pause % 50, MS)); }
                3 => bench.wan.set_pair_cut(A, D, pause % 2 == 0),
                4 => { bench.wan.set(bench.now, pipe, Figures::delay(MS)); }
                _ => {}
            }
            if from != to {
                let mut frame = vec![0; bytes];
                frame[..6].copy_from_slice(&mac(NicId(to)).0);
                frame[6..8].copy_from_slice(&[from as u8, to as u8]);
                frame[8..12].copy_from_slice(&(step as u32).to_be_bytes());
                bench.wan.ingest(bench.now, NicId(from), frame.into());
                sent += 1;
            }
            bench.run(Duration::from_micros(pause));
        }
        bench.run(Duration::from_secs(60));
        prop_assert_eq!(bench.wan.next_deadline(), None);

        let dropped: u64 = bench.wan.pipes.iter().map(|pipe| {
            let c = pipe.counters();
            c.dropped_full + c.dropped_loss + c.dropped_cut
        }).sum::<u64>() + bench.wan.strays().cut;
        prop_assert_eq!(bench.arrived.len() as u64 + dropped, sent);
        let mut last = HashMap::new();
        for (_, nic, frame) in &bench.arrived {
            prop_assert_eq!(u32::from(frame[7]), nic.0);
            let step = u32::from_be_bytes(frame[8..12].try_into().unwrap());
            let before = last.insert((frame[6], frame[7]), step);
            prop_assert!(before < Some(step), "overtaken");
        }
    }
}

/// Sends frames of ours for ten seconds, and gives what came of them and of the others'.
fn beside_others(load: f64, arrivals: CrossArrivals, frames: u64) -> (Counters, f64) {
    let mut bench = Bench::new(path(10, MS));
    let start = bench.now;
    let traffic = CrossTraffic::new(load, arrivals);
    assert!(bench.wan.set_cross(start, PipeId::Sites(WEST, EAST), Some(traffic)));
    let mut waits = Duration::ZERO;
    for n in 0..frames {
        let sent = bench.now - bench.start;
        bench.send(A, mac(C), 1250, n as u8);
        bench.run(Duration::from_secs(10) / frames as u32);
        if let Some((at, ..)) = bench.arrived.last() {
            waits += at.saturating_sub(sent);
        }
    }
    bench.run(MS);
    (bench.path(), waits.as_secs_f64() / frames as f64)
}

#[test]
fn others_take_their_share_and_make_us_wait() {
    for arrivals in [CrossArrivals::Poisson, CrossArrivals::Pareto(1.9)] {
        for load in [0.2, 0.5, 0.8] {
            let (counters, _) = beside_others(load, arrivals, 100);
            let share = counters.cross_bytes as f64 * 8.0 / 10e6 / 10.0;
            assert!((share - load).abs() < 0.06, "{arrivals:?}: {share} instead of {load}");
            assert_eq!(counters.frames, 100, "{arrivals:?}: we need a hundredth");
        }
    }
    let wait = |load| beside_others(load, CrossArrivals::Poisson, 100).1;
    // The mean wait of an M/D/1 queue: load / (1 - load) / 2 services of 1.2 ms.
    let (none, half, much) = (wait(0.0), wait(0.5), wait(0.8));
    assert!((half - none - 0.6e-3).abs() < 0.3e-3, "{half} {none}");
    assert!((much - none - 2.4e-3).abs() < 1.2e-3, "{much} {none}");
}

#[test]
fn others_and_we_share_what_the_pipe_carries() {
    // We offer all of it, they 60 %: what is too much is lost, by either.
    let (counters, _) = beside_others(0.6, CrossArrivals::Poisson, 10_000);
    let total = (counters.bytes + counters.cross_bytes) as f64 * 8.0 / 10.0;
    assert!((total / 10e6 - 1.0).abs() < 0.01, "{total}");
    assert!(counters.dropped_full > 0);
}

#[test]
fn others_stop_when_told_and_do_not_outlive_a_cut() {
    let mut bench = Bench::new(path(10, MS));
    let pipe = PipeId::Sites(WEST, EAST);
    let traffic = CrossTraffic::new(0.9, CrossArrivals::Poisson);
    assert!(bench.wan.set_cross(bench.now, pipe, Some(traffic)));
    bench.run(Duration::from_secs(1));
    bench.wan.set_cut(pipe, true);
    bench.run(Duration::from_secs(1));
    bench.wan.set_cut(pipe, false);
    bench.send(A, mac(C), 1250, 1);
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.bytes_at(C), 1250);
    assert!(bench.wan.set_cross(bench.now, pipe, None));
    let before = bench.path().cross_bytes;
    assert!(before > 0);
    bench.run(Duration::from_secs(1));
    bench.send(A, mac(C), 1250, 2);
    let sent = bench.now - bench.start;
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.arrived.last().unwrap().0 - sent, Duration::from_micros(10 + 1000 + 1000 + 10));
    assert!(bench.path().cross_bytes - before < 100_000, "but for what was in the queue");
    assert!(!bench.wan.set_cross(bench.now, PipeId::Nics(A, B), None));
}
