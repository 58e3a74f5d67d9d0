//! Configuration files and flags: what they mean and what is wrong with them.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use vnet_core::LinkKind;
use vnetd::{Config, Role, config};

use crate::harness::vnetd;

/// A file, and where and what its error is.
const BAD: &[(&str, &str)] = &[
    ("", "f.toml:1:1: the key `name`, the name of this host, is missing"),
    ("name = 7", "f.toml:1:8: invalid type: integer `7`"),
    ("name = \"a b\"", "f.toml:1:8: `a b` is not a host name: ` ` is not a letter"),
    ("name = \"a\"\nnmae = \"b\"", "f.toml:2:1: unknown field `nmae`, expected one of `name`"),
    ("name = \"a\"\nname = \"b\"", "f.toml:2:1: duplicate key"),
    ("name = \"a", "f.toml:1:10: "),
    ("name = \"a\"\nbind = \"here\"", "f.toml:2:8: invalid socket address"),
    ("name = \"a\"\nproxy = 7", "f.toml:2:9: expected `true` (this is the Proxy)"),
    ("name = \"a\"\nproxy = \"there\"", "f.toml:2:9: `there` is not an address; write `host:port`"),
    ("name = \"a\"\nproxy = true", "f.toml: the Proxy needs `control-tcp`"),
    ("name = \"a\"\nstar-link = \"sctp\"", "f.toml:2:13: unknown variant `sctp`"),
    ("name = \"a\"\ntraffic-rate = 0.0", "f.toml: `traffic-rate` is 0; it must be above 0"),
    ("name = \"a\"\ntraffic-rate = nan", "f.toml: `traffic-rate` is NaN"),
    ("name = \"a\"\n[peers]\nb = \"10.0.0.2\"", "f.toml:3:5: `10.0.0.2` is not an address"),
    ("name = \"a\"\n[timing]\nheartbeat = \"1\"", "f.toml:3:13: `1` is not a duration"),
    ("name = \"a\"\n[timing]\nheartbeat = \"0s\"", "f.toml:3:13: the duration must be above zero"),
    ("name = \"a\"\n[timing]\nheartbeet = \"1s\"", "f.toml:3:1: unknown field `heartbeet`"),
    (
        "name = \"a\"\n[vttif]\ndetection-threshold = 2.0",
        "f.toml: VTTIF parameter `detection_threshold` is 2",
    ),
    ("name = \"a\"\n[[links]]\npeer = \"a\"", "f.toml:2:1: `LINK UDP a a a` would join a to itself"),
    ("name = \"a\"\n[[links]]\npeer = \"b\"\nopener = \"c\"", "f.toml:2:1: `LINK UDP c a b` is opened by c"),
    ("name = \"a\"\n[[links]]\nkind = \"udp\"", "f.toml:2:1: missing field `peer`"),
    (
        "name = \"a\"\n[[rules]]\ndestination = \"all\"\nedge = \"b\"",
        "f.toml:2:1: `all` is not a MAC address",
    ),
    ("name = \"a\"\n[[rules]]\ndestination = \"any\"", "f.toml:2:1: a rule has either `edge`"),
    (
        "name = \"a\"\n[[rules]]\nsource = \"none\"\ndestination = \"any\"\nedge = \"b\"",
        "f.toml:2:1: `none` is for destinations",
    ),
    ("name = \"a\"\n[[interfaces]]\nname = \"v\"", "f.toml:2:1: an interface has either `tap` or `packet`"),
    (
        "name = \"a\"\n[[interfaces]]\nname = \"v\"\npacket = \"e\"\ncreate = true",
        "f.toml:2:1: `create` is for TAP devices",
    ),
    (
        "name = \"a\"\n[[interfaces]]\nname = \"v\"\nstream = \"/s\"\nnetns = \"/n\"",
        "f.toml:2:1: `create` and `netns` are for devices",
    ),
    (
        "name = \"a\"\n[[interfaces]]\nname = \"v\"\ntap = \"t\"\n[[interfaces]]\nname = \"v\"\ntap = \"u\"",
        "f.toml: there are two interfaces named `v`",
    ),
    ("name = \"a\"\n[limits]\nconnections = -1", "f.toml:3:15: invalid value: integer `-1`"),
];

#[test]
fn errors_name_the_place() {
    for (text, expected) in BAD {
        let error = config::parse(text, Path::new("f.toml")).unwrap_err().to_string();
        assert!(error.starts_with(expected), "\n{text}\ngave      {error}\nexpected  {expected}");
    }
}

#[test]
fn a_line_error_shows_the_line() {
    let error = config::parse("name = \"a\"\n  proxy = 7 # wrong\n", Path::new("f.toml")).unwrap_err();
    assert!(error.to_string().ends_with("\n  2 |   proxy = 7 # wrong"), "{error}");
}

fn example() -> Config {
    config::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vnetd.example.toml"))).unwrap()
}

#[test]
fn the_example_is_good_and_its_defaults_are_the_defaults() {
    let example = example();
    let plain = config::parse("name = \"host-a\"", Path::new("f.toml")).unwrap();
    assert_eq!(example.data, plain.data);
    assert_eq!((example.star_link, example.dns), (Some(LinkKind::Udp), true));
    assert_eq!((example.timing, example.limits), (plain.timing, plain.limits));
    assert_eq!((example.traffic_rate, example.vttif), (plain.traffic_rate, plain.vttif));
    assert_eq!(example.role, Role::Member { proxy: "proxy.example.org:7701".into() });
    assert_eq!(
        (example.peers.len(), example.interfaces.len(), example.links.len(), example.rules.len()),
        (2, 1, 1, 2)
    );
}

/// Every line of the example that is commented out is good, too.
#[test]
fn what_the_example_comments_out_is_good() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/vnetd.example.toml")).unwrap();
    let is_key = |line: &str| {
        let key = line.strip_prefix("# ").and_then(|rest| rest.split(" = ").next()).unwrap_or(" ");
        line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    let lines = text.lines().map(|line| if is_key(line) { &line[2..] } else { line });
    let all: String = lines.flat_map(|line| [line, "\n"]).collect();
    let config = config::parse(&all, Path::new("all.toml")).unwrap();
    assert_eq!(config.traffic_rate, Some(20.0));
    assert_eq!(config.vttif.smoothing_interval, Some(Duration::from_secs(1)));
    assert!(config.interfaces[0].port != example().interfaces[0].port, "the namespace counts");
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = vnetd().args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn check_says_whether_the_configuration_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.toml").display().to_string();
    std::fs::write(&file, "name = \"a\"\n").unwrap();
    assert_eq!(
        run(&["--config", &file, "--check"]),
        (Some(0), "the configuration of a is good\n".into(), String::new())
    );
    let (code, out, _) = run(&["--config", &file, "--name", "b", "--check"]);
    assert_eq!((code, out.as_str()), (Some(0), "the configuration of b is good\n"));
    std::fs::write(&file, "name = \"a\"\nnope = 1\n").unwrap();
    let (code, out, error) = run(&["--config", &file, "--check"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("f.toml:2:1: unknown field `nope`"), "{error}");
    let (code, _, error) = run(&["--config", "/no/such/file"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("can't read the configuration /no/such/file"), "{error}");
}

#[test]
fn wrong_usage_exits_with_two() {
    for args in [
        &[][..],
        &["--name"],
        &["--name", "a b"],
        &["--name", "a", "--bind", "x"],
        &["--name", "a", "--proxy", "x"],
        &["--name", "a", "--proxy", "true"],
        &["--name", "a", "--peer", "b"],
        &["--name", "a", "--state-dir", "x", "--ephemeral"],
        &["--nope"],
    ] {
        let (code, out, error) = run(args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {error}");
        assert!(!error.is_empty());
    }
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("Examples:"));
}
