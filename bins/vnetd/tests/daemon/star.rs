//! Registration with the Proxy, and requests that it hands on.

use vnet_core::LinkKind;
use vnet_core::control::{ErrorKind, LinkSpec, Reply, Request};
use vnetd::client::{Call, ClientError, Overlay as Survey};

use crate::harness::{Daemon, Overlay, wait_for};
use crate::primitives::{link, rule};

#[test]
fn every_daemon_can_be_asked_through_any_other() {
    let overlay = Overlay::new();
    let (proxy, members) = overlay.star(3, &[]);
    let names = ["proxy", "h1", "h2", "h3"];
    for from in members.iter().chain([&proxy]) {
        let mut client = from.client();
        let calls: Vec<Call> =
            names.iter().map(|name| (Some(name.parse().unwrap()), Request::Status)).collect();
        for (name, answer) in names.iter().zip(client.call_many(calls).unwrap()) {
            let Reply::Status(status) = answer.unwrap() else { panic!("no status") };
            assert_eq!(status.host.as_str(), *name, "asked through {}", from.name);
        }
        let survey = Survey::survey(&mut client).unwrap();
        assert_eq!(survey.proxy.as_ref().map(|host| host.as_str()), Some("proxy"));
        assert_eq!(survey.daemons.len(), 4, "surveyed through {}", from.name);
    }
}

#[test]
fn an_unknown_daemon_is_named() {
    let overlay = Overlay::new();
    let (proxy, members) = overlay.star(1, &[]);
    for from in [&proxy, &members[0]] {
        let error = from.client().call(Some(&"nobody".parse().unwrap()), Request::Ping).unwrap_err();
        let ClientError::Refused { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind, ErrorKind::Unreachable);
        assert!(source.message.contains("nobody is not registered"), "{source}");
    }
}

#[test]
fn the_star_links_come_up_by_themselves() {
    let overlay = Overlay::new();
    for (kind, flag) in [(LinkKind::Udp, "udp"), (LinkKind::Tcp, "tcp")] {
        let (proxy, members) = overlay.star(2, &["--star-link", flag, "--ephemeral"]);
        let mut client = proxy.client();
        wait_for("the star", || {
            let links = client.links(None).unwrap();
            links.len() == 2 && links.iter().all(|link| link.state.up && link.link.kind == kind)
        });
        for member in &members {
            let links = member.client().links(None).unwrap();
            assert_eq!(links[0].link, link(kind, &member.name, "proxy", &member.name));
        }
    }
}

#[test]
fn links_between_members_find_their_peers_through_the_proxy() {
    let overlay = Overlay::new();
    let (_proxy, members) = overlay.star(2, &["--star-link", "none"]);
    let link = link(LinkKind::Udp, "h1", "h1", "h2");
    for member in &members {
        assert_eq!(member.client().links(None).unwrap(), []);
        let spec = LinkSpec { link: link.clone(), peer: None };
        member.client().call(None, Request::AddLink(spec)).unwrap();
    }
    let mut client = members[0].client();
    wait_for("the link", || client.links(None).unwrap()[0].state.up);
}

#[test]
fn a_daemon_that_stops_or_falls_silent_is_no_longer_registered() {
    let overlay = Overlay::new();
    let (proxy, mut members) = overlay.star(2, &[]);
    let mut client = proxy.client();
    let mut registered = || client.status(None).unwrap().daemons.len();
    assert_eq!(members[0].stop(), Some(0));
    wait_for("the stopped daemon to be gone", || registered() == 1);
    members[1].signal("STOP");
    wait_for("the silent daemon to be gone", || registered() == 0);
    members[1].signal("CONT");
    wait_for("it to be back", || registered() == 1);
}

#[test]
fn requests_to_a_daemon_that_does_not_answer_fail_in_time() {
    let overlay = Overlay::new();
    let (proxy, members) = overlay.star(1, &[]);
    members[0].signal("STOP");
    let error = proxy.client().call(Some(&members[0].host()), Request::Ping).unwrap_err();
    let ClientError::Refused { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(source.kind, ErrorKind::Timeout | ErrorKind::Unreachable), "{error}");
    assert!(error.to_string().contains("h1"), "{error}");
    members[0].signal("CONT");
}

#[test]
fn who_may_not_register_learns_why() {
    let overlay = Overlay::new();
    let proxy = overlay.proxy(&[]);
    let elsewhere = Overlay::new();
    let namesake = elsewhere.daemon("proxy", 9, &["--proxy", &overlay.registration()]);
    degraded_by(&namesake, "the Proxy itself is named proxy");
    let alone = overlay.daemon("alone", 3, &["--control-tcp", &format!("{}:7701", overlay.ip(3))]);
    let lost = overlay.daemon("lost", 4, &["--proxy", &format!("{}:7701", overlay.ip(3))]);
    degraded_by(&lost, "alone is not the Proxy");
    drop((proxy, alone));
}

fn degraded_by(daemon: &Daemon, why: &str) {
    let mut client = daemon.client();
    wait_for(why, || client.status(None).unwrap().degraded.iter().any(|problem| problem.contains(why)));
}

#[test]
fn a_batch_is_handed_on_whole() {
    let overlay = Overlay::new();
    let (proxy, members) = overlay.star(1, &[]);
    let batch = (0..2000).map(|index| Request::AddRule(rule("h1", index, "proxy"))).collect();
    let host = members[0].host();
    let Reply::Batch(answers) = proxy.client().call(Some(&host), Request::Batch(batch)).unwrap() else {
        panic!("no batch")
    };
    assert!(answers.iter().all(|answer| *answer == Ok(Reply::Done)));
    assert_eq!(proxy.client().rules(Some(&host)).unwrap().len(), 2000);
}
