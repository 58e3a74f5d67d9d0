//! What property tests draw from.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::generate::{Overlay, VmSpec};
use crate::lang::{Config, HostRule, Operation, Program};
use crate::{
    Action, Destination, EdgeRef, Host, HostName, InterfaceName, Link, LinkKind, MacAddr, Rule, Shape,
    Source, Topology, UserName,
};

pub(crate) fn mac() -> impl Strategy<Value = MacAddr> {
    prop_oneof![
        // Few addresses, so that rules and frames meet.
        4 => (0_u32..6).prop_map(MacAddr::local),
        1 => Just(MacAddr::BROADCAST),
        1 => any::<[u8; 6]>().prop_map(MacAddr),
    ]
}

pub(crate) fn source() -> impl Strategy<Value = Source> {
    prop_oneof![Just(Source::Any), mac().prop_map(Source::Exact), mac().prop_map(Source::Not)]
}

pub(crate) fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        Just(Destination::Any),
        mac().prop_map(Destination::Exact),
        mac().prop_map(Destination::Not),
        Just(Destination::Default),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[a-z][a-z0-9._-]{0,12}", 1 => "[A-Za-z0-9._-]{1,60}"]
        .prop_filter("a word of the language", |name| HostName::new(name).is_ok())
}

pub(crate) fn host_name() -> impl Strategy<Value = HostName> {
    name().prop_map(|name| HostName::new(&name).unwrap())
}

pub(crate) fn interface() -> impl Strategy<Value = InterfaceName> {
    prop_oneof![select(vec!["eth0".to_owned(), "vm1".to_owned()]), name()]
        .prop_map(|name| InterfaceName::new(&name).unwrap())
}

pub(crate) fn host() -> impl Strategy<Value = Host> {
    (name(), host_name(), 1_u16.., interface()).prop_map(|(username, machine, port, interface)| Host {
        username: UserName::new(&username).unwrap(),
        machine,
        port,
        interface,
    })
}

fn link_kind() -> impl Strategy<Value = LinkKind> {
    select(vec![LinkKind::Tcp, LinkKind::Udp])
}

/// Statements that need not make sense together.
pub(crate) fn program() -> impl Strategy<Value = Program> {
    let link = (link_kind(), host_name(), host_name(), host_name()).prop_map(|(kind, opener, a, b)| Link {
        kind,
        opener,
        a,
        b,
    });
    let action = prop_oneof![
        (host_name(), host_name()).prop_map(|(from, to)| Action::Edge(EdgeRef { from, to })),
        interface().prop_map(Action::Interface),
    ];
    let rule =
        (host_name(), source(), destination(), action).prop_map(|(machine, source, destination, action)| {
            HostRule { machine, rule: Rule { source, destination, action } }
        });
    let operation = select(vec![Operation::Add, Operation::Delete]);
    let config = (operation, vec(link, 0..4), vec(rule, 0..4))
        .prop_map(|(operation, links, rules)| Config::new(operation, links, rules));
    (vec(host(), 0..4), vec(config, 0..4))
        .prop_map(|(hosts, configs)| Program { hosts: hosts.into_iter().map(Into::into).collect(), configs })
}

/// Overlays of every shape with any number of VMs on each host.
pub(crate) fn overlay() -> impl Strategy<Value = Overlay> {
    let shape = prop_oneof![
        select(Shape::all().to_vec()),
        vec(1_usize..4, 1..4).prop_map(Shape::Mesh),
        vec(1_usize..4, 1..4).prop_map(Shape::Torus),
    ];
    let vm_hosts = vec(any::<Index>(), 0..12);
    (shape, 1_usize..18, vm_hosts, any::<Option<Index>>()).prop_map(|(shape, hosts, vm_hosts, hub)| {
        let hosts = match shape.resolve(hosts) {
            Ok(_) => hosts,
            Err(error) => error.fitting[0],
        };
        let mut overlay = Overlay::numbered(hosts as u32, shape);
        let names: Vec<_> = overlay.hosts.iter().map(|host| host.machine.clone()).collect();
        // VMs in an order of their own, and where they are drawn to.
        let vms = vm_hosts.iter().enumerate().map(|(i, host)| VmSpec {
            mac: MacAddr::local(100 - i as u32),
            host: host.get(&names).clone(),
            interface: InterfaceName::new(&format!("tap{i}")).unwrap(),
        });
        overlay.vms = vms.collect();
        overlay.hub = hub.map(|hub| hub.get(&names).clone());
        overlay
    })
}

/// Legal topologies with random links and rules; frames in them may be lost, loop and multiply.
pub(crate) fn topology() -> impl Strategy<Value = Topology> {
    let links = vec((link_kind(), any::<(Index, Index)>(), any::<bool>()), 0..10);
    let action = prop_oneof![
        3 => any::<Index>().prop_map(Ok),
        1 => interface().prop_map(Err),
    ];
    let rules = vec((any::<Index>(), source(), destination(), action), 0..25);
    let hosts = btree_set(host_name(), 1..6).prop_flat_map(|names| {
        names
            .into_iter()
            .map(|machine| host().prop_map(move |host| Host { machine: machine.clone(), ..host }))
            .collect::<Vec<_>>()
    });
    (hosts, links, rules).prop_map(|(hosts, links, rules)| {
        let mut topology = Topology::default();
        let names: Vec<_> = hosts.iter().map(|host| host.machine.clone()).collect();
        topology.hosts = hosts;
        for (kind, (a, b), a_opens) in links {
            let (a, b) = (a.get(&names).clone(), b.get(&names).clone());
            if a != b {
                let opener = if a_opens { a.clone() } else { b.clone() };
                topology.add_link(Link { kind, opener, a, b });
            }
        }
        for (machine, source, destination, action) in rules {
            let machine = machine.get(&names).clone();
            let action = match action {
                Ok(to) => Action::Edge(EdgeRef { from: machine.clone(), to: to.get(&names).clone() }),
                Err(interface) => Action::Interface(interface),
            };
            if !matches!(&action, Action::Edge(edge) if edge.from == edge.to) {
                topology.add_rule(&machine, Rule { source, destination, action });
            }
        }
        topology
    })
}
