//! Commands that need no daemon.

use std::process::Stdio;

use vnet_core::{Shape, Topology, lang};

use crate::harness::Place;

#[test]
fn every_shape_is_generated_checked_and_drawn() {
    let place = Place::new();
    for shape in Shape::all() {
        let shape = shape.to_string();
        let text = place.ok(&["generate", &shape, "--hosts", "8"]);
        let topology = lang::read("generated", &text).unwrap();
        assert_eq!(topology.hosts.len(), 8);
        assert_eq!(topology.warnings(), []);

        let good = place.ok_with(&["check", "-"], &text);
        let links = topology.links.len();
        assert_eq!(good, format!("good: 8 hosts, {links} links, {} rules\n", topology.rule_count()));

        let json = place.ok(&["generate", &shape, "--hosts", "8", "--json"]);
        assert_eq!(serde_json::from_str::<Topology>(&json).unwrap(), topology);

        let dot = place.ok_with(&["check", "-", "--format", "dot"], &text);
        assert_eq!(dot.matches(", len=2]").count(), links);
        let svg = place.ok_with(&["check", "-", "--format", "svg"], &text);
        assert_eq!(svg.matches("<line class=\"link\" ").count(), links + 1, "links and the legend's sample");
        assert_eq!(svg.matches("<rect class=\"host\"").count(), 8);
        assert_eq!(svg.matches("<rect class=\"vm\"").count(), 8);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for tag in ["line", "rect", "text", "title"] {
            let opened = svg.matches(&format!("<{tag}")).count();
            let closed = svg.matches(&format!("</{tag}>")).count();
            let alone = svg.matches(&format!("<{tag} ")).count() - svg_pairs(&svg, tag);
            assert_eq!(opened, closed + alone, "{tag}");
        }
    }
}

/// Elements of this name that are not closed at once.
fn svg_pairs(svg: &str, tag: &str) -> usize {
    svg.match_indices(&format!("<{tag} "))
        .filter(|(at, _)| !svg[*at..].split('>').next().unwrap().ends_with('/'))
        .count()
}

#[test]
fn hosts_and_vms_can_be_named() {
    let place = Place::new();
    let text = place.ok(&[
        "generate",
        "star",
        "--tcp",
        "--host",
        "ann@hub.example.org:7000",
        "--host",
        "leaf",
        "--vm",
        "leaf/eth1=02:00:00:00:00:0a",
        "--vm",
        "leaf/eth2=02:00:00:00:00:0b",
    ]);
    assert_eq!(
        text,
        "\
BEGIN
HOST ann AT hub.example.org 7000 none
HOST vnet AT leaf 7700 eth1

ADD
LINK TCP leaf hub.example.org leaf
FORWARD EDGE hub.example.org ANY NONE 02:00:00:00:00:0a hub.example.org leaf
FORWARD EDGE hub.example.org ANY NONE 02:00:00:00:00:0b hub.example.org leaf
FORWARD EDGE hub.example.org ANY NONE NONE hub.example.org leaf
FORWARD INTERFACE leaf ANY NONE 02:00:00:00:00:0a eth1
FORWARD INTERFACE leaf ANY NONE 02:00:00:00:00:0b eth2
FORWARD EDGE leaf ANY NONE NONE leaf hub.example.org
FORWARD INTERFACE leaf ANY NONE NONE eth1
FORWARD INTERFACE leaf ANY NONE NONE eth2
END
"
    );
    let again = place.ok_with(&["generate", "star", "--tcp", "--from", "-"], &text);
    assert_eq!(again, text, "hosts and VMs of a description make it again");
}

#[test]
fn a_description_as_text() {
    let place = Place::new();
    let text = place.ok(&["generate", "bus", "--hosts", "3", "--format", "text"]);
    assert_eq!(
        text,
        "\
3 hosts, 2 links, 16 rules

HOST   ADDRESS    RULES  VMS
host1  port 7700  5      vm1 02:00:00:00:00:01
host2  port 7700  6      vm2 02:00:00:00:00:02
host3  port 7700  5      vm3 02:00:00:00:00:03

LINK         KIND  OPENER
host1-host2  UDP   host2
host2-host3  UDP   host3
"
    );
}

#[test]
fn errors_name_file_line_and_column() {
    let place = Place::new();
    let file = place.write("bad.vnet", "BEGIN\nHOST a AT b seven eth0\nEND\n");
    let error = place.fails(&["check", &file]);
    assert!(error.contains("bad.vnet:2:13"), "{error}");
    let error = place.fails(&["check", "/no/such/file"]);
    assert!(error.contains("can't open /no/such/file"), "{error}");
    let error = place.fails(&["generate", "hypercube", "--hosts", "9"]);
    assert!(error.contains("9 nodes do not make a hypercube; 8 or 16 would"), "{error}");
    let error = place.fails(&["generate", "ring"]);
    assert!(error.contains("no hosts: give some"), "{error}");
}

#[test]
fn warnings_are_no_errors() {
    let place = Place::new();
    let text = "BEGIN HOST a AT h 1 e HOST a AT g 1 e ADD FORWARD EDGE h ANY NONE NONE h g END";
    let out = place.ok_with(&["check", "-"], text);
    assert!(out.starts_with("good: 2 hosts, 0 links, 1 rule\nwarning: at `h`"), "{out}");
    let file = place.write("f.vnet", text);
    let json = place.json(&["check", &file]);
    assert_eq!((json["rules"].as_u64(), json["warnings"].as_array().map(Vec::len)), (Some(1), Some(3)));
}

#[test]
fn a_route_in_a_description() {
    let place = Place::new();
    let file = place.write("bus.vnet", &place.ok(&["generate", "bus", "--hosts", "3"]));
    let route = place.ok(&["route", "vm1", "vm3", "--file", &file]);
    assert_eq!(
        route,
        "\
02:00:00:00:00:01 -> 02:00:00:00:00:03
host1 from interface vm1
  by ANY NONE 02:00:00:00:00:03 host1 host2
  strength: destination exact, source any
  host2 from host1
    by ANY NONE 02:00:00:00:00:03 host2 host3
    strength: destination exact, source any
    host3 from host2
      by ANY NONE 02:00:00:00:00:03 vm3
      strength: destination exact, source any
      delivered to vm3
"
    );
    let json = place.json(&["route", "vm1", "ff:ff:ff:ff:ff:ff", "--file", &file]);
    assert_eq!(json["hops"].as_array().map(Vec::len), Some(3));
    let error = place.fails(&["route", "vm1", "vm9", "--file", &file]);
    assert!(error.contains("no rule delivers to an interface of that name"), "{error}");
    let error = place.fails(&["route", "02:00:00:00:00:77", "vm1", "--file", &file]);
    assert!(error.contains("no rule tells where 02:00:00:00:00:77 is"), "{error}");
    let place_it =
        ["route", "02:00:00:00:00:77", "vm1", "--host", "host3", "--interface", "vm3", "--file", &file];
    assert!(place.ok(&place_it).contains("delivered to vm1"));
}

#[test]
fn wrong_usage_exits_with_two() {
    let place = Place::new();
    for args in [
        &[][..],
        &["nonsense"],
        &["generate"],
        &["generate", "blob"],
        &["generate", "ring", "--hosts", "3", "--host", "a"],
        &["generate", "ring", "--vm", "x"],
        &["show", "--format", "pdf"],
        &["route", "vm1"],
        &["bound", "0s"],
        &["bound", "soon"],
        &["link", "add", "sctp", "a", "b"],
        &["rule", "add", "a", "any", "none"],
        &["rule", "add", "a", "some", "none", "--edge", "b"],
        &["interface", "add", "a", "v"],
        &["status", "--network", "-1"],
        &["up", "f", "--local", "--command", "x"],
    ] {
        let ran = place.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains("Usage: vnet") || ran.err.contains("error:"), "{}", ran.err);
    }
}

#[test]
fn every_command_has_a_help_that_says_what_it_does() {
    let place = Place::new();
    let help = place.ok(&["--help"]);
    for command in [
        "demo",
        "up",
        "down",
        "show",
        "route",
        "diff",
        "apply",
        "check",
        "generate",
        "link",
        "rule",
        "interface",
        "bound",
        "status",
        "traffic",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        assert!(place.ok(&[command, "--help"]).contains("Usage: vnet"), "{command}");
    }
    assert!(!help.contains("daemon  "), "the daemon is hidden");
}

#[test]
fn shells_get_completions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.ok(&["completions", shell]);
        assert!(script.contains("generate") && script.contains("traffic"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::new();
    let mut child = place
        .command(&["generate", "all-to-all", "--hosts", "64"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn without_a_daemon_the_message_says_what_to_do() {
    let place = Place::new();
    let error = place.fails(&["status"]);
    assert!(error.contains("no vnetd is running on this machine; start one"), "{error}");
    let error = place.fails(&["status", "--control", "127.0.0.1:1"]);
    assert!(error.contains("can't reach a daemon at 127.0.0.1:1"), "{error}");
    let error = place.fails(&["show", "--control", "/no/such.sock"]);
    assert!(error.contains("can't reach a daemon at /no/such.sock"), "{error}");
}
