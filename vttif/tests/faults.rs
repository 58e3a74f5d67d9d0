//! What happens to reports and daemons does not show in the result.

mod support;

use proptest::prelude::*;
use rand::RngExt;
use support::{Faults, World, edges, mac, ms};
use vttif::Parameters;

const RATE: f64 = 200_000.0;

fn world(seed: u64, hosts: usize, vms: usize) -> World {
    World::new(seed, hosts, vms, Parameters::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_byte_counts_once_whatever_happens_to_reports(
        seed: u64,
        lost in 0.0..0.9_f64,
        duplicated in 0.0..0.9_f64,
        delay in 0_u64..400,
        migrations in 0_usize..4,
    ) {
        let mut world = world(seed, 3, 6);
        let list = edges("all-to-all", 6);
        // The first report of each daemon must arrive first: without it, the
        // past of a pair that is heard of later is unknown.
        world.run(ms(100), |world, step| world.chatter(step));
        world.faults = Faults { lost, duplicated, delay: ms(delay) };
        for _ in 0..=migrations {
            world.run(ms(700), |world, step| world.exchange(&list, RATE, step));
            let vm = world.rng.random_range(0..6);
            world.placement[vm] = world.rng.random_range(0..3);
        }
        world.resynchronise();
        for ((source, destination), bytes) in &world.truth {
            prop_assert_eq!(world.aggregator.bytes(mac(*source), mac(*destination)), *bytes);
        }
    }

    #[test]
    fn a_silent_daemon_is_stood_in_for_and_nothing_counts_twice(seed: u64, silence in 0_u64..4000) {
        let mut world = world(seed, 3, 6);
        let list = edges("all-to-all", 6);
        world.run(ms(1000), |world, step| world.exchange(&list, RATE, step));
        world.mute(0, true);
        world.run(ms(silence), |world, step| world.exchange(&list, RATE, step));
        if silence > 1500 {
            // VM 0 is on the silent host, VM 1 is not.
            let (bytes, truth) = (world.aggregator.bytes(mac(0), mac(1)), world.truth[&(0, 1)]);
            prop_assert!(bytes <= truth);
            let unseen = (RATE * 1.8) as u64;
            prop_assert!(bytes + unseen > truth, "{} of {}", bytes, truth);
        }
        world.mute(0, false);
        world.run(ms(200), |world, step| world.exchange(&list, RATE, step));
        world.resynchronise();
        for ((source, destination), bytes) in &world.truth {
            prop_assert_eq!(world.aggregator.bytes(mac(*source), mac(*destination)), *bytes);
        }
    }

    #[test]
    fn a_restarted_daemon_loses_at_most_what_it_had_not_reported(seed: u64, restarts in 1_usize..5) {
        let mut world = world(seed, 3, 6);
        let list = edges("all-to-all", 6);
        for _ in 0..restarts {
            world.run(ms(600), |world, step| world.exchange(&list, RATE, step));
            let host = world.rng.random_range(0..3);
            world.restart(host);
        }
        world.run(ms(600), |world, step| world.exchange(&list, RATE, step));
        world.resynchronise();
        for ((source, destination), truth) in &world.truth {
            let bytes = world.aggregator.bytes(mac(*source), mac(*destination));
            let lost = restarts as f64 * RATE * 1.5 * 0.06;
            prop_assert!(bytes <= *truth && bytes as f64 + lost >= *truth as f64, "{} of {}", bytes, truth);
        }
    }
}

#[test]
fn bad_reporting_is_no_change_of_the_topology() {
    for (seed, (lost, duplicated, delay)) in
        [(0.0, 0.0, 150), (0.2, 0.0, 5), (0.1, 0.5, 100), (0.3, 0.3, 30)].into_iter().enumerate()
    {
        let mut world = world(seed as u64, 4, 16);
        world.faults = Faults { lost, duplicated, delay: ms(delay) };
        let list = edges("torus", 16);
        world.run(ms(15_000), |world, step| {
            world.chatter(step);
            world.exchange(&list, RATE, step);
        });
        assert_eq!(world.changes.len(), 1, "lost {lost}, duplicated {duplicated}, delay {delay} ms");
        assert_eq!(world.names()[0], "torus 4x4");
    }
}

#[test]
fn a_stalled_a_restarted_or_a_dead_daemon_is_no_change_of_the_topology() {
    let mut world = world(5, 4, 8);
    let list = edges("ring", 8);
    let run = |world: &mut World, time| {
        world.run(ms(time), |world, step| {
            world.chatter(step);
            world.exchange(&list, RATE, step);
        });
    };
    run(&mut world, 3_000);
    for stall in [150, 400, 900, 3_000] {
        world.mute(1, true);
        run(&mut world, stall);
        world.mute(1, false);
        run(&mut world, 2_000);
        assert_eq!(world.changes.len(), 1, "stalled for {stall} ms");
    }
    world.restart(2);
    run(&mut world, 2_000);
    assert_eq!(world.changes.len(), 1, "restarted");
    assert_eq!(world.names()[0], "ring");
}

#[test]
fn a_proxy_that_hears_nobody_knows_nothing_new() {
    let mut world = world(8, 4, 8);
    let list = edges("ring", 8);
    world.run(ms(3_000), |world, step| world.exchange(&list, RATE, step));
    for mute in [true, false] {
        for host in 0..4 {
            world.mute(host, mute);
        }
        world.run(ms(10_000), |world, step| world.exchange(&list, RATE, step));
        assert_eq!((world.changes.len(), &*world.names()[0]), (1, "ring"));
    }
}

#[test]
fn a_vm_that_is_gone_for_a_second_is_no_change() {
    for shape in ["all-to-all", "ring", "star", "torus"] {
        let mut world = world(9, 4, 8);
        let list = edges(shape, 8);
        world.run(ms(4_000), |world, step| world.exchange(&list, RATE, step));
        for vm in [1, 5] {
            let others: Vec<_> = list.iter().copied().filter(|(a, b)| *a != vm && *b != vm).collect();
            world.run(ms(1_000), |world, step| world.exchange(&others, RATE, step));
            world.placement[vm] = (world.placement[vm] + 1) % 4;
            world.run(ms(2_000), |world, step| world.exchange(&list, RATE, step));
        }
        assert_eq!(world.changes.len(), 1, "{shape}");
    }
}

#[test]
fn a_vm_keeps_its_row_when_it_migrates() {
    let mut world = world(6, 4, 8);
    let list = edges("ring", 8);
    let run = |world: &mut World, time| {
        world.run(ms(time), |world, step| world.exchange(&list, RATE, step));
    };
    run(&mut world, 3_000);
    let before = world.aggregator.view(world.now);
    for vm in 0..8 {
        world.placement[vm] = (world.placement[vm] + 1 + vm % 3) % 4;
        run(&mut world, 500);
    }
    let after = world.aggregator.view(world.now);
    assert_eq!(world.changes.len(), 1);
    assert_eq!((before.vertices, before.edges, before.names), (after.vertices, after.edges, after.names));
    let rate = |source: u32, destination: u32| {
        after
            .rates
            .iter()
            .find(|(a, b, _)| (*a, *b) == (source, destination))
            .map_or(0.0, |(_, _, rate)| *rate)
    };
    assert!((rate(0, 1) / RATE - 1.0).abs() < 0.2, "{} bytes/s", rate(0, 1));
}

#[test]
fn frames_that_get_lost_are_made_up_for_while_their_sender_is_silent() {
    let mut world = world(10, 2, 4);
    world.frames_lost = 0.2;
    let list = edges("ring", 4);
    world.run(ms(20_000), |world, step| world.exchange(&list, RATE, step));
    world.mute(0, true);
    world.run(ms(3_000), |world, step| world.exchange(&list, RATE, step));
    // Four seconds' worth are missing where they arrive; what still does, counts.
    let view = world.aggregator.view(world.now);
    assert_eq!(view.rates.len(), 8);
    for (source, destination, rate) in &view.rates {
        assert!((0.7..1.3).contains(&(rate / RATE)), "{source} to {destination}: {rate} bytes/s");
    }
    assert_eq!((world.changes.len(), &*world.names()[0]), (1, "ring"));
}

#[test]
fn a_lump_after_a_long_silence_counts_with_its_mean_rate() {
    let mut world = world(7, 2, 4);
    let list = edges("ring", 4);
    world.run(ms(3_000), |world, step| world.exchange(&list, RATE, step));
    world.mute(0, true);
    world.mute(1, true);
    world.run(ms(20_000), |world, step| world.exchange(&list, RATE, step));
    world.mute(0, false);
    world.mute(1, false);
    world.run(ms(100), |world, step| world.exchange(&list, RATE, step));
    let view = world.aggregator.view(world.now);
    assert!(view.rates.iter().all(|(_, _, rate)| *rate < 2.0 * RATE), "{:?}", view.rates);
}
