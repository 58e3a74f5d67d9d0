use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::lang;
use crate::strategies;

/// Every copy of a frame on its own, to hold `route` to: each delivery, and
/// the number of drops at the hop limit.
fn walk(
    topology: &Topology,
    host: &HostName,
    ingress: Port,
    addresses: (MacAddr, MacAddr),
    links_left: u8,
) -> (Vec<(HostName, InterfaceName)>, u64) {
    let (mut deliveries, mut stopped) = (Vec::new(), 0);
    for output in resolve(topology.rules_of(host), &ingress, addresses.0, addresses.1).outputs {
        match output {
            Port::Interface(interface) => deliveries.push((host.clone(), interface)),
            Port::Link(peer) if !topology.links.contains_key(&LinkId::new(host, &peer)) => {}
            Port::Link(_) if links_left == 0 => stopped += 1,
            Port::Link(peer) => {
                let (more, also) = walk(topology, &peer, Port::Link(host.clone()), addresses, links_left - 1);
                deliveries.extend(more);
                stopped += also;
            }
        }
    }
    (deliveries, stopped)
}

proptest! {
    #[test]
    fn route_agrees_with_a_walk_of_each_copy(
        topology in strategies::topology(), source in strategies::mac(), destination in strategies::mac(),
        interface in strategies::interface(), hop_limit in 0_u8..6,
    ) {
        let host = &topology.hosts[0].machine;
        let route = route_within(&topology, host, &interface, source, destination, hop_limit);
        let (walked, stopped) =
            walk(&topology, host, Port::Interface(interface), (source, destination), hop_limit);
        let mut expected = BTreeMap::new();
        for place in walked {
            *expected.entry(place).or_insert(0_u64) += 1;
        }
        prop_assert_eq!(route.deliveries(), expected);
        prop_assert_eq!(route.reaches_hop_limit(), stopped > 0);
        for (index, hop) in route.hops.iter().enumerate() {
            for outcome in &hop.outcomes {
                if let Outcome::Sent { peer, hop: next } = outcome {
                    prop_assert!(*next > index && route.hops[*next].host == *peer);
                    prop_assert_eq!(&route.hops[*next].ingress, &Port::Link(hop.host.clone()));
                }
            }
        }
    }

    #[test]
    fn the_hop_limit_ends_every_loop(
        topology in strategies::topology(), source in strategies::mac(), destination in strategies::mac(),
        interface in strategies::interface(),
    ) {
        let host = &topology.hosts[0].machine;
        let route = route(&topology, host, &interface, source, destination);
        // Visits over as many links are one entry for each direction of a link.
        let most = 1 + usize::from(DEFAULT_HOP_LIMIT) * topology.links.len() * 2;
        prop_assert!(route.hops.len() <= most);
        prop_assert!(route.hops.iter().all(|hop| hop.links_crossed <= DEFAULT_HOP_LIMIT));
        let lines = route.to_string().lines().count();
        prop_assert!(lines <= 2 + route.hops.iter().map(|hop| 2 + hop.rules.len() + hop.outcomes.len()).sum::<usize>());
    }

    /// The strongest match wins, told in words instead of numbers.
    #[test]
    fn resolve_prefers_exact_to_not_to_any_to_default(
        topology in strategies::topology(), source in strategies::mac(), destination in strategies::mac(),
    ) {
        let rules: Vec<_> = topology.rules.values().flatten().collect();
        let outside = Port::Interface(InterfaceName::new("outside").unwrap());
        let resolution = resolve(rules.iter().copied(), &outside, source, destination);
        let class = |rule: &Rule| {
            let by_destination = match rule.destination {
                Destination::Exact(mac) if mac == destination => "1 exact",
                Destination::Not(mac) if mac != destination => "2 not",
                Destination::Any => "3 any",
                Destination::Default => "4 default",
                _ => return None,
            };
            let by_source = match rule.source {
                crate::Source::Exact(mac) if mac == source => "1 exact",
                crate::Source::Not(mac) if mac != source => "2 not",
                crate::Source::Any => "3 any",
                _ => return None,
            };
            Some((by_destination, by_source))
        };
        let best = rules.iter().filter_map(|rule| class(rule)).min();
        let expected: Vec<_> = rules.iter().copied().filter(|r| best.is_some() && class(r) == best).collect();
        let outputs: BTreeSet<_> = expected.iter().map(|rule| Port::of(&rule.action)).collect();
        prop_assert_eq!(resolution.rules, expected);
        prop_assert_eq!(resolution.outputs.into_iter().collect::<BTreeSet<_>>(), outputs);
        prop_assert_eq!(resolution.strength.is_some(), best.is_some());
    }
}

fn names(host: &str, interface: &str) -> (HostName, InterfaceName) {
    (HostName::new(host).unwrap(), InterfaceName::new(interface).unwrap())
}

#[test]
fn a_strong_rule_back_to_the_ingress_keeps_weaker_ones_from_applying() {
    let topology = lang::read(
        "back",
        "BEGIN HOST u AT a 1 i ADD
         FORWARD INTERFACE a ANY NONE 02:00:00:00:00:01 vm1
         FORWARD INTERFACE a ANY NONE NONE vm2
         END",
    )
    .unwrap();
    let (a, vm1) = names("a", "vm1");
    let route = route(&topology, &a, &vm1, MacAddr::local(2), MacAddr::local(1));
    assert_eq!(route.hops[0].outcomes, [Outcome::Dropped(DropReason::OnlyBack)]);
    assert_eq!(attachments(&topology, MacAddr::local(1)), [(a, vm1)]);
}

#[test]
fn routes_print_as_trees_that_show_drops_and_loops() {
    let topology = lang::read(
        "loop",
        "BEGIN HOST u AT a 1 i HOST u AT b 1 i HOST u AT c 1 i HOST u AT d 1 i
         ADD LINK UDP a a b LINK UDP b b c LINK UDP c c a
         FORWARD EDGE a ANY NONE NONE a b
         FORWARD EDGE b ANY NONE NONE b c
         FORWARD EDGE b ANY NONE NONE b d
         FORWARD EDGE c ANY NONE NONE c a
         FORWARD INTERFACE c ANY NONE NONE vm3
         FORWARD INTERFACE b ANY NONE 02:00:00:00:00:02 vm2
         END",
    )
    .unwrap();
    let (a, vm1) = names("a", "vm1");
    let looping = route(&topology, &a, &vm1, MacAddr::local(1), MacAddr::BROADCAST);
    assert!(looping.reaches_hop_limit());
    assert_eq!(looping.hops.len(), 65);
    assert_eq!(looping.deliveries()[&names("c", "vm3")], 21);
    let text = format!(
        "{looping}{}{}",
        route(&topology, &a, &vm1, MacAddr::local(1), MacAddr::local(2)),
        route(&topology, &names("d", "x").0, &vm1, MacAddr::local(1), MacAddr::local(2)),
    );
    insta::assert_snapshot!(text);
}
