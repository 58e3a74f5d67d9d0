//! How much memory a daemon takes.

use std::time::Duration;

use vnet_core::control::Request;

use crate::harness::{Daemon, Overlay};
use crate::primitives::rule;

// What the requirement gives the release build; the debug build's code and
// bookkeeping are larger.
const IDLE_KIB: u64 = if cfg!(debug_assertions) { 20 << 10 } else { 10 << 10 };
const WITH_RULES_KIB: u64 = if cfg!(debug_assertions) { 60 << 10 } else { 40 << 10 };

fn resident_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_idle_daemon_is_small_and_one_with_ten_thousand_rules_is_not_large() {
    let overlay = Overlay::new();
    let (proxy, mut members) = overlay.star(1, &[]);
    std::thread::sleep(Duration::from_secs(1));
    for daemon in [&proxy, &members[0]] {
        let kib = resident_kib(daemon);
        println!("{} idle: {kib} KiB", daemon.name);
        assert!(kib < IDLE_KIB, "{} takes {kib} KiB", daemon.name);
    }
    let batch = (0..10_000).map(|index| Request::AddRule(rule("h1", index, "proxy"))).collect();
    members[0].client().call(None, Request::Batch(batch)).unwrap();
    let kib = resident_kib(&members[0]);
    println!("with 10,000 rules: {kib} KiB");
    assert!(kib < WITH_RULES_KIB, "{kib} KiB");
    members[0].kill();
    members[0].restart();
    assert_eq!(members[0].client().status(None).unwrap().rules, 10_000);
    let kib = resident_kib(&members[0]);
    println!("with 10,000 rules after a restart: {kib} KiB");
    assert!(kib < WITH_RULES_KIB, "{kib} KiB");
}
