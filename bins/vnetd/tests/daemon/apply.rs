//! Reconfiguring whole overlays.

use std::time::Duration;

use proptest::prelude::*;
use vnet_core::control::{LinkSpec, Request};
use vnet_core::generate::{Overlay as Generator, VmSpec};
use vnet_core::{Host, HostName, LinkKind, MacAddr, NetworkId, Shape, Topology};
use vnetd::client::{ApplyOptions, Cause, Client, Overlay as Survey, Rollback, apply, propose};

use crate::harness::{Daemon, Overlay, wait_for};
use crate::primitives::link;

fn hosts(names: &[&str]) -> Vec<Host> {
    let host = |name: &&str| Host {
        username: "vnet".parse().unwrap(),
        machine: name.parse().unwrap(),
        port: 7700,
        interface: "vm".parse().unwrap(),
    };
    names.iter().map(host).collect()
}

fn generate(names: &[&str], shape: Shape) -> Topology {
    let vms = (1..)
        .zip(names)
        .map(|(index, name)| VmSpec {
            mac: MacAddr::local(index),
            host: name.parse().unwrap(),
            interface: format!("vm{index}").parse().unwrap(),
        })
        .collect();
    Generator::new(hosts(names), vms, shape).generate().unwrap()
}

fn current(client: &mut Client, like: &Topology) -> Topology {
    Survey::survey(client).unwrap().topology(NetworkId(1), like)
}

fn quick() -> ApplyOptions {
    ApplyOptions { drain: Duration::from_millis(10), ..ApplyOptions::default() }
}

/// Are all rule versions but the one in use forgotten, and is that the same everywhere?
fn is_tidy(client: &mut Client) -> bool {
    let survey = Survey::survey(client).unwrap();
    let network = NetworkId(1);
    let here = survey.version(&survey.here, network);
    survey.daemons.iter().all(|(host, daemon)| {
        survey.version(host, network) == here && daemon.rules.iter().all(|rule| rule.version == here)
    })
}

const NAMES: [&str; 5] = ["proxy", "h1", "h2", "h3", "h4"];

#[test]
fn from_any_shape_to_any_other() {
    let overlay = Overlay::new();
    let (proxy, members) = overlay.star(4, &["--ephemeral"]);
    let shapes =
        [Shape::Ring, Shape::AllToAll, Shape::Bus, Shape::Star, Shape::Tree, Shape::AllToAll, Shape::Ring];
    for (at, shape) in shapes.into_iter().enumerate() {
        let wanted = generate(&NAMES, shape.clone());
        // Through the Proxy and through others alike.
        let mut client = if at % 2 == 0 { proxy.client() } else { members[at % 4].client() };
        let mut steps = Vec::new();
        let applied = apply(&mut client, &wanted, &quick(), |step| steps.push(step.to_string())).unwrap();
        println!(
            "{shape}: links {:?}, in force {:?}, total {:?}",
            applied.links_up, applied.in_force, applied.total
        );
        assert_eq!(applied.leftovers, [""; 0]);
        let now = current(&mut client, &wanted);
        assert_eq!(now.rules, wanted.rules, "{shape}");
        for (id, link) in &now.links {
            let kept = applied.proposal.kept.contains(id);
            assert!(
                kept || wanted.links.get(id).is_some_and(|wanted| wanted.kind == link.kind),
                "{link} for {shape}"
            );
        }
        assert!(wanted.links.keys().all(|id| now.links.contains_key(id)), "{shape}");
        assert!(is_tidy(&mut client), "{shape}");
        assert!(steps.iter().any(|step| step.contains("in force")), "{steps:?}");
        let again = propose(&mut client, &wanted, &quick()).unwrap();
        assert!(again.is_empty(), "{again:?}");
    }
}

#[test]
fn links_change_their_kind() {
    let overlay = Overlay::new();
    let (proxy, _members) = overlay.star(4, &["--ephemeral"]);
    let mut client = proxy.client();
    for kind in [LinkKind::Tcp, LinkKind::Udp] {
        let mut wanted = generate(&NAMES, Shape::Ring);
        for link in wanted.links.values_mut() {
            link.kind = kind;
        }
        let proposal = propose(&mut client, &wanted, &quick()).unwrap();
        assert!(!proposal.plan.interrupted_links().is_empty());
        apply(&mut client, &wanted, &quick(), |_| {}).unwrap();
        let now = current(&mut client, &wanted);
        assert!(wanted.links.iter().all(|(id, link)| now.links[id].kind == link.kind), "{kind}");
    }
}

#[test]
fn without_the_star_only_the_description_remains() {
    let overlay = Overlay::new();
    let (proxy, _members) = overlay.star(4, &["--ephemeral"]);
    let mut client = proxy.client();
    let wanted = generate(&NAMES, Shape::Bus);
    let options = ApplyOptions { keep_star: false, ..quick() };
    apply(&mut client, &wanted, &options, |_| {}).unwrap();
    let now = current(&mut client, &wanted);
    assert_eq!(now.links.keys().collect::<Vec<_>>(), wanted.links.keys().collect::<Vec<_>>());
}

#[test]
fn a_dry_run_changes_nothing() {
    let overlay = Overlay::new();
    let (proxy, _members) = overlay.star(4, &["--ephemeral"]);
    let mut client = proxy.client();
    wait_for("the star", || client.links(None).unwrap().len() == 4);
    let wanted = generate(&NAMES, Shape::AllToAll);
    let before = current(&mut client, &wanted);
    let proposal = propose(&mut client, &wanted, &quick()).unwrap();
    assert_eq!(proposal.difference.links_added.len(), 6);
    assert_eq!(current(&mut client, &wanted), before);
}

#[test]
fn hosts_without_a_daemon_are_named_and_nothing_happens() {
    let overlay = Overlay::new();
    let (proxy, _members) = overlay.star(1, &["--ephemeral"]);
    let wanted = generate(&["proxy", "h1", "ghost"], Shape::AllToAll);
    let error = apply(&mut proxy.client(), &wanted, &quick(), |_| {}).unwrap_err();
    assert!(matches!(&error.cause, Cause::Missing { hosts } if hosts.len() == 1));
    assert!(error.to_string().contains("no daemon is registered for ghost"), "{error}");
    assert!(matches!(error.rollback, Rollback::NotNeeded));
}

/// A link whose packets go nowhere: the peer's address is one where nobody listens.
#[test]
fn links_that_do_not_come_up_put_everything_back() {
    let overlay = Overlay::new();
    let (proxy, members) = overlay.star(3, &["--ephemeral"]);
    let mut client = proxy.client();
    let names = ["proxy", "h1", "h2", "h3"];
    let ring = generate(&names, Shape::Star);
    apply(&mut client, &ring, &quick(), |_| {}).unwrap();
    let before = (
        current(&mut client, &ring),
        Survey::survey(&mut client).unwrap().version(&members[0].host(), NetworkId(1)),
    );
    let mut options = ApplyOptions { links_within: Some(Duration::from_millis(300)), ..quick() };
    for name in names {
        options.addresses.insert(name.parse().unwrap(), format!("{}:9", overlay.ip(200)).parse().unwrap());
    }
    let error = apply(&mut client, &generate(&names, Shape::AllToAll), &options, |_| {}).unwrap_err();
    assert!(matches!(error.cause, Cause::LinksDown { .. }), "{error}");
    assert!(matches!(error.rollback, Rollback::Done), "{error}");
    assert!(error.to_string().contains("everything was put back"), "{error}");
    let after = (
        current(&mut client, &ring),
        Survey::survey(&mut client).unwrap().version(&members[0].host(), NetworkId(1)),
    );
    assert_eq!(after, before);
    assert!(is_tidy(&mut client));
}

#[test]
fn a_daemon_that_dies_in_between_is_named_and_the_others_are_put_back() {
    let overlay = Overlay::new();
    let (proxy, mut members) = overlay.star(3, &["--ephemeral"]);
    let mut client = proxy.client();
    let names = ["proxy", "h1", "h2", "h3"];
    let star = generate(&names, Shape::Star);
    apply(&mut client, &star, &quick(), |_| {}).unwrap();
    let wanted = generate(&names, Shape::AllToAll);
    let mut victim = members.pop().unwrap();
    let error = apply(&mut client, &wanted, &quick(), |step| {
        if step.to_string().contains("new links:") {
            victim.kill();
        }
    })
    .unwrap_err();
    assert!(error.to_string().contains("h3"), "{error}");
    assert!(matches!(error.rollback, Rollback::Incomplete(_) | Rollback::Done), "{error}");
    wait_for("the Proxy to see it", || client.status(None).unwrap().daemons.len() == 2);
    let now = current(&mut client, &star);
    let at = |host: &Daemon| now.rules_of(&host.host()).cloned().collect::<Vec<_>>();
    for member in &members {
        assert_eq!(at(member), star.rules_of(&member.host()).cloned().collect::<Vec<_>>());
    }
    assert!(is_tidy(&mut client));
}

#[test]
fn a_failure_of_the_hand_over_puts_everything_back() {
    let overlay = Overlay::new();
    let (proxy, _members) = overlay.star(2, &["--ephemeral"]);
    let mut client = proxy.client();
    let names = ["proxy", "h1", "h2"];
    let star = generate(&names, Shape::Star);
    apply(&mut client, &star, &quick(), |_| {}).unwrap();
    let mut refuse = |_: &mut Client| Err("the VM did not move".to_owned());
    let wanted = generate(&names, Shape::AllToAll);
    let error = vnetd::client::apply_around(&mut client, &wanted, &quick(), |_| {}, &mut refuse).unwrap_err();
    assert!(error.to_string().contains("the VM did not move"), "{error}");
    assert_eq!(current(&mut client, &star).rules, star.rules);
    assert!(is_tidy(&mut client));
}

#[test]
fn ends_without_another_end_are_removed() {
    let overlay = Overlay::new();
    let (proxy, members) = overlay.star(3, &["--ephemeral"]);
    let mut client = proxy.client();
    let stray = link(LinkKind::Tcp, "h1", "h1", "h2");
    let spec = LinkSpec { link: stray.clone(), peer: None };
    client.call(Some(&members[0].host()), Request::AddLink(spec)).unwrap();
    let wanted = generate(&["proxy", "h1", "h2", "h3"], Shape::Ring);
    let applied = apply(&mut client, &wanted, &quick(), |_| {}).unwrap();
    assert_eq!(applied.proposal.strays, [(members[0].host(), stray.id())]);
    assert_eq!(current(&mut client, &wanted).links[&stray.id()].kind, LinkKind::Udp);
}

/// A daemon that lost its state has other rule versions than the rest.
#[test]
fn daemons_with_different_versions_agree_again() {
    let overlay = Overlay::new();
    let (proxy, mut members) = overlay.star(2, &["--ephemeral"]);
    let mut client = proxy.client();
    let names = ["proxy", "h1", "h2"];
    let wanted = generate(&names, Shape::Star);
    apply(&mut client, &wanted, &quick(), |_| {}).unwrap();
    members[0].kill();
    members[0].restart();
    wait_for("it to be back", || client.status(None).unwrap().daemons.len() == 2);
    assert!(!is_tidy(&mut client));
    let applied = apply(&mut client, &wanted, &quick(), |_| {}).unwrap();
    assert!(!applied.proposal.is_empty());
    assert!(is_tidy(&mut client));
    assert_eq!(current(&mut client, &wanted).rules, wanted.rules);
}

fn small_overlays() -> impl Strategy<Value = (Vec<usize>, Shape)> {
    let shape = prop::sample::select(Shape::all().to_vec());
    (prop::sample::subsequence((0..NAMES.len()).collect::<Vec<_>>(), 3..=5), shape)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    /// Whatever some of the hosts are made to form, in whatever order, the
    /// rules are those of the description and of nobody else.
    #[test]
    fn any_sequence_of_descriptions(sequence in prop::collection::vec(small_overlays(), 1..4)) {
        let overlay = Overlay::new();
        let (proxy, _members) = overlay.star(4, &["--ephemeral"]);
        let mut client = proxy.client();
        for (members, shape) in sequence {
            let names: Vec<_> = members.iter().map(|at| NAMES[*at]).collect();
            if shape.edges(names.len()).is_err() {
                continue;
            }
            let wanted = generate(&names, shape);
            apply(&mut client, &wanted, &quick(), |_| {}).unwrap();
            let now = current(&mut client, &wanted);
            prop_assert_eq!(&now.rules, &wanted.rules);
            let missing: Vec<_> = wanted.links.keys().filter(|id| !now.links.contains_key(id)).collect();
            prop_assert!(missing.is_empty(), "{:?}", missing);
            let proxy: HostName = "proxy".parse().unwrap();
            let extra: Vec<_> = now
                .links
                .keys()
                .filter(|id| !wanted.links.contains_key(id) && id.peer_of(&proxy).is_none())
                .collect();
            prop_assert!(extra.is_empty(), "{:?}", extra);
            prop_assert!(is_tidy(&mut client));
        }
    }
}
