//! A state against itself, told again.

use proptest::prelude::*;
use vnet_core::{Destination, EdgeRef, LinkKind, MacAddr, Source};

use super::*;

fn request() -> impl Strategy<Value = Request> {
    let network = || (0_u32..2).prop_map(NetworkId);
    let version = || (0_u8..4).prop_map(RuleVersion);
    let rule = || {
        (0_u32..4, any::<bool>()).prop_map(|(index, is_edge)| Rule {
            source: Source::Any,
            destination: Destination::Exact(MacAddr::local(index)),
            action: match is_edge {
                true => Action::Edge(EdgeRef { from: "a".parse().unwrap(), to: "b".parse().unwrap() }),
                false => Action::Interface("vm".parse().unwrap()),
            },
        })
    };
    let entry = || (network(), rule()).prop_map(|(network, rule)| RuleEntry { network, rule });
    let link = || {
        (any::<bool>(), prop::sample::select(vec!["b", "c"]), any::<Option<u16>>()).prop_map(
            |(is_tcp, peer, port)| LinkSpec {
                link: Link {
                    kind: if is_tcp { LinkKind::Tcp } else { LinkKind::Udp },
                    opener: "a".parse().unwrap(),
                    a: "a".parse().unwrap(),
                    b: peer.parse().unwrap(),
                },
                peer: port.map(|port| ([127, 0, 0, 1], port).into()),
            },
        )
    };
    let interface = (0_u32..2, 0_u32..2).prop_map(|(name, device)| {
        Request::AddInterface(InterfaceSpec {
            name: format!("vm{name}").parse().unwrap(),
            network: NetworkId(1),
            mac: None,
            port: PortKind::Packet { device: format!("eth{device}"), netns: None },
        })
    });
    prop_oneof![
        link().prop_map(Request::AddLink),
        link().prop_map(|spec| Request::DeleteLink(spec.link.id())),
        entry().prop_map(Request::AddRule),
        entry().prop_map(Request::DeleteRule),
        (0_u64..4).prop_map(Request::SetConfigurationBound),
        interface,
        (0_u32..2).prop_map(|name| Request::DeleteInterface(format!("vm{name}").parse().unwrap())),
        (network(), version(), prop::collection::vec(rule(), 0..4))
            .prop_map(|(network, version, rules)| Request::PrepareRules { network, version, rules }),
        (network(), version()).prop_map(|(network, version)| Request::CommitRules { network, version }),
        (network(), version()).prop_map(|(network, version)| Request::RetireRules { network, version }),
    ]
}

/// Networks that are as if nobody had ever spoken of them.
fn without_traces(mut state: State) -> State {
    state.networks.retain(|_, sets| *sets != RuleSets::default());
    state
}

proptest! {
    /// The requests of a state make the same state of a new one.
    #[test]
    fn a_state_can_be_told_again(requests in prop::collection::vec(request(), 0..60)) {
        let new = || State::new("a".parse().unwrap(), 200);
        let mut state = new();
        for request in &requests {
            match state.check(request) {
                Ok(Effect::Change) => state.apply(request),
                Ok(Effect::Nothing) => {}
                Err(error) => prop_assert!(!error.message.is_empty()),
            }
        }
        let mut again = new();
        for request in state.requests() {
            prop_assert!(again.check(&request).is_ok(), "{:?}", request);
            again.apply(&request);
        }
        prop_assert_eq!(without_traces(again), without_traces(state));
    }
}
