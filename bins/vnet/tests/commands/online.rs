//! Commands on daemons of this machine.

use std::os::unix::fs::PermissionsExt;

use vnet_core::{Topology, lang};

use crate::harness::{Local, Place, free_port};

#[test]
fn up_starts_what_is_missing_and_leaves_the_rest_alone() {
    let local = Local::up(3, "ring");
    let status = local.json(&["status"]);
    assert_eq!(status["proxy"], "h1");
    assert_eq!(status["daemons"].as_array().map(Vec::len), Some(3));
    assert!(
        status["daemons"]
            .as_array()
            .unwrap()
            .iter()
            .all(|daemon| daemon["degraded"] == serde_json::json!([]))
    );

    local.ok(&["up", "--local", &local.description]);
    let again = local.json(&["up", "--local", &local.description]);
    assert_eq!(again["started"], serde_json::json!([]));

    let socket = local.path("vnetd/h3.sock").display().to_string();
    assert!(local.ok(&["status", "h3", "--control", &socket]).starts_with("h3: release"));
    local.ok(&["down"]);
    assert!(local.fails(&["status"]).contains("no vnetd is running"));
    let third = local.json(&["up", "--local", &local.description]);
    assert_eq!(third["started"].as_array().map(Vec::len), Some(3));
    assert_eq!(third["difference"]["rules_added"], serde_json::json!({}), "they have kept their rules");
}

#[test]
fn show_gives_back_what_apply_was_given() {
    let local = Local::up(4, "ring");
    let wanted = local.ok(&["generate", "star", "--from", &local.description]);
    let diff = local.ok_with(&["diff", "-"], &wanted);
    assert!(diff.lines().any(|line| line.starts_with("- LINK UDP")), "{diff}");
    let dry = local.ok_with(&["apply", "-", "--dry-run"], &wanted);
    assert_eq!(dry, diff, "a dry run changes nothing");

    let out = local.ok_with(&["apply", "-"], &wanted);
    assert!(out.contains("in force after"), "{out}");
    assert_eq!(local.ok_with(&["apply", "-"], &wanted), "nothing had to change\n");
    assert!(local.ok_with(&["diff", "-"], &wanted).starts_with("nothing has to change\n"));

    let wanted = lang::read("wanted", &wanted).unwrap();
    let shown = lang::read("shown", &local.ok(&["show", "--format", "vnet"])).unwrap();
    assert_eq!((&shown.links, &shown.rules), (&wanted.links, &wanted.rules));
    let json: Topology = serde_json::from_str(&local.ok(&["show", "--json"])).unwrap();
    assert_eq!(json, shown);
    assert!(local.ok(&["show"]).contains("h1 (Proxy)"));
    assert!(local.ok(&["show", "--format", "svg"]).contains(">Proxy</text>"));
    assert!(local.ok(&["show", "--format", "dot"]).contains("\"h1\" [label=\"h1\", peripheries=2]"));
    assert!(local.ok(&["route", "vm2", "vm3"]).ends_with("delivered to vm3\n"));
}

#[test]
fn apply_says_what_it_does_and_reports_in_json() {
    let local = Local::up(3, "star");
    let wanted = local.ok(&["generate", "all-to-all", "--from", &local.description]);
    let ran = local.run_with(&["apply", "-", "--json"], &wanted);
    assert_eq!(ran.code, Some(0));
    assert!(ran.err.contains("new links that are up: 1 of 1"), "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(json["in_force_ms"].as_f64().unwrap() > 0.0);
    assert!(json["total_ms"].as_f64() >= json["in_force_ms"].as_f64());
    assert_eq!(json["difference"]["links_added"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["leftovers"], serde_json::json!([]));

    let ghost = local.ok(&["generate", "star", "--host", "h1", "--host", "ghost"]);
    let ran = local.run_with(&["apply", "-"], &ghost);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no daemon is registered for ghost") && ran.err.contains("nothing was changed"));
}

#[test]
fn links_rules_and_interfaces_one_by_one() {
    let local = Local::up(3, "star");
    assert_eq!(local.ok(&["link", "add", "tcp", "h2", "h3"]), "added LINK TCP h2 h2 h3\n");
    let links = local.json(&["link", "list", "h2"]);
    let kinds: Vec<_> = links.as_array().unwrap().iter().map(|link| link["link"]["kind"].clone()).collect();
    assert_eq!(kinds, ["udp", "tcp"]);
    assert!(local.fails(&["link", "add", "udp", "h2", "h3"]).contains("delete it before you add"));
    assert_eq!(local.ok(&["link", "del", "h3", "h2"]), "deleted the link h2-h3\n");
    assert!(local.fails(&["link", "del", "h3", "h2"]).contains("there is no link h2-h3"));
    assert!(local.ok(&["link", "list"]).contains("h1    h1-h2  UDP"));
    // One end that can't be had leaves none.
    assert!(local.fails(&["link", "add", "udp", "h2", "nobody"]).contains("nobody is not registered"));
    assert_eq!(local.json(&["link", "list", "h2"]).as_array().map(Vec::len), Some(1));

    let rule = ["h2", "not 02:00:00:00:00:01", "02:00:00:00:00:09", "--edge", "h1"];
    let added = local.ok(&[&["rule", "add"], &rule[..]].concat());
    assert_eq!(added, "added `NOT 02:00:00:00:00:01 02:00:00:00:00:09 h2 h1` at h2\n");
    assert!(local.ok(&["rule", "list", "h2"]).contains("NOT 02:00:00:00:00:01 02:00:00:00:00:09 h2 h1"));
    let network = local.json(&["rule", "list", "h2", "--network", "2"]);
    assert_eq!(network, serde_json::json!([]), "networks have rules of their own");
    local.ok(&[&["rule", "del"], &rule[..]].concat());
    assert!(local.fails(&[&["rule", "del"], &rule[..]].concat()).contains("have no `NOT"));
    assert!(local.fails(&["rule", "list", "nobody"]).contains("there is no daemon nobody"));

    local.ok(&["interface", "add", "h2", "lan", "--packet", "no-such-dev", "--mac", "02:00:00:00:00:09"]);
    let interfaces = local.json(&["interface", "list", "h2"]);
    assert_eq!(interfaces[0]["spec"]["mac"], "02:00:00:00:00:09");
    assert_eq!(interfaces[0]["state"]["up"], false);
    let status = local.ok(&["status"]);
    assert!(status.contains("h2: interface lan is down: "), "every degraded state says why: {status}");
    local.ok(&["interface", "del", "h2", "lan"]);
    assert_eq!(local.ok(&["interface", "list"]), "");
}

#[test]
fn the_bound_is_shown_and_set_everywhere() {
    let local = Local::up(2, "star");
    local.ok(&["bound", "750ms"]);
    assert_eq!(local.json(&["bound"]), serde_json::json!({ "h1": 750, "h2": 750 }));
    assert_eq!(local.ok(&["bound", "1s"]), "HOST  BOUND\nh1    1000 ms\nh2    1000 ms\n");
}

#[test]
fn traffic_of_a_silent_overlay_is_none() {
    let local = Local::up(2, "star");
    assert_eq!(local.ok(&["traffic"]), "network 1: topology none (100 % sure)\nno VM has sent anything\n");
    let socket = local.path("vnetd/h2.sock").display().to_string();
    let view = local.json(&["traffic", "--control", &socket, "--network", "7"]);
    assert_eq!((view["network"].as_u64(), &view["names"][0]), (Some(7), &"none".into()));
}

#[test]
fn remote_daemons_are_started_by_a_command() {
    let place = Place::new();
    // Stands for ssh: it runs the shell command here. The daemon's name is
    // that of the program that a remote machine would have.
    let vnetd = place.path("vnetd");
    let script = format!("#!/bin/sh\nexec '{}' daemon -- \"$@\"\n", env!("CARGO_BIN_EXE_vnet"));
    std::fs::write(&vnetd, script).unwrap();
    std::fs::set_permissions(&vnetd, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (a, b) = (free_port(), free_port());
    // Machines whose names are addresses need no DNS.
    let hosts = [format!("--host=ann@127.0.0.1:{a}"), format!("--host=ann@127.0.0.2:{b}")];
    let description = place.ok(&["generate", "star", &hosts[0], &hosts[1]]);
    let file = place.write("remote.vnet", &description);
    let path = format!("{}:{}", place.dir.path().display(), std::env::var("PATH").unwrap());
    let run = |args: &[&str]| {
        // The program is named vnetd and so is the default directory of sockets.
        let out = place
            .command(args)
            .env("PATH", &path)
            .env("XDG_RUNTIME_DIR", place.path("run"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let out = run(&["up", &file, "--command", "sh -c {daemon}"]);
    let control = format!("127.0.0.1:{}", a + 1);
    assert!(out.contains("2 daemons started") && out.ends_with(&format!("--control {control}\n")), "{out}");
    assert!(run(&["status", "--control", &control]).contains("127.0.0.2  "));
    run(&["down", "--control", &control]);
}

#[test]
fn a_daemon_that_does_not_start_points_to_its_log() {
    let place = Place::new();
    let port = free_port();
    let _taken = std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let host = format!("--host=h1:{port}");
    let file = place.write("f.vnet", &place.ok(&["generate", "star", &host, &format!("--host=h2:{port}")]));
    let error = place.run(&["up", "--local", &file, "--within", "1s"]);
    assert_eq!(error.code, Some(1));
    assert!(error.err.contains("the Proxy on h1 did not start; its log is"), "{}", error.err);
    let log = std::fs::read_to_string(place.path("vnetd/h1.log")).unwrap();
    assert!(log.contains(&format!("links can't listen on UDP 127.0.0.1:{port}")), "{log}");
}
