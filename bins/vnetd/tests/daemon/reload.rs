//! SIGHUP.

use std::fs;
use std::path::PathBuf;

use vnet_core::control::Request;

use crate::harness::{Daemon, Overlay, wait_for};
use crate::primitives::rule;

struct Configured {
    overlay: Overlay,
    file: PathBuf,
}

impl Configured {
    fn start(more: &str) -> (Self, Daemon) {
        let overlay = Overlay::new();
        let file = overlay.dir.path().join("vnetd.toml");
        let configured = Self { overlay, file };
        configured.write(more);
        let dir = configured.overlay.dir.path().join("a");
        fs::create_dir_all(&dir).unwrap();
        let flags = vec!["--config".to_owned(), configured.file.display().to_string()];
        let daemon = Daemon::start("a", dir, flags);
        (configured, daemon)
    }

    fn write(&self, more: &str) {
        let dir = self.overlay.dir.path().join("a");
        let text = format!(
            "name = \"a\"\nbind = \"{}:7700\"\ncontrol = \"{}\"\nstate-dir = \"{}\"\ndns = false\n{more}",
            self.overlay.ip(9),
            dir.join("control.sock").display(),
            dir.join("state").display(),
        );
        fs::write(&self.file, text).unwrap();
    }

    fn reload(&self, daemon: &Daemon, more: &str) {
        self.write(more);
        // What was logged before may come while this waits.
        let outcomes =
            ["has been read again", "stays as it was", "parts of the new configuration do not work"];
        let ended = || daemon.log().lines().filter(|line| outcomes.iter().any(|o| line.contains(o))).count();
        let before = ended();
        daemon.signal("HUP");
        wait_for("the reload", || ended() > before);
    }
}

fn links(daemon: &Daemon) -> Vec<String> {
    daemon.client().links(None).unwrap().iter().map(|link| link.link.id().to_string()).collect()
}

fn rule_to(index: u32) -> String {
    format!("[[rules]]\ndestination = \"{}\"\nedge = \"b\"\n", vnet_core::MacAddr::local(index))
}

#[test]
fn differences_are_carried_out_and_what_clients_did_stays() {
    let link = |peer: &str| format!("[[links]]\npeer = \"{peer}\"\naddress = \"127.0.0.1:9\"\n");
    let (configured, daemon) = Configured::start(&(link("b") + &link("c") + &rule_to(1)));
    assert_eq!(links(&daemon), ["a-b", "a-c"]);
    let mut client = daemon.client();
    client.call(None, Request::AddRule(rule("a", 9, "b"))).unwrap();

    configured.reload(&daemon, &(link("b") + &link("d") + &rule_to(2)));
    assert!(daemon.log().contains("the configuration has been read again"), "{}", daemon.log());
    assert_eq!(links(&daemon), ["a-b", "a-d"]);
    let rules: Vec<_> = client.rules(None).unwrap().into_iter().map(|status| status.rule).collect();
    assert_eq!(rules, [rule("a", 2, "b").rule, rule("a", 9, "b").rule]);
}

#[test]
fn the_configuration_is_applied_once_and_not_at_every_start() {
    let (configured, mut daemon) = Configured::start(&(rule_to(1) + &rule_to(2)));
    daemon.client().call(None, Request::DeleteRule(rule("a", 1, "b"))).unwrap();
    daemon.kill();
    configured.write(&(rule_to(1) + &rule_to(2) + &rule_to(3)));
    daemon.restart();
    let rules: Vec<_> = daemon.client().rules(None).unwrap().into_iter().map(|status| status.rule).collect();
    assert_eq!(rules, [rule("a", 2, "b").rule, rule("a", 3, "b").rule]);
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_why() {
    let (configured, daemon) = Configured::start(&rule_to(1));
    configured.reload(&daemon, "[[rules]]\ndestination = \"all\"\nedge = \"b\"\n");
    let log = daemon.log();
    assert!(log.contains("the configuration stays as it was") && log.contains("vnetd.toml:6:1"), "{log}");
    assert_eq!(daemon.client().rules(None).unwrap().len(), 1);
}

#[test]
fn what_needs_a_restart_is_named() {
    let (configured, daemon) = Configured::start("");
    configured.reload(&daemon, "metrics = \"127.0.0.1:0\"\n");
    let degraded = daemon.client().status(None).unwrap().degraded;
    assert_eq!(degraded, ["`metrics` has changed in the configuration, which needs a restart"]);
    configured.reload(&daemon, "");
    assert_eq!(daemon.client().status(None).unwrap().degraded, [""; 0]);
}

#[test]
fn a_daemon_may_be_given_a_proxy_and_lose_it() {
    let (configured, daemon) = Configured::start("");
    let proxy = configured.overlay.proxy(&[]);
    configured.reload(&daemon, &format!("proxy = \"{}\"\n", configured.overlay.registration()));
    let mut client = daemon.client();
    wait_for("the registration", || client.status(None).unwrap().proxy.is_some_and(|session| session.up));
    configured.reload(&daemon, "");
    assert_eq!(client.status(None).unwrap().proxy, None);
    let mut client = proxy.client();
    wait_for("the daemon to leave", || client.status(None).unwrap().daemons.is_empty());
    drop((proxy, daemon));
}
