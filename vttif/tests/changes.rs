//! When changes of the application's topology are reported, and when not.

mod support;

use std::collections::BTreeSet;

use rand::RngExt;
use support::{Edge, World, edges, ms};
use vttif::Parameters;

const RATE: f64 = 200_000.0;

fn world(seed: u64, vms: usize) -> World {
    World::new(seed, 4, vms, Parameters::default())
}

fn union(lists: &[Vec<Edge>]) -> BTreeSet<Edge> {
    lists.iter().flatten().copied().collect()
}

/// The request and the name that it must be given.
const SHAPES: [(&str, &str); 8] = [
    ("bus", "bus"),
    ("ring", "ring"),
    ("star", "star"),
    ("mesh", "mesh"),
    ("torus", "torus"),
    ("hypercube", "hypercube"),
    ("tree", "tree"),
    ("all-to-all", "all-to-all"),
];

#[test]
fn a_new_topology_is_reported_within_half_a_second() {
    for (seed, (shape, name)) in SHAPES.into_iter().enumerate() {
        for vms in [8, 16] {
            let mut world = world(seed as u64, vms);
            let list = edges(shape, vms);
            world.run(ms(2_000), |world, step| world.chatter(step));
            assert!(world.changes.is_empty(), "chatter is not a topology");
            world.run(ms(10_000), |world, step| {
                world.chatter(step);
                world.exchange(&list, RATE, step);
            });
            let (at, change) = &world.changes[0];
            assert!(*at <= ms(2_500), "{shape}: {at:?}");
            assert!(change.classification.names().iter().any(|n| n.to_string().starts_with(name)), "{shape}");
            assert_eq!(world.changes.len(), 1, "{shape}");
            assert_eq!(world.reported(), union(&[list]));
        }
    }
}

#[test]
fn every_switch_is_reported_once_when_switched_every_two_seconds() {
    for seed in 0..8 {
        let mut world = world(seed, 8);
        let mut last = "";
        for round in 1..=12_usize {
            let shape = loop {
                let (shape, _) = SHAPES[world.rng.random_range(0..SHAPES.len())];
                // With 8 VMs, a hypercube is a torus.
                let is_same =
                    shape == last || [shape, last].iter().all(|s| ["torus", "hypercube"].contains(s));
                if !is_same {
                    break shape;
                }
            };
            last = shape;
            let list = edges(shape, 8);
            let began = world.elapsed();
            world.run(ms(2_000), |world, step| {
                world.chatter(step);
                world.exchange(&list, RATE, step);
            });
            assert_eq!(world.changes.len(), round, "seed {seed}: {shape}");
            let latency = world.changes[round - 1].0 - began;
            assert!(latency <= ms(500), "seed {seed}: {shape} after {latency:?}");
            assert_eq!(world.reported(), union(&[list]), "seed {seed}: {shape}");
        }
    }
}

#[test]
fn an_application_that_changes_too_fast_is_the_union_of_its_topologies() {
    for (seed, period) in [50, 100, 200].into_iter().enumerate() {
        for shapes in [vec!["ring", "star"], vec!["bus", "hypercube"], vec!["ring", "star", "tree"]] {
            let mut world = world(seed as u64, 8);
            let lists: Vec<_> = shapes.iter().map(|shape| edges(shape, 8)).collect();
            world.run(ms(10_000), |world, step| {
                let phase = (world.elapsed().as_millis() / period) as usize % lists.len();
                world.chatter(step);
                world.exchange(&lists[phase].clone(), RATE, step);
            });
            assert!(
                world.changes.len() <= 1,
                "{shapes:?} every {period} ms: {} changes",
                world.changes.len()
            );
            assert_eq!(world.reported(), union(&lists), "{shapes:?} every {period} ms");
        }
    }
}

#[test]
fn there_is_no_oscillation_at_any_rate_of_change() {
    for period in [300, 400, 500, 700, 900, 1100, 1300] {
        let mut world = world(period, 8);
        let lists = [edges("ring", 8), edges("star", 8)];
        world.run(ms(20_000), |world, step| {
            let phase = (world.elapsed().as_millis() as u64 / period) as usize % 2;
            world.exchange(&lists[phase].clone(), RATE, step);
        });
        let late = world.changes.iter().filter(|(at, _)| *at > ms(5_000)).count();
        assert_eq!(late, 0, "every {period} ms: {} changes", world.changes.len());
        assert!(world.changes.len() <= 3, "every {period} ms: {} changes", world.changes.len());
        assert_eq!(world.reported(), union(&lists), "every {period} ms");
    }
}

#[test]
fn compute_phases_are_no_change() {
    for (seed, (busy, pause)) in
        [(50, 50), (100, 400), (30, 900), (200, 2_000), (400, 4_000)].into_iter().enumerate()
    {
        let mut world = world(seed as u64, 8);
        let list = edges("ring", 8);
        world.run(ms(20_000), |world, step| {
            world.chatter(step);
            if world.elapsed().as_millis() % (busy + pause) < busy {
                world.exchange(&list, RATE, step);
            }
        });
        assert_eq!(world.changes.len(), 1, "{busy} ms of every {} ms", busy + pause);
        assert_eq!(world.names()[0], "ring");
    }
}

#[test]
fn the_end_of_an_application_is_reported_once() {
    let mut world = world(1, 8);
    let list = edges("torus", 8);
    world.run(ms(3_000), |world, step| world.exchange(&list, RATE, step));
    world.run(ms(10_000), |world, step| world.chatter(step));
    assert_eq!(world.changes.len(), 2);
    assert_eq!(world.names(), ["none"]);
    let (_, change) = &world.changes[1];
    assert_eq!((change.added.len(), change.removed.len()), (0, list.len()));
    world.run(ms(2_000), |world, step| world.exchange(&list, RATE, step));
    assert_eq!(world.changes.len(), 3);
    assert_eq!(world.names()[0], "hypercube 3");
}

#[test]
fn messages_of_one_size_over_links_of_different_speed_are_one_topology() {
    // All-to-all in iterations of 900 ms: pairs on the same host are done in a
    // moment, others take their time.
    for seed in 0..4 {
        let mut world = world(seed, 8);
        let list = edges("all-to-all", 8);
        world.run(ms(12_000), |world, step| {
            let phase = world.elapsed().as_millis() as usize % 900;
            for (a, b) in &list {
                let duration =
                    if world.placement[*a] == world.placement[*b] { 20 } else { 600 + 30 * (a + b) % 300 };
                if phase < duration {
                    let bytes = 100_000 * STEP / duration;
                    world.tcp(*a, *b, bytes as u64);
                    world.tcp(*b, *a, bytes as u64);
                }
            }
            let _ = step;
        });
        assert_eq!(world.names()[0], "all-to-all", "seed {seed}");
        assert!(world.changes.len() <= 2, "seed {seed}: {}", world.changes.len());
        assert!(world.changes.iter().all(|(at, _)| *at < ms(2_500)));
    }
}

/// The step of the simulation in milliseconds.
const STEP: usize = 5;
