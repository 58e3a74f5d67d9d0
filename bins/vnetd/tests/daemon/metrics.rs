//! What Prometheus sees.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use vnet_core::control::Request;

use crate::harness::{Overlay, wait_for};
use crate::primitives::rule;

fn get(address: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Samples by name and labels, of a page whose form is checked on the way.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut family, mut kind) = (String::new(), String::new());
    let mut seen = Vec::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !seen.contains(&name.to_owned()), "{line}");
            family = name.to_owned();
            seen.push(family.clone());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            kind = of.to_owned();
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(name.split('{').next().unwrap(), family, "{line}");
            assert!(kind == "gauge" || kind == "counter");
            assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
        }
    }
    assert!(page.ends_with('\n'));
    samples
}

#[test]
fn metrics_tell_what_the_status_tells() {
    let overlay = Overlay::new();
    let address = format!("{}:9770", overlay.ip(1));
    let proxy = overlay.proxy(&["--metrics", &address]);
    let member = overlay.member("h1", 2, &[]);
    let mut client = proxy.client();
    wait_for("the link", || client.links(None).unwrap().iter().any(|link| link.state.up));
    client.call(None, Request::AddRule(rule("proxy", 1, "h1"))).unwrap();

    let (status, head, page) = get(&address, "/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let samples = parse(&page);
    assert_eq!(samples["vnetd_info{host=\"proxy\",release=\"0.1.0\"}"], 1.0);
    assert_eq!(samples["vnetd_is_proxy"], 1.0);
    assert_eq!(samples["vnetd_daemons"], 1.0);
    assert_eq!(samples["vnetd_rules"], 1.0);
    assert_eq!(samples["vnetd_link_up{link=\"h1-proxy\",kind=\"UDP\"}"], 1.0);
    assert!(samples["vnetd_link_received_frames_total{link=\"h1-proxy\",kind=\"UDP\"}"] > 0.0);
    assert!(samples["vnetd_control_requests_total"] > 0.0);
    assert!(samples.contains_key("vnetd_dropped_frames_total{reason=\"no-rule\"}"));
    drop(member);
}

#[test]
fn other_paths_and_methods_are_refused() {
    let overlay = Overlay::new();
    let address = format!("{}:9770", overlay.ip(1));
    let _daemon = overlay.daemon("a", 1, &["--metrics", &address]);
    assert_eq!(get(&address, "/healthz").0, 200);
    assert_eq!(get(&address, "/").0, 404);
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 405"), "{text}");
    // Rubbish closes the connection and harms nobody.
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(&[0xff; 512]).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(get(&address, "/healthz").0, 200);
}
