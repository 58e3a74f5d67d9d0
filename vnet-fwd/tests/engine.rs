//! The engine with its cache against the plain meaning of rules, `vnet_core::route`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vnet_core::encap::{Header, Kind};
use vnet_core::route::{Port, resolve};
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, LinkId, MacAddr, NetworkId, Rule, RuleVersion,
    Source,
};
use vnet_fwd::{DropReason, Drops, Forwarder, FrameInfo, Ingress, PortId, RuleBook};

const HOP_LIMIT: u8 = 64;

/// Rule sets, ports and counters as plainly as they can be written down.
#[derive(Default)]
struct Model {
    sets: BTreeMap<(NetworkId, RuleVersion), BTreeSet<Rule>>,
    current: BTreeMap<NetworkId, RuleVersion>,
    interfaces: BTreeMap<InterfaceName, NetworkId>,
    links: BTreeSet<HostName>,
    drops: Drops,
    applied: BTreeMap<(NetworkId, RuleVersion, Rule), u64>,
    traffic: BTreeMap<(NetworkId, MacAddr, MacAddr), (u64, u64)>,
}

impl Model {
    fn current(&self, network: NetworkId) -> RuleVersion {
        self.current.get(&network).copied().unwrap_or_default()
    }

    /// The outputs, with the version and the hop limit that the frame goes on with.
    fn forward(&mut self, from: &Port, frame: &TestFrame) -> (BTreeSet<Port>, RuleVersion, u8) {
        let (version, hop_limit) = match from {
            Port::Interface(_) => (self.current(frame.network), HOP_LIMIT),
            Port::Link(_) if frame.hop_limit == 0 => {
                self.drops.count(DropReason::HopLimit);
                return (BTreeSet::new(), frame.version, 0);
            }
            Port::Link(_) => (frame.version, frame.hop_limit - 1),
        };
        let known = self.sets.contains_key(&(frame.network, version));
        let used = if known { version } else { self.current(frame.network) };
        let empty = BTreeSet::new();
        let rules = self.sets.get(&(frame.network, used)).unwrap_or(&empty);
        let resolution = resolve(rules, from, frame.source, frame.destination);
        for rule in &resolution.rules {
            *self.applied.entry((frame.network, used, (*rule).clone())).or_default() += 1;
        }
        let mut outputs = BTreeSet::new();
        let mut lost = 0;
        for output in &resolution.outputs {
            let reason = match output {
                Port::Interface(name) => match self.interfaces.get(name) {
                    None => DropReason::NoInterface,
                    Some(network) if *network != frame.network => DropReason::WrongNetwork,
                    Some(_) => {
                        outputs.insert(output.clone());
                        continue;
                    }
                },
                Port::Link(peer) if !self.links.contains(peer) => DropReason::NoLink,
                Port::Link(_) if hop_limit == 0 => DropReason::HopLimit,
                Port::Link(_) => {
                    outputs.insert(output.clone());
                    continue;
                }
            };
            lost += 1;
            self.drops.count(reason);
        }
        if resolution.rules.is_empty() {
            self.drops.count(DropReason::NoRule);
        } else if outputs.is_empty() && lost == 0 {
            self.drops.count(DropReason::OnlyBack);
        }
        let sent = u64::from(matches!(from, Port::Interface(_)));
        let received = outputs.iter().filter(|o| matches!(o, Port::Interface(_))).count() as u64;
        if sent + received > 0 {
            let pair = self.traffic.entry((frame.network, frame.source, frame.destination)).or_default();
            pair.0 += sent;
            pair.1 += received;
        }
        (outputs, version, hop_limit)
    }
}

fn here() -> HostName {
    HostName::new("here").unwrap()
}

#[derive(Clone, Debug)]
struct TestFrame {
    network: NetworkId,
    source: MacAddr,
    destination: MacAddr,
    version: RuleVersion,
    hop_limit: u8,
}

#[derive(Clone, Debug)]
enum Step {
    AddRule(NetworkId, Rule),
    DeleteRule(NetworkId, Rule),
    Prepare(NetworkId, RuleVersion, Vec<Rule>),
    Commit(NetworkId, RuleVersion),
    Retire(NetworkId, RuleVersion),
    AddInterface(InterfaceName, NetworkId),
    RemoveInterface(InterfaceName),
    AddLink(HostName),
    RemoveLink(HostName),
    Frame(Port, TestFrame),
}

fn mac() -> impl Strategy<Value = MacAddr> {
    prop_oneof![5 => (0_u32..5).prop_map(MacAddr::local), 1 => Just(MacAddr::BROADCAST)]
}

fn network() -> impl Strategy<Value = NetworkId> {
    (0_u32..2).prop_map(NetworkId)
}

fn version() -> impl Strategy<Value = RuleVersion> {
    (0_u8..4).prop_map(RuleVersion)
}

fn interface() -> impl Strategy<Value = InterfaceName> {
    (0_u8..4).prop_map(|n| InterfaceName::new(&format!("if{n}")).unwrap())
}

fn peer() -> impl Strategy<Value = HostName> {
    (0_u8..4).prop_map(|n| HostName::new(&format!("peer{n}")).unwrap())
}

fn rule() -> impl Strategy<Value = Rule> {
    let source = prop_oneof![Just(Source::Any), mac().prop_map(Source::Exact), mac().prop_map(Source::Not),];
    let destination = prop_oneof![
        Just(Destination::Any),
        Just(Destination::Default),
        mac().prop_map(Destination::Exact),
        mac().prop_map(Destination::Not),
    ];
    let action = prop_oneof![
        interface().prop_map(Action::Interface),
        peer().prop_map(|to| Action::Edge(EdgeRef { from: here(), to })),
    ];
    (source, destination, action).prop_map(|(source, destination, action)| Rule {
        source,
        destination,
        action,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let from = prop_oneof![interface().prop_map(Port::Interface), peer().prop_map(Port::Link)];
    let frame = (network(), mac(), mac(), version(), 0_u8..4).prop_map(
        |(network, source, destination, version, hop_limit)| TestFrame {
            network,
            source,
            destination,
            version,
            hop_limit,
        },
    );
    prop_oneof![
        6 => (network(), rule()).prop_map(|(n, r)| Step::AddRule(n, r)),
        3 => (network(), rule()).prop_map(|(n, r)| Step::DeleteRule(n, r)),
        2 => (network(), version(), proptest::collection::vec(rule(), 0..12))
            .prop_map(|(n, v, r)| Step::Prepare(n, v, r)),
        2 => (network(), version()).prop_map(|(n, v)| Step::Commit(n, v)),
        2 => (network(), version()).prop_map(|(n, v)| Step::Retire(n, v)),
        2 => (interface(), network()).prop_map(|(i, n)| Step::AddInterface(i, n)),
        1 => interface().prop_map(Step::RemoveInterface),
        2 => peer().prop_map(Step::AddLink),
        1 => peer().prop_map(Step::RemoveLink),
        40 => (from, frame).prop_map(|(p, f)| Step::Frame(p, f)),
    ]
}

/// The engine under test, with the ids of its ports.
struct Bench {
    book: RuleBook,
    forwarder: Forwarder,
    ports: BTreeMap<Port, PortId>,
    model: Model,
}

impl Bench {
    fn new(cache: usize) -> Self {
        let book = RuleBook::new(here());
        let forwarder = Forwarder::new(book.reader(), HOP_LIMIT, cache, 1000);
        Self { book, forwarder, ports: BTreeMap::new(), model: Model::default() }
    }

    fn step(&mut self, step: Step) {
        let Self { book, forwarder, ports, model } = self;
        match step {
            Step::AddRule(network, rule) => {
                let version = model.current(network);
                let added = model.sets.entry((network, version)).or_default().insert(rule.clone());
                assert_eq!(book.add(network, rule), Ok(added));
            }
            Step::DeleteRule(network, rule) => {
                let version = model.current(network);
                let removed = model.sets.get_mut(&(network, version)).is_some_and(|s| s.remove(&rule));
                model.applied.remove(&(network, version, rule.clone()));
                assert_eq!(book.delete(network, &rule), removed);
            }
            Step::Prepare(network, version, rules) => {
                // A network starts with an empty rule set of version 0.
                if model.sets.keys().all(|(n, _)| *n != network) {
                    model.sets.insert((network, RuleVersion(0)), BTreeSet::new());
                }
                let set: BTreeSet<Rule> = rules.iter().cloned().collect();
                let known = model.sets.get(&(network, version)).cloned().unwrap_or_default();
                let refused = version == model.current(network) && set != known;
                assert_eq!(book.prepare(network, version, rules).is_err(), refused);
                if version != model.current(network) {
                    model.sets.insert((network, version), set);
                    model.applied.retain(|(n, v, _), _| (*n, *v) != (network, version));
                }
            }
            Step::Commit(network, version) => {
                let known = model.sets.contains_key(&(network, version));
                assert_eq!(book.commit(network, version).is_ok(), known);
                if known {
                    model.current.insert(network, version);
                }
            }
            Step::Retire(network, version) => {
                let known = model.sets.contains_key(&(network, version));
                let current = version == model.current(network);
                match book.retire(network, version) {
                    Ok(retired) => assert_eq!(retired, known && !current),
                    Err(_) => assert!(known && current),
                }
                if !current {
                    model.sets.remove(&(network, version));
                    model.applied.retain(|(n, v, _), _| (*n, *v) != (network, version));
                }
            }
            Step::AddInterface(name, network) => {
                let port = forwarder.add_interface(name.clone(), network);
                ports.insert(Port::Interface(name.clone()), port);
                model.interfaces.insert(name, network);
            }
            Step::RemoveInterface(name) => {
                model.interfaces.remove(&name);
                if let Some(port) = ports.remove(&Port::Interface(name)) {
                    forwarder.remove_port(port);
                }
            }
            Step::AddLink(peer) => {
                let port = forwarder.add_link(LinkId::new(&here(), &peer));
                ports.insert(Port::Link(peer.clone()), port);
                model.links.insert(peer);
            }
            Step::RemoveLink(peer) => {
                model.links.remove(&peer);
                if let Some(port) = ports.remove(&Port::Link(peer)) {
                    forwarder.remove_port(port);
                }
            }
            Step::Frame(from, frame) => self.frame(from, frame),
        }
    }

    fn frame(&mut self, from: Port, mut frame: TestFrame) {
        let Some(&port) = self.ports.get(&from) else { return };
        let ingress = match &from {
            Port::Interface(name) => {
                frame.network = self.model.interfaces[name];
                Ingress::Interface(port)
            }
            Port::Link(_) => Ingress::Link(
                port,
                Header {
                    kind: Kind::Frame,
                    hop_limit: frame.hop_limit,
                    rule_version: frame.version,
                    network: frame.network,
                    sequence: 0,
                    timestamp: 0,
                },
            ),
        };
        let (expected, version, hop_limit) = self.model.forward(&from, &frame);
        let info = FrameInfo { source: frame.source, destination: frame.destination, bytes: 100, frames: 1 };
        let mut outputs = Vec::new();
        self.forwarder.refresh();
        self.forwarder.forward(ingress, info, |port, label| {
            assert_eq!((label.network, label.version), (frame.network, version));
            assert_eq!(label.hop_limit, hop_limit);
            outputs.push(port);
            Ok(())
        });
        let ids: BTreeSet<PortId> = expected.iter().map(|port| self.ports[port]).collect();
        assert_eq!(
            outputs.len(),
            ids.len(),
            "an output was given twice, or is missing: {outputs:?}, {ids:?}"
        );
        assert_eq!(outputs.into_iter().collect::<BTreeSet<_>>(), ids);
        assert_eq!(self.forwarder.drops(), &self.model.drops);
    }

    fn counters(&mut self) {
        self.forwarder.flush_counts();
        for status in self.book.status() {
            let key = (status.network, status.version, status.rule);
            let frames = self.model.applied.get(&key).copied().unwrap_or(0);
            assert_eq!((status.frames, status.bytes), (frames, frames * 100), "{key:?}");
        }
        let traffic: BTreeMap<_, _> = self
            .forwarder
            .traffic()
            .into_iter()
            .map(|e| {
                assert_eq!((e.sent_bytes, e.received_bytes), (e.sent_frames * 100, e.received_frames * 100));
                ((e.network, e.source, e.destination), (e.sent_frames, e.received_frames))
            })
            .collect();
        assert_eq!(traffic, self.model.traffic);
    }
}

proptest! {
    /// Same outputs, labels and counters as the model, whatever changes
    /// between frames; with a cache so small that it evicts, and a large one.
    #[test]
    fn forwards_as_the_model_does(
        cache in prop_oneof![Just(4_usize), Just(1 << 10)],
        steps in proptest::collection::vec(step(), 0..400),
    ) {
        let mut bench = Bench::new(cache);
        for step in steps {
            bench.step(step);
        }
        bench.counters();
    }
}
