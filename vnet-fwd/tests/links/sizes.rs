//! The search for the path MTU, and frames that are longer.

use proptest::prelude::*;
use vnet_core::LinkKind;
use vnet_core::encap::HEADER;
use vnet_core::frame::ETHERNET_HEADER;
use vnet_fwd::DropReason;
use vnet_fwd::secure::{SEAL_BACK, SEAL_FRONT};

use crate::world::{FAIR, HEADERS, Sizes, Weather, World, ms};

/// A search ends when it knows the MTU so well.
const STEP: usize = 8;

fn up(weather: Weather, secret: bool, sizes: Sizes, split: bool, seed: u64) -> World {
    let mut world = World::new(LinkKind::Udp, 0, weather, seed);
    (world.sizes, world.split) = ([sizes; 2], split);
    let mut world = world.with_encryption([secret; 2]);
    world.add_link(0, true);
    world.add_link(1, true);
    assert!(world.run_until(ms(20_000), World::both_up).is_some(), "not up: {}", world.why(0));
    world
}

fn has_found(world: &World, n: usize, mtu: usize) -> bool {
    let (found, search) = world.path_mtu(n);
    let found = found.unwrap_or(0) as usize;
    ["complete", "error"].contains(&search.as_str()) && found <= mtu && found + STEP > mtu
}

proptest! {
    #[test]
    fn the_search_finds_the_mtu_of_any_path(
        path in 600_usize..9100, device in 600_usize..9100, icmp: bool, secret: bool, seed: u64,
        loss in 0.0..0.03, least_delay_ms in 0_u64..60, spread in 0_u64..20,
    ) {
        let weather = Weather { loss, repeat: 0.01, least_delay_ms, most_delay_ms: least_delay_ms + spread };
        let mut world = up(weather, secret, Sizes { device, path, icmp }, true, seed);
        let mtu = device.min(path).min(9000);
        world.run(ms(15_000));
        // Three probes of a length that passes may be lost; the next search is in ten minutes.
        let found = world.run_until(ms(1_900_000), |world| has_found(world, 0, mtu) && has_found(world, 1, mtu));
        prop_assert!(found.is_some(), "{mtu}: {:?}, {:?}", world.path_mtu(0), world.path_mtu(1));
        prop_assert!(loss > 0.0 || found == Some(ms(0)));
        prop_assert_eq!(world.nodes[0].downs.len() + world.nodes[1].downs.len(), 0);
    }

    #[test]
    fn a_path_that_shrinks_under_traffic_is_no_black_hole_for_five_seconds(
        before in 1300_usize..9100, after in 600_usize..9100, icmp: bool, secret: bool, seed: u64,
        delay in 0_u64..50, length in 60_usize..9000, when in 0_u64..3000,
    ) {
        let weather = Weather { least_delay_ms: delay, most_delay_ms: delay, ..FAIR };
        let mut world = up(weather, secret, Sizes { device: 9000, path: before, icmp }, true, seed);
        world.run(ms(15_000 + when));
        world.sizes = [Sizes { device: 9000, path: after.min(before), icmp }; 2];
        // Two seconds of silence, then frames all the time.
        let (mut arrived, mut gap, mut longest) = (world.nodes[1].frames.len(), 0, 0);
        for n in 0..2000_u64 {
            let mut frame = vec![n as u8; length];
            frame[..8].copy_from_slice(&n.to_be_bytes());
            let _ = world.long_frame(0, &frame);
            world.run(ms(10));
            let now = world.nodes[1].frames.len();
            (gap, arrived) = if now > arrived { (0, now) } else { (gap + 10, now) };
            longest = longest.max(gap);
        }
        prop_assert!(longest < 5_000, "nothing arrives for {longest} ms");
        prop_assert!(world.nodes[1].frames.iter().all(|frame| frame.len() == length));
        prop_assert_eq!(world.nodes[0].downs.len(), 0);
        if length > before {
            prop_assert!(has_found(&world, 0, after.min(before)), "{:?}", world.path_mtu(0));
        }
    }

    #[test]
    fn frames_of_any_length_arrive_over_any_path_once(
        mtu in 600_usize..2000, secret: bool, seed: u64,
        lengths in proptest::collection::vec(60_usize..9000, 1..40),
        most_delay_ms in 1_u64..4,
    ) {
        let weather = Weather { loss: 0.0, repeat: 0.0, least_delay_ms: 1, most_delay_ms };
        let mut world = up(weather, secret, Sizes { device: mtu, path: mtu, icmp: false }, true, seed);
        world.run(ms(10_000));
        let frames: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(n, length)| vec![n as u8; *length]).collect();
        for frame in &frames {
            prop_assert_eq!(world.long_frame(1, frame), Ok(()));
            world.run(ms(1));
        }
        world.run(ms(1_000));
        let (mut sent, mut arrived) = (frames, world.nodes[0].frames.clone());
        sent.sort();
        arrived.sort();
        prop_assert_eq!(arrived, sent);
    }
}

#[test]
fn the_mtu_of_our_own_device_is_found_in_a_round_trip_or_two() {
    for secret in [false, true] {
        let mut world = up(FAIR, secret, Sizes { device: 1500, path: 1500, icmp: false }, true, 1);
        let took = world.run_until(ms(1_000), |world| world.path_mtu(0).1 == "complete").unwrap();
        assert!(took <= ms(10), "{took:?}");
        assert_eq!(world.path_mtu(0).0, Some(1500));
        let room = if secret { SEAL_FRONT + SEAL_BACK } else { 0 };
        let expected = (1500 - HEADERS - HEADER - ETHERNET_HEADER - room) as u32;
        assert_eq!(world.nodes[0].links.take_interface_mtu(), Some(Some(expected)));
        assert_eq!(world.nodes[0].links.take_interface_mtu(), None, "that is no news");
    }
}

#[test]
fn icmp_alone_changes_nothing() {
    let mut world = up(FAIR, false, Sizes { device: 1500, path: 1500, icmp: false }, true, 1);
    world.run(ms(2_000));
    let peer = world.nodes[1].address;
    for _ in 0..100 {
        world.nodes[0].links.limited(peer, 600, true, world.now);
        world.act(0);
        world.run(ms(20));
        assert_eq!(world.path_mtu(0), (Some(1500), "complete".to_owned()));
    }
}

#[test]
fn an_honest_hint_is_tried_first() {
    let took = [false, true].map(|icmp| {
        let mut world = up(FAIR, false, Sizes { device: 9000, path: 9000, icmp }, true, 1);
        world.run(ms(10_000));
        world.sizes[0].path = 1337;
        let start = world.now;
        loop {
            let _ = world.long_frame(0, &[7; 8000]);
            world.run(ms(5));
            if (1337 - STEP as u32..=1337).contains(&world.path_mtu(0).0.unwrap()) {
                return world.now - start;
            }
            assert!(world.now - start < ms(10_000), "{:?}", world.path_mtu(0));
        }
    });
    assert!(took[1] < ms(500) && took[1] < took[0] / 2, "{took:?}");
}

#[test]
fn without_splitting_what_is_too_long_is_dropped_and_counted() {
    let mut world = up(FAIR, true, Sizes { device: 1500, path: 1500, icmp: false }, false, 1);
    world.run(ms(1_000));
    let fits = 1500 - HEADERS - HEADER - SEAL_FRONT - SEAL_BACK;
    assert_eq!(world.long_frame(0, &vec![1; fits]), Ok(()));
    assert_eq!(world.long_frame(0, &vec![1; fits + 1]), Err(DropReason::PathMtu));
    world.run(ms(1_000));
    assert_eq!(world.nodes[1].frames, [vec![1; fits]]);
    let status = &world.nodes[0].links.status(world.now)[0];
    assert_eq!((status.not_fitting, status.split_frames), (1, 0));
}

#[test]
fn a_path_that_grows_is_noticed_in_ten_minutes() {
    let mut world = up(FAIR, false, Sizes { device: 9000, path: 1280, icmp: false }, true, 1);
    world.run(ms(30_000));
    assert!(has_found(&world, 0, 1280), "{:?}", world.path_mtu(0));
    world.sizes[0].path = 1500;
    let took = world.run_until(ms(700_000), |world| has_found(world, 0, 1500));
    assert!(took.is_some(), "{:?}", world.path_mtu(0));
}

#[test]
fn an_idle_link_sends_no_probes() {
    let mut world = up(FAIR, false, Sizes { device: 1500, path: 1500, icmp: false }, true, 1);
    world.run(ms(5_000));
    let sent = |world: &World| world.nodes[0].links.status(world.now)[0].sent_bytes;
    let before = sent(&world);
    world.run(ms(60_000));
    // Keepalives alone: two a second of some 70 bytes.
    assert!(sent(&world) - before < 60 * 2 * 100, "{} bytes", sent(&world) - before);
}
