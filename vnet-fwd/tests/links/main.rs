//! Links over a simulated network that delays, reorders, repeats and loses, with
//! a simulated clock. Each test prints its seed when it fails.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

mod sizes;
mod world;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use proptest::prelude::*;
use vnet_core::encap::HEADER;
use vnet_core::{Link, LinkKind};
use vnet_fwd::link::{Action, LinkSet, LinkTiming, Path};

use crate::world::{FAIR, Weather, World, host, key, link, ms};

/// Kinds of links, and whether they are encrypted.
const SORTS: [(LinkKind, bool); 4] =
    [(LinkKind::Udp, false), (LinkKind::Tcp, false), (LinkKind::Udp, true), (LinkKind::Tcp, true)];

fn kind() -> impl Strategy<Value = LinkKind> {
    prop_oneof![Just(LinkKind::Udp), Just(LinkKind::Tcp)]
}

fn weather() -> impl Strategy<Value = Weather> {
    (0.0..0.3, 0.0..0.3, 0_u64..40, 0_u64..60).prop_map(|(loss, repeat, least, spread)| Weather {
        loss,
        repeat,
        least_delay_ms: least,
        most_delay_ms: least + spread,
    })
}

/// Which ends know where the other is; over TCP both may dial.
fn who_knows() -> impl Strategy<Value = [bool; 2]> {
    prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])]
}

proptest! {
    #[test]
    fn comes_up_in_any_weather_and_again_after_a_cut(
        kind in kind(), opener in 0_usize..2, knows in who_knows(), weather in weather(),
        second_after_ms in 0_u64..3000, seed: u64, secret: bool,
    ) {
        let mut world = World::new(kind, opener, weather, seed).with_encryption([secret; 2]);
        world.add_link(0, knows[0]);
        world.run(ms(second_after_ms));
        world.add_link(1, knows[1]);
        let up = world.run_until(ms(20_000), World::both_up);
        prop_assert!(up.is_some(), "not up: {} / {}", world.why(0), world.why(1));

        world.cut = true;
        let down = world.run_until(ms(5_000), World::none_up);
        prop_assert!(down.is_some(), "a cut link stays up");
        world.run(ms(8_000));
        prop_assert!(world.none_up());
        for n in 0..2 {
            prop_assert!(world.nodes[n].downs.last().unwrap().contains("no sign of life"));
        }

        world.cut = false;
        let up = world.run_until(ms(20_000), World::both_up);
        prop_assert!(up.is_some(), "not up again: {} / {}", world.why(0), world.why(1));
    }

    #[test]
    fn reordering_and_repetition_never_take_a_link_down(
        kind in kind(), opener in 0_usize..2, knows in who_knows(), seed: u64, secret: bool,
        repeat in 0.0..0.5, most_delay_ms in 1_u64..150,
    ) {
        let weather = Weather { loss: 0.0, repeat, least_delay_ms: 0, most_delay_ms };
        let mut world = World::new(kind, opener, weather, seed).with_encryption([secret; 2]);
        world.add_link(0, knows[0]);
        world.add_link(1, knows[1]);
        prop_assert!(world.run_until(ms(10_000), World::both_up).is_some());
        // Dialling from both sides may take a moment to settle on one connection.
        world.run(ms(5_000));
        let downs: Vec<usize> = world.nodes.iter().map(|n| n.downs.len()).collect();
        if kind == LinkKind::Udp {
            prop_assert_eq!(&downs, &vec![0, 0]);
        }
        world.run(ms(60_000));
        let after: Vec<usize> = world.nodes.iter().map(|n| n.downs.len()).collect();
        prop_assert_eq!(downs, after, "{:?} {:?}", &world.nodes[0].downs, &world.nodes[1].downs);
        prop_assert!(world.both_up());
        let open = world.connections.iter().filter(|c| c.ends.iter().any(Option::is_some)).count();
        prop_assert_eq!(open, usize::from(kind == LinkKind::Tcp), "one connection serves the link");
        let trip = world.nodes[opener].links.status(world.now)[0].round_trip_us.unwrap();
        prop_assert!(trip <= most_delay_ms * 2_000, "round trip of {trip} us");
    }

    #[test]
    fn a_restarted_peer_is_back_as_soon_as_its_silence_is_noticed(
        kind in kind(), opener in 0_usize..2, who in 0_usize..2, knows in who_knows(),
        dead_ms in 0_u64..6000, seed: u64, secret: bool, least_delay_ms in 0_u64..20,
    ) {
        let weather = Weather { loss: 0.0, repeat: 0.1, least_delay_ms, most_delay_ms: least_delay_ms + 20 };
        let mut world = World::new(kind, opener, weather, seed).with_encryption([secret; 2]);
        world.add_link(0, knows[0]);
        world.add_link(1, knows[1]);
        prop_assert!(world.run_until(ms(10_000), World::both_up).is_some());
        world.run(ms(3_000));
        let other = 1 - who;
        let (ups, downs) = (world.nodes[other].ups, world.nodes[other].downs.len());
        // Killed, and dead for a while: what is sent to it is lost.
        world.cut = true;
        world.run(ms(dead_ms));
        world.cut = false;
        // Over TCP the restarted end can't be dialled by one that doesn't know its
        // address, so it has to know the other's.
        let knows_peer = knows[who] || kind == LinkKind::Tcp && !knows[other];
        world.restart(who, knows_peer);
        // To strangers a restarted peer is silent, and where links are encrypted, the other
        // end is one: it notices after two seconds. Then come greeting, answer and proof.
        let soon = ms(2_000 + 3 * weather.most_delay_ms);
        let up = world.run_until(soon, |w| w.both_up() && w.nodes[other].ups > ups);
        prop_assert!(up.is_some(), "{} / {}", world.why(0), world.why(1));
        prop_assert!(world.nodes[other].downs.len() > downs, "the restart goes unnoticed");
    }

    #[test]
    fn a_peer_that_moves_is_followed_without_going_down(
        opener in 0_usize..2, who in 0_usize..2, knows in who_knows(), seed: u64, secret: bool, most_delay_ms in 1_u64..100,
    ) {
        let weather = Weather { loss: 0.0, repeat: 0.2, least_delay_ms: 1, most_delay_ms };
        let mut world = World::new(LinkKind::Udp, opener, weather, seed).with_encryption([secret; 2]);
        world.add_link(0, knows[0]);
        world.add_link(1, knows[1]);
        prop_assert!(world.run_until(ms(10_000), World::both_up).is_some());
        world.run(ms(1_000));
        for port in 8000..8003 {
            world.nodes[who].address.set_port(port);
            world.run(ms(3_000));
            prop_assert!(world.both_up());
            let known = world.nodes[1 - who].links.status(world.now)[0].peer;
            prop_assert_eq!(known, Some(world.nodes[who].address));
        }
        prop_assert_eq!(world.nodes[0].downs.len() + world.nodes[1].downs.len(), 0);
    }

    #[test]
    fn every_frame_sent_while_up_arrives_in_fair_weather(
        kind in kind(), opener in 0_usize..2, seed: u64, secret: bool, gap_ms in 1_u64..50,
    ) {
        let mut world = World::new(kind, opener, FAIR, seed).with_encryption([secret; 2]);
        world.add_link(0, kind == LinkKind::Udp || opener == 0);
        world.add_link(1, kind == LinkKind::Udp || opener == 1);
        let mut sent = [BTreeSet::new(), BTreeSet::new()];
        for i in 0..200_u64 {
            for (n, sent) in sent.iter_mut().enumerate() {
                // From the first moment that the end thinks it is up.
                if world.frame(n, &i.to_be_bytes()) {
                    sent.insert(i.to_be_bytes().to_vec());
                }
            }
            world.run(ms(gap_ms));
        }
        world.run(ms(1_000));
        for n in 0..2 {
            let arrived: BTreeSet<Vec<u8>> = world.nodes[n].frames.iter().cloned().collect();
            prop_assert_eq!(arrived.len(), world.nodes[n].frames.len(), "a frame arrived twice");
            prop_assert!(!sent[1 - n].is_empty());
            prop_assert_eq!(&arrived, &sent[1 - n]);
        }
    }

    #[test]
    fn strange_bytes_change_nothing(
        noise in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..100),
        kinds in proptest::collection::vec(0_u8..8, 100),
        same_address: bool, seed: u64,
    ) {
        let mut world = World::new(LinkKind::Udp, 0, FAIR, seed);
        world.add_link(0, true);
        world.add_link(1, true);
        prop_assert!(world.run_until(ms(10_000), World::both_up).is_some());
        let stranger = SocketAddr::from(([10, 9, 9, 9], 9));
        let from = if same_address { world.nodes[1].address } else { stranger };
        let frames = world.nodes[0].frames.len();
        for (mut bytes, kind) in noise.into_iter().zip(kinds) {
            // Half of them have a good header.
            if bytes.len() >= HEADER && kind < 7 && kind != 1 {
                (bytes[0], bytes[1]) = (1, kind);
            }
            let _ = world.nodes[0].links.receive(Path::Udp(from), &mut bytes, world.now);
            world.act(0);
        }
        world.run(ms(4_000));
        prop_assert!(world.both_up());
        prop_assert_eq!(world.nodes[0].downs.len(), 0);
        prop_assert_eq!(world.nodes[0].frames.len(), frames);
    }
}

#[test]
fn a_removed_link_goes_down_at_the_peer_and_comes_back() {
    for (kind, secret) in SORTS {
        let mut world = World::new(kind, 0, FAIR, 1).with_encryption([secret; 2]);
        world.add_link(0, true);
        world.add_link(1, false);
        world.run_until(ms(1_000), World::both_up).unwrap();
        world.run(ms(1_000));
        world.remove_link(1);
        world.run_until(ms(100), |w| !w.nodes[0].links.is_up(0)).unwrap();
        assert_eq!(world.nodes[0].downs, ["host1 says: host1 has removed the link"]);
        world.run(ms(3_000));
        if kind == LinkKind::Udp {
            assert!(world.why(0).contains("host1 says: host1 has no link with host0"), "{}", world.why(0));
        } else {
            assert!(world.why(0).contains("connection refused"), "{}", world.why(0));
        }
        world.add_link(1, false);
        world.run_until(ms(2_000), World::both_up).unwrap();
    }
}

#[test]
fn a_daemon_that_did_not_get_to_run_for_long_keeps_its_links() {
    for (kind, secret) in SORTS {
        let mut world = World::new(kind, 0, FAIR, 1).with_encryption([secret; 2]);
        world.add_link(0, true);
        world.add_link(1, false);
        world.run_until(ms(1_000), World::both_up).unwrap();
        world.run(ms(1_100));
        // Nothing happens anywhere for ten seconds; then everything is late.
        world.now += ms(10_000);
        world.run(ms(5_000));
        assert!(world.both_up());
        assert_eq!(world.nodes[0].downs.len() + world.nodes[1].downs.len(), 0);
    }
}

#[test]
fn an_end_that_knows_no_address_says_so_and_waits() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.add_link(0, false);
    world.run(ms(5_000));
    assert!(world.why(0).contains("host1's address is not known here"), "{}", world.why(0));
    world.add_link(1, true);
    world.run_until(ms(100), World::both_up).unwrap();
    assert_eq!(world.why(0), "");
}

#[test]
fn ends_of_different_kinds_say_so() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.add_link(0, true);
    world.kind = LinkKind::Tcp;
    world.add_link(1, false);
    world.run(ms(2_500));
    assert!(world.why(0).contains("over the other of UDP and TCP"), "{}", world.why(0));
}

#[test]
fn the_status_of_an_unanswered_link_tells_what_was_tried() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.cut = true;
    world.add_link(0, true);
    world.run(ms(3_200));
    let address = world.nodes[1].address;
    world.nodes[0].links.unreachable(address, "ICMP: connection refused", world.now);
    assert_eq!(world.why(0), "no answer from 10.0.0.2:7000 for 3.2 s; ICMP: connection refused");
    world.run(ms(10_000));
    assert_eq!(world.why(0), "no answer from 10.0.0.2:7000 for 13.2 s");
}

#[test]
fn a_new_address_from_the_operator_moves_the_link_without_a_gap() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.add_link(0, true);
    world.add_link(1, false);
    world.run_until(ms(1_000), World::both_up).unwrap();
    // The peer is reachable at a second address; only the operator knows.
    world.nodes[1].address.set_port(9000);
    let address = world.nodes[1].address;
    world.nodes[0].links.set_target(0, address, world.now);
    world.act(0);
    world.run(ms(100));
    assert_eq!(world.nodes[0].links.status(world.now)[0].peer, Some(address));
    world.run(ms(5_000));
    assert!(world.both_up());
    assert_eq!(world.nodes[0].downs.len() + world.nodes[1].downs.len(), 0);
}

#[test]
fn refusals_are_few_whatever_strangers_send() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1);
    world.add_link(0, false);
    let mut answers = 0;
    for port in 1..20_000 {
        let mut hello = {
            let mut stranger = LinkSet::new(host(1), u64::from(port), LinkTiming::default(), world.now);
            stranger.insert(0, Link { a: host(1), b: host(2), ..link(LinkKind::Udp, 0) }, world.now).unwrap();
            stranger.set_target(0, world.nodes[0].address, world.now);
            let Some(Action::Send { message, .. }) = stranger.poll_action() else { panic!("no Hello") };
            message
        };
        let from = SocketAddr::from(([10, 1, 1, 1], port));
        assert!(world.nodes[0].links.receive(Path::Udp(from), &mut hello, world.now).is_err());
        while world.nodes[0].links.poll_action().is_some() {
            answers += 1;
        }
    }
    assert!((1..=50).contains(&answers), "{answers} answers");
}

#[test]
fn plain_and_encrypted_ends_refuse_each_other_and_say_why() {
    for kind in [LinkKind::Udp, LinkKind::Tcp] {
        for knows in [[true, true], [true, false], [false, true]] {
            let mut world = World::new(kind, 0, FAIR, 1).with_encryption([true, false]);
            world.add_link(0, knows[0]);
            world.add_link(1, knows[1]);
            world.run(ms(4_500));
            assert!(world.none_up());
            let [secret, plain] = [world.why(0), world.why(1)];
            assert!(
                secret.contains("speaks in plain, and this daemon only takes encrypted links"),
                "{secret}"
            );
            // Whoever encrypts is silent; so the plain end knows only what comes by itself.
            if knows[0] {
                assert!(plain.contains("wants an encrypted link, and this daemon has"), "{plain}");
            } else {
                assert!(plain.contains("no answer from 10.0.0.1:7000"), "{plain}");
            }
        }
    }
}

#[test]
fn a_daemon_without_the_key_of_its_peer_says_so_and_comes_up_when_it_is_told() {
    for kind in [LinkKind::Udp, LinkKind::Tcp] {
        for ignorant in 0..2 {
            let mut world = World::new(kind, 0, FAIR, 1).with_encryption([true; 2]);
            let peer = host(1 - ignorant);
            world.nodes[ignorant].links.forbid(&peer);
            world.add_link(0, true);
            world.add_link(1, true);
            world.run(ms(5_000));
            assert!(world.none_up());
            let why = world.why(ignorant);
            assert!(why.contains(&format!("no key of {peer} is known here: `vnet peer add`")), "{why}");
            let (now, key) = (world.now, key(1 - ignorant).public());
            assert!(world.nodes[ignorant].links.allow(&peer, key, now));
            world.act(ignorant);
            let up = world.run_until(ms(2_500), World::both_up);
            assert!(up.is_some(), "{} / {}", world.why(0), world.why(1));
        }
    }
}

#[test]
fn a_daemon_with_the_wrong_key_stays_outside() {
    let mut world = World::new(LinkKind::Udp, 0, FAIR, 1).with_encryption([true; 2]);
    let now = world.now;
    assert!(world.nodes[1].links.allow(&host(0), key(7).public(), now));
    world.add_link(0, true);
    world.add_link(1, true);
    world.run(ms(5_000));
    assert!(world.none_up());
    assert_eq!(world.why(0), "no answer from 10.0.0.2:7000 for 5.0 s");
}
