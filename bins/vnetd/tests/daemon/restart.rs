//! `kill -9` and what comes back after it.

use std::time::{Duration, Instant};

use vnet_core::control::{LinkSpec, Reply, Request};
use vnet_core::{LinkKind, NetworkId, RuleVersion};
use vnetd::client::{Client, Overlay as Survey};

use crate::harness::{Daemon, Overlay, wait_for};
use crate::primitives::{link, rule};

/// Everything that must be the same before and after.
fn kept(daemon: &Daemon) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut client = daemon.client();
    let mut links: Vec<_> = client.links(None).unwrap().into_iter().map(|link| link.link).collect();
    links.sort();
    let rules: Vec<_> =
        client.rules(None).unwrap().into_iter().map(|r| (r.network, r.version, r.rule)).collect();
    let interfaces: Vec<_> = client.interfaces(None).unwrap().into_iter().map(|i| i.spec).collect();
    let status = client.status(None).unwrap();
    (links, rules, interfaces, status.versions, status.configuration_bound_ms)
}

/// Rules in two versions, links to the others, a bound.
fn fill(daemon: &Daemon, peers: &[&str]) {
    let mut client = daemon.client();
    let network = NetworkId(3);
    client.call(None, Request::SetConfigurationBound(321)).unwrap();
    for (index, peer) in (0_u32..).zip(peers) {
        let opener = daemon.name.as_str().min(peer);
        let link = link(LinkKind::Udp, opener, &daemon.name, peer);
        client.call(None, Request::AddLink(LinkSpec { link, peer: None })).unwrap();
        client.call(None, Request::AddRule(rule(&daemon.name, index, peer))).unwrap();
    }
    let rules = (10..20).map(|index| rule(&daemon.name, index, peers[0]).rule).collect();
    client.call(None, Request::PrepareRules { network, version: RuleVersion(4), rules }).unwrap();
    client.call(None, Request::CommitRules { network, version: RuleVersion(4) }).unwrap();
    let rules = vec![rule(&daemon.name, 21, peers[0]).rule];
    client.call(None, Request::PrepareRules { network, version: RuleVersion(5), rules }).unwrap();
}

fn all_up(daemon: &Daemon) -> bool {
    let Ok(mut client) = Client::connect(&daemon.control()) else { return false };
    client.links(None).is_ok_and(|links| links.iter().all(|link| link.state.up))
}

fn is_whole(proxy: &Daemon, members: &[Daemon]) -> bool {
    let Ok(survey) = Client::connect(&proxy.control()).and_then(|mut client| Survey::survey(&mut client))
    else {
        return false;
    };
    survey.daemons.len() == members.len() + 1
        && survey.silent.is_empty()
        && survey.daemons.values().all(|daemon| daemon.status.degraded.is_empty())
}

/// The two seconds of the requirement, with room for a loaded machine.
const BACK_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_killed_daemon_comes_back_with_everything() {
    let overlay = Overlay::new();
    let (proxy, mut members) = overlay.star(2, &[]);
    fill(&members[0], &["h2"]);
    fill(&members[1], &["h1"]);
    wait_for("all links", || is_whole(&proxy, &members));
    let before = kept(&members[0]);
    members[0].kill();
    members[0].restart();
    let begun = Instant::now();
    wait_for("the overlay to be whole again", || is_whole(&proxy, &members));
    println!("whole again {:?} after the restart of a daemon", begun.elapsed());
    assert!(begun.elapsed() < BACK_WITHIN);
    assert_eq!(kept(&members[0]), before);
}

#[test]
fn a_killed_proxy_comes_back_with_everything() {
    let overlay = Overlay::new();
    let (mut proxy, members) = overlay.star(2, &[]);
    fill(&proxy, &["h1", "h2"]);
    fill(&members[0], &["proxy", "h2"]);
    fill(&members[1], &["proxy", "h1"]);
    wait_for("all links", || is_whole(&proxy, &members));
    let before = (kept(&proxy), kept(&members[0]), kept(&members[1]));
    proxy.kill();
    // Without the Proxy the others go on.
    let direct = || {
        members[0]
            .client()
            .links(None)
            .unwrap()
            .into_iter()
            .find(|link| link.link.id().to_string() == "h1-h2")
    };
    assert!(direct().unwrap().state.up);
    proxy.restart();
    let begun = Instant::now();
    wait_for("the overlay to be whole again", || is_whole(&proxy, &members));
    println!("whole again {:?} after the restart of the Proxy", begun.elapsed());
    assert!(begun.elapsed() < BACK_WITHIN);
    assert_eq!((kept(&proxy), kept(&members[0]), kept(&members[1])), before);
}

#[test]
fn a_daemon_that_starts_without_the_proxy_has_its_links_all_the_same() {
    let overlay = Overlay::new();
    let (mut proxy, mut members) = overlay.star(2, &[]);
    fill(&members[0], &["h2"]);
    fill(&members[1], &["h1"]);
    wait_for("all links", || is_whole(&proxy, &members));
    proxy.kill();
    members[0].kill();
    members[0].restart();
    // It remembers where h2 is.
    wait_for("the direct link", || {
        let links = members[0].client().links(None).unwrap();
        links.iter().any(|link| link.link.id().to_string() == "h1-h2" && link.state.up)
    });
    let degraded = members[0].client().status(None).unwrap().degraded;
    assert!(degraded.iter().any(|problem| problem.contains("not registered with the Proxy")), "{degraded:?}");
}

#[test]
fn ten_seconds_without_the_proxy_are_ten_lines_in_the_log() {
    let overlay = Overlay::new();
    let (mut proxy, members) = overlay.star(2, &[]);
    wait_for("all links", || is_whole(&proxy, &members));
    let lines = |daemon: &Daemon| daemon.log().lines().count();
    let before: Vec<_> = members.iter().map(lines).collect();
    proxy.kill();
    std::thread::sleep(Duration::from_secs(10));
    proxy.restart();
    wait_for("the overlay to be whole again", || is_whole(&proxy, &members));
    for (member, before) in members.iter().zip(before) {
        let log = member.log();
        let new: Vec<_> = log.lines().skip(before).collect();
        assert!((1..=10).contains(&new.len()), "{new:#?}");
    }
}

#[test]
fn an_orderly_stop_exits_with_zero_and_says_goodbye() {
    let overlay = Overlay::new();
    let (mut proxy, mut members) = overlay.star(2, &[]);
    wait_for("all links", || is_whole(&proxy, &members));
    assert_eq!(members[0].stop(), Some(0));
    assert!(!members[0].dir.join("control.sock").exists());
    // The Proxy learns at once, not when keepalives are missing.
    let mut client = proxy.client();
    let took = wait_for("the link to be down", || {
        client
            .links(None)
            .unwrap()
            .iter()
            .any(|link| !link.state.up && link.link.id().to_string() == "h1-proxy")
    });
    println!("the Proxy knew after {took:?}");
    assert_eq!(client.call(None, Request::Shutdown).unwrap(), Reply::Done);
    assert_eq!(proxy.wait_for_exit(), Some(0));
    assert!(all_up(&members[1]) || !members[1].client().links(None).unwrap()[0].state.why.is_empty());
    members[1].signal("INT");
    assert_eq!(members[1].wait_for_exit(), Some(0));
}

#[test]
fn the_socket_of_a_dead_daemon_is_replaced_and_that_of_a_living_one_is_not() {
    let overlay = Overlay::new();
    let mut daemon = overlay.daemon("a", 1, &[]);
    daemon.kill();
    assert!(daemon.dir.join("control.sock").exists());
    daemon.restart();
    let socket = daemon.dir.join("control.sock").display().to_string();
    let state = daemon.state_dir().display().to_string();
    let failure = |flags: &[&str]| {
        let common = ["--name", "b", "--bind", &format!("{}:0", overlay.ip(2))];
        let out = crate::harness::vnetd().args(common).args(flags).output().unwrap();
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8(out.stderr).unwrap()
    };
    let message = failure(&["--ephemeral", "--control", &socket]);
    assert!(message.contains("another daemon listens on"), "{message}");
    let free = overlay.dir.path().join("free.sock").display().to_string();
    let message = failure(&["--state-dir", &state, "--control", &free]);
    assert!(message.contains("another vnetd uses the state directory"), "{message}");
    let file = overlay.dir.path().join("letter").display().to_string();
    std::fs::write(&file, "dear").unwrap();
    let message = failure(&["--ephemeral", "--control", &file]);
    assert!(message.contains("is not a socket"), "{message}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "dear");
    assert!(daemon.client().status(None).is_ok());
}
