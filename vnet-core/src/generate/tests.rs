use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::link::LinkId;
use crate::route::{Outcome, route};
use crate::strategies;

/// What each VM should get if all but the sender get one frame.
fn one_for_each(vms: &[VmSpec], sender: &VmSpec) -> BTreeMap<(HostName, InterfaceName), u64> {
    let others = vms.iter().filter(|vm| *vm != sender);
    others.map(|vm| ((vm.host.clone(), vm.interface.clone()), 1)).collect()
}

/// The hosts that a frame between two VMs comes by, if it has no copies.
fn hosts_between(topology: &Topology, from: &VmSpec, to: &VmSpec) -> Vec<HostName> {
    let route = route(topology, &from.host, &from.interface, from.mac, to.mac);
    assert!(route.hops.iter().all(|hop| hop.outcomes.len() == 1), "{route}");
    route.hops.into_iter().map(|hop| hop.host).collect()
}

/// How many links a frame must cross at least (all pairs, Floyd and Warshall).
fn distances(topology: &Topology) -> BTreeMap<(HostName, HostName), usize> {
    let hosts: Vec<_> = topology.hosts.iter().map(|host| &host.machine).collect();
    let far = hosts.len();
    let mut distances = BTreeMap::new();
    for &a in &hosts {
        for &b in &hosts {
            let linked = topology.links.contains_key(&LinkId::new(a, b));
            let distance = if a == b {
                0
            } else if linked {
                1
            } else {
                far
            };
            distances.insert((a.clone(), b.clone()), distance);
        }
    }
    for &via in &hosts {
        for &a in &hosts {
            for &b in &hosts {
                let detour = distances[&(a.clone(), via.clone())] + distances[&(via.clone(), b.clone())];
                let direct = distances.get_mut(&(a.clone(), b.clone())).unwrap();
                *direct = detour.min(*direct);
            }
        }
    }
    distances
}

proptest! {
    #[test]
    fn every_vm_gets_each_flooded_frame_once(overlay in strategies::overlay()) {
        let topology = overlay.generate().unwrap();
        for sender in &overlay.vms {
            let multicast = MacAddr([0x01, 0, 0x5e, 0, 0, 1]);
            for destination in [MacAddr::BROADCAST, multicast, MacAddr::local(9999)] {
                let route = route(&topology, &sender.host, &sender.interface, sender.mac, destination);
                prop_assert_eq!(route.deliveries(), one_for_each(&overlay.vms, sender), "{}", route);
                prop_assert!(!route.reaches_hop_limit());
            }
        }
    }

    #[test]
    fn every_vm_reaches_every_other_alone_and_by_a_shortest_path(overlay in strategies::overlay()) {
        let topology = overlay.generate().unwrap();
        let distances = distances(&topology);
        for from in &overlay.vms {
            for to in overlay.vms.iter().filter(|to| *to != from) {
                let route = route(&topology, &from.host, &from.interface, from.mac, to.mac);
                let expected = BTreeMap::from([((to.host.clone(), to.interface.clone()), 1)]);
                prop_assert_eq!(route.deliveries(), expected, "{}", route);
                prop_assert_eq!(route.drops().count(), 0);
                prop_assert_eq!(route.hops.len() - 1, distances[&(from.host.clone(), to.host.clone())]);
            }
        }
    }

    #[test]
    fn links_are_those_of_the_shape(overlay in strategies::overlay()) {
        let topology = overlay.generate().unwrap();
        prop_assert_eq!(topology.links.len(), overlay.shape.edges(overlay.hosts.len()).unwrap().len());
        prop_assert_eq!(topology.warnings(), []);
        let hub = overlay.hub.as_ref().unwrap_or(&overlay.hosts[0].machine);
        if overlay.shape == Shape::Star {
            prop_assert!(topology.links.keys().all(|link| link.peer_of(hub).is_some()));
        }
    }

    #[test]
    fn two_shapes_agree_on_the_links_that_they_share(overlay in strategies::overlay()) {
        let topology = overlay.generate().unwrap();
        let all = Overlay { shape: Shape::AllToAll, hub: None, ..overlay }.generate().unwrap();
        for (id, link) in &topology.links {
            prop_assert_eq!(link, &all.links[id]);
        }
    }

    #[test]
    fn fast_paths_are_taken_by_their_pair_alone(
        overlay in strategies::overlay().prop_filter("two VMs", |overlay| overlay.vms.len() > 1),
        wishes in proptest::collection::vec((any::<[Index; 2]>(), proptest::collection::vec(any::<Index>(), 0..4)), 1..6),
    ) {
        let base = overlay.generate().unwrap();
        let mut paths: BTreeMap<(MacAddr, MacAddr), FastPath> = BTreeMap::new();
        for ([from, to], via) in wishes {
            let (from, to) = (from.get(&overlay.vms), to.get(&overlay.vms));
            let mut hosts = vec![from.host.clone()];
            hosts.extend(via.iter().map(|via| via.get(&overlay.hosts).machine.clone()));
            hosts.push(to.host.clone());
            let mut seen = BTreeSet::new();
            hosts.retain(|host| (*host != to.host) && seen.insert(host.clone()));
            hosts.push(to.host.clone());
            if from.host == to.host {
                hosts = vec![to.host.clone()];
            }
            if from != to {
                paths.insert((from.mac, to.mac), FastPath { source: from.mac, destination: to.mac, hosts });
            }
        }
        let mut topology = base.clone();
        let list: Vec<_> = paths.values().cloned().collect();
        add_fast_paths(&mut topology, &list, LinkKind::Udp).unwrap();

        for from in &overlay.vms {
            for to in overlay.vms.iter().filter(|to| *to != from) {
                let expected = match paths.get(&(from.mac, to.mac)) {
                    Some(path) => path.hosts.clone(),
                    None => hosts_between(&base, from, to),
                };
                prop_assert_eq!(hosts_between(&topology, from, to), expected);
            }
            let flood = route(&topology, &from.host, &from.interface, from.mac, MacAddr::BROADCAST);
            prop_assert_eq!(flood.deliveries(), one_for_each(&overlay.vms, from));
        }

        let before = topology.clone();
        for path in paths.values().filter(|path| path.hosts.len() > 1) {
            let again = add_fast_paths(&mut topology, std::slice::from_ref(path), LinkKind::Udp);
            let is_refused = matches!(again, Err(GenerateError::PathExists { .. }));
            prop_assert!(is_refused, "{:?}", again);
            prop_assert_eq!(&topology, &before);
        }
    }
}

#[test]
fn a_star_on_the_second_host() {
    let mut overlay = Overlay::numbered(3, Shape::Star);
    overlay.hub = Some(overlay.hosts[1].machine.clone());
    overlay.vms.remove(0);
    insta::assert_snapshot!(overlay.generate().unwrap());
}

#[test]
fn what_makes_no_overlay_is_refused() {
    let refused = |change: fn(&mut Overlay)| {
        let mut overlay = Overlay::numbered(3, Shape::Bus);
        change(&mut overlay);
        overlay.generate().unwrap_err().to_string()
    };
    let messages = [
        refused(|o| o.hosts.clear()),
        refused(|o| o.hosts[2] = o.hosts[0].clone()),
        refused(|o| o.hub = HostName::new("elsewhere").ok()),
        refused(|o| o.vms[0].host = HostName::new("elsewhere").unwrap()),
        refused(|o| o.vms[0].mac = o.vms[1].mac),
        refused(|o| o.vms[0].mac = MacAddr::BROADCAST),
        refused(|o| o.shape = Shape::Hypercube),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn links_that_leave_a_host_out_are_refused() {
    let overlay = Overlay::numbered(4, Shape::Bus);
    let mut topology = overlay.generate().unwrap();
    let names: Vec<_> = overlay.hosts.iter().map(|host| host.machine.clone()).collect();
    topology.links.remove(&LinkId::new(&names[1], &names[2]));
    let error = add_forwarding_rules(&mut topology, &overlay.vms, &names[0]).unwrap_err();
    assert_eq!(error, GenerateError::NotConnected { from: names[0].clone(), to: names[2].clone() });
}

#[test]
fn paths_that_make_no_sense_are_refused() {
    let overlay = Overlay::numbered(3, Shape::Star);
    let base = overlay.generate().unwrap();
    let refused = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| HostName::new(host).unwrap()).collect();
        let path = FastPath { source: MacAddr::local(2), destination: MacAddr::local(3), hosts };
        let mut topology = base.clone();
        let error = add_fast_paths(&mut topology, &[path], LinkKind::Tcp).unwrap_err();
        assert_eq!(topology, base);
        error.to_string()
    };
    let messages = [
        refused(&[]),
        refused(&["host2", "host1", "host2", "host3"]),
        refused(&["host2", "host9", "host3"]),
        refused(&["host2", "host1"]),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_path_of_one_host_changes_nothing() {
    let mut overlay = Overlay::numbered(2, Shape::Star);
    overlay.vms[1].host = overlay.hosts[0].machine.clone();
    let base = overlay.generate().unwrap();
    let mut topology = base.clone();
    let hosts = vec![overlay.hosts[0].machine.clone()];
    let path = FastPath { source: MacAddr::local(1), destination: MacAddr::local(2), hosts };
    add_fast_paths(&mut topology, &[path], LinkKind::Udp).unwrap();
    assert_eq!(topology, base);
    let hop = &route(
        &topology,
        &overlay.vms[0].host,
        &overlay.vms[0].interface,
        MacAddr::local(1),
        MacAddr::local(2),
    )
    .hops[0];
    assert_eq!(hop.outcomes, [Outcome::Delivered(overlay.vms[1].interface.clone())]);
}
