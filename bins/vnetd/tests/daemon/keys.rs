//! Keys: who may have links with whom, and who says so.

use vnet_core::HostName;
use vnet_core::control::{LinkSpec, PeerKey, Request};
use vnet_core::{Link, LinkKind};

use crate::harness::{Daemon, Overlay, proxy_key, wait_for};

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn is_up(daemon: &Daemon, peer: &str) -> bool {
    let links = daemon.client().links(None).unwrap();
    links.iter().any(|link| link.link.id().peer_of(&daemon.host()) == Some(&host(peer)) && link.state.up)
}

fn why(daemon: &Daemon) -> String {
    daemon.client().links(None).unwrap().into_iter().map(|link| link.state.why).collect()
}

/// Adds both ends of a link between two daemons.
fn join(overlay: &Overlay, a: &Daemon, b: &Daemon, numbers: [u8; 2]) {
    let link = Link { kind: LinkKind::Udp, opener: a.host(), a: a.host(), b: b.host() };
    for (daemon, peer) in [(a, numbers[1]), (b, numbers[0])] {
        let peer = Some((overlay.ip(peer), 7700).into());
        daemon.client().call(None, Request::AddLink(LinkSpec { link: link.clone(), peer })).unwrap();
    }
}

#[test]
fn the_proxy_introduces_daemons_to_each_other() {
    let overlay = Overlay::new();
    let (proxy, members) = overlay.star(3, &[]);
    assert_eq!(proxy.client().peers(None).unwrap().0, Some(proxy_key().public()));
    wait_for("everybody to know everybody", || {
        members.iter().all(|member| member.client().peers(None).unwrap().1.len() == 3)
    });
    join(&overlay, &members[0], &members[1], [2, 3]);
    wait_for("the link", || is_up(&members[0], "h2") && is_up(&members[1], "h1"));
    let links = members[0].client().links(None).unwrap();
    assert!(links.iter().all(|link| link.encryption.contains('-')), "{links:#?}");
}

#[test]
fn a_daemon_that_takes_another_for_the_proxy_believes_nothing() {
    let overlay = Overlay::new();
    let proxy = overlay.proxy(&[]);
    let wrong = vnet_core::PublicKey([9; 32]).to_string();
    let registration = overlay.registration();
    let member = overlay.daemon("h1", 2, &["--proxy", &registration, "--proxy-key", &wrong]);
    wait_for("a warning", || proxy.log().contains("can't prove that its key is"));
    let peers = member.client().peers(None).unwrap().1;
    assert_eq!(peers.iter().map(|peer| &peer.host).collect::<Vec<_>>(), [&host("proxy")]);
    assert!(!is_up(&member, "proxy"));
}

#[test]
fn a_name_belongs_to_the_key_that_came_first() {
    let overlay = Overlay::new();
    let (proxy, mut members) = overlay.star(1, &[]);
    let key = proxy.client().peers(None).unwrap().1[0].key;
    members[0].kill();
    std::fs::remove_file(members[0].state_dir().join("private.key")).unwrap();
    members[0].restart();
    wait_for("a warning", || proxy.log().contains("h1 has another key than before, and is not believed"));
    assert_eq!(proxy.client().peers(None).unwrap().1[0].key, key);
}

#[test]
fn without_introductions_operators_tell_keys() {
    let overlay = Overlay::new();
    let [a, b] = [("a", 2), ("b", 3)].map(|(name, z)| overlay.daemon(name, z, &[]));
    join(&overlay, &a, &b, [2, 3]);
    wait_for("the reason", || why(&a).contains("no key of b is known here: `vnet peer add`"));
    let [key_of_a, key_of_b] = [&a, &b].map(|daemon| daemon.client().peers(None).unwrap().0.unwrap());
    for (daemon, peer, key) in [(&a, "b", key_of_b), (&b, "a", key_of_a)] {
        let peer = PeerKey { host: host(peer), key, introduced: false };
        daemon.client().call(None, Request::AllowPeer(peer)).unwrap();
    }
    wait_for("the link", || is_up(&a, "b") && is_up(&b, "a"));
    a.client().call(None, Request::ForbidPeer(host("b"))).unwrap();
    wait_for("the end of the link", || !is_up(&a, "b") && !is_up(&b, "a"));
}

#[test]
fn plain_and_encrypted_daemons_say_why_they_do_not_meet() {
    let overlay = Overlay::new();
    let plain = overlay.daemon("plain", 2, &["--encryption", "none"]);
    let key = vnet_core::PublicKey([9; 32]).to_string();
    let secret = overlay.daemon("secret", 3, &["--peer-key", &format!("plain={key}")]);
    join(&overlay, &plain, &secret, [2, 3]);
    wait_for("both reasons", || {
        why(&plain).contains("wants an encrypted link") && why(&secret).contains("speaks in plain")
    });
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let overlay = Overlay::new();
    let mut daemon = overlay.daemon("a", 2, &[]);
    daemon.kill();
    let file = daemon.state_dir().join("private.key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut again = crate::harness::vnetd();
    let output = again.args(["--name", "a", "--bind", "127.0.0.1:0", "--state-dir"]).arg(daemon.state_dir());
    let output = output.arg("--control").arg(overlay.dir.path().join("a.sock")).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("its mode is 644"), "{error}");
}
