use vadapt::StepClock;
use vnet_core::control::PortKind;
use vnet_core::{Bandwidth, InterfaceName, NetworkId, UserName};

use super::*;
use crate::figures::{HostFigures, PathFigures};

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

struct Scene {
    figures: Figures,
    inventory: Inventory,
    hosts: Vec<Host>,
    topology: Topology,
    view: TrafficView,
}

/// Two fast hosts with room for two VMs each, three slow ones with a VM
/// each, a fast one with one, and the Proxy behind a slow line.
fn scene(all_to_all: bool) -> Scene {
    let hosts = [
        ("proxy", 0, 5),
        ("fast1", 2, 100),
        ("fast2", 2, 100),
        ("slow1", 1, 10),
        ("slow2", 1, 10),
        ("slow3", 1, 10),
    ];
    let figures = Figures {
        hosts: hosts
            .iter()
            .map(|(host, room, mbit)| HostFigures {
                name: name(host),
                room: *room,
                speed: 1.0,
                uplink: Some(Bandwidth::from_mbit(*mbit)),
                downlink: Some(Bandwidth::from_mbit(*mbit)),
                internal: Bandwidth::from_mbit(10_000),
            })
            .collect(),
        paths: (0..hosts.len())
            .flat_map(|a| (0..a).map(move |b| (b, a)))
            .map(|(a, b)| PathFigures {
                between: (name(hosts[a].0), name(hosts[b].0)),
                bandwidth: Bandwidth::from_mbit(hosts[a].2.min(hosts[b].2)),
                latency_us: 1000,
            })
            .collect(),
    };
    figures.check().unwrap();
    let mut inventory = Inventory::default();
    for (i, host) in ["fast1", "slow1", "slow2", "slow3"].into_iter().enumerate() {
        let vm = Vm {
            name: InterfaceName::new(&format!("vm{i}")).unwrap(),
            mac: MacAddr::local(i as u32),
            host: name(host),
            port: PortKind::Tap { device: "tap0".into(), netns: None, create: false },
        };
        inventory.add(vm).unwrap();
    }
    let hosts: Vec<_> = hosts
        .iter()
        .map(|(host, ..)| Host {
            username: UserName::new("u").unwrap(),
            machine: name(host),
            port: 7000,
            interface: InterfaceName::new("eth0").unwrap(),
        })
        .collect();
    let vms =
        inventory.iter().map(|vm| VmSpec { mac: vm.mac, host: vm.host.clone(), interface: vm.name.clone() });
    let overlay = Overlay::new(hosts.clone(), vms.collect(), Shape::Star);
    let topology = overlay.generate().unwrap();
    let pairs: Vec<_> = (0..4).flat_map(|a| (0..4).map(move |b| (a, b))).filter(|(a, b)| a != b).collect();
    let pairs = if all_to_all { pairs } else { vec![(0, 1), (1, 0)] };
    let view = TrafficView {
        network: NetworkId(1),
        vertices: (0..4).map(MacAddr::local).collect(),
        rates: pairs.iter().map(|(a, b)| (*a, *b, 20_000.0)).collect(),
        names: vec!["all-to-all".into()],
        confidence: 1.0,
        edges: pairs,
        changes: 1,
        changed_ms_ago: Some(0),
    };
    Scene { figures, inventory, hosts, topology, view }
}

fn decide_on(scene: &Scene, options: &Options) -> Decision {
    let proxy = name("proxy");
    let situation = Situation {
        view: &scene.view,
        inventory: &scene.inventory,
        figures: &scene.figures,
        hosts: &scene.hosts,
        proxy: &proxy,
        topology: &scene.topology,
    };
    // Steps of a clock, not time: enough for a problem of this size.
    let options = Options { time_limit: Duration::from_millis(5), ..*options };
    decide(&situation, &options, &StepClock::default()).unwrap()
}

#[test]
fn vms_that_talk_are_brought_together_on_fast_hosts() {
    let scene = scene(true);
    let decision = decide_on(&scene, &Options::default());
    assert!(decision.is_worthwhile, "{}", decision.reason);
    let moved: BTreeSet<_> = decision.moves.iter().map(|m| m.vm.as_str()).collect();
    assert_eq!(moved, BTreeSet::from(["vm1", "vm2", "vm3"]));
    assert!(decision.moves.iter().all(|m| m.to.as_str().starts_with("fast")), "{:?}", decision.moves);
    assert_eq!(decision.links.len(), 1, "one link joins the two fast hosts: {:?}", decision.links);
    assert!(decision.growth_after > decision.growth_before);
}

#[test]
fn the_desired_overlay_takes_the_fast_paths_and_keeps_the_star() {
    let scene = scene(true);
    let decision = decide_on(&scene, &Options::default());
    assert_eq!(decision.desired.links.keys().filter(|id| id.peer_of(&name("proxy")).is_some()).count(), 5);
    for path in &decision.paths {
        let from = decision.moves.iter().find(|m| m.mac == path.source);
        let host = from.map_or(name("fast1"), |m| m.to.clone());
        let vm = scene.inventory.get(path.source).unwrap();
        let hops = route(&decision.desired, &host, &vm.name, path.source, path.destination).hops;
        assert_eq!(hops.into_iter().map(|hop| hop.host).collect::<Vec<_>>(), path.hosts);
    }
}

#[test]
fn without_migration_only_links_change() {
    let scene = scene(true);
    let decision = decide_on(&scene, &Options { migrate: false, ..Options::default() });
    assert!(decision.moves.is_empty());
    assert!(!decision.links.is_empty());
    assert!(decision.is_worthwhile, "{}", decision.reason);
}

#[test]
fn silent_vms_stay_where_they_are() {
    let scene = scene(false);
    let decision = decide_on(&scene, &Options::default());
    assert!(decision.moves.iter().all(|m| m.vm == "vm1" || m.vm == "vm0"), "{:?}", decision.moves);
}
