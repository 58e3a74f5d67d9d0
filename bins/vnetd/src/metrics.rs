//! A daemon's status in the Prometheus text format, version 0.0.4.
//!
//! Rules are counted as a whole: their own counters, of which there may be
//! tens of thousands, are in the answer to `ListRules`.

use std::fmt::{self, Display, Write};

use vnet_core::control::{DaemonStatus, InterfaceStatus, LinkStatus};

/// The status as metrics.
pub(crate) fn render(status: &DaemonStatus, connections: usize, requests: u64) -> String {
    let mut page = Page::default();
    page.family("vnetd_info", "The daemon and its release.");
    page.sample(&[("host", &status.host), ("release", &status.release)], 1);
    page.family("vnetd_uptime_seconds", "For how long the daemon has run.");
    page.sample(&[], seconds(status.uptime_ms));
    page.family("vnetd_is_proxy", "Whether the daemon is the Proxy.");
    page.sample(&[], u8::from(status.is_proxy));
    if let Some(session) = &status.proxy {
        page.family("vnetd_registered", "Whether the daemon is registered with its Proxy.");
        page.sample(&[], u8::from(session.up));
    }
    page.family("vnetd_daemons", "Daemons registered here.");
    page.sample(&[], status.daemons.len());
    page.family("vnetd_degraded", "Things that do not work as configured.");
    page.sample(&[], status.degraded.len());
    page.family("vnetd_configuration_bound_seconds", "The upper bound on configuration time.");
    page.sample(&[], seconds(status.configuration_bound_ms));
    page.family("vnetd_control_connections", "Open control connections.");
    page.sample(&[], connections);
    page.family("vnetd_control_requests_total", "Requests received.");
    page.sample(&[], requests);
    page.family("vnetd_rules", "Rules in the current rule sets.");
    page.sample(&[], status.rules);
    page.family("vnetd_rule_version", "The rule version that new frames of a network get.");
    for (network, version) in &status.versions {
        page.sample(&[("network", network)], version);
    }
    page.family("vnetd_dropped_frames_total", "Frames dropped, by reason.");
    for drop in &status.drops {
        page.sample(&[("reason", &drop.reason)], drop.frames);
    }
    interfaces(&mut page, &status.interfaces);
    links(&mut page, &status.links);
    page.text
}

fn interfaces(page: &mut Page, interfaces: &[InterfaceStatus]) {
    type Value = fn(&InterfaceStatus) -> u64;
    let families: [(&str, &str, Value); 6] = [
        ("vnetd_interface_up", "Whether the interface carries frames.", |i| i.state.up.into()),
        ("vnetd_interface_received_frames_total", "Frames taken from it.", |i| i.received_frames),
        ("vnetd_interface_received_bytes_total", "Bytes of those frames.", |i| i.received_bytes),
        ("vnetd_interface_sent_frames_total", "Frames delivered to it.", |i| i.sent_frames),
        ("vnetd_interface_sent_bytes_total", "Bytes of those frames.", |i| i.sent_bytes),
        ("vnetd_interface_send_errors_total", "Frames that it could not take.", |i| i.send_errors),
    ];
    for (name, help, value) in families {
        page.family(name, help);
        for interface in interfaces {
            let InterfaceStatus { spec, .. } = interface;
            page.sample(&[("interface", &spec.name), ("network", &spec.network)], value(interface));
        }
    }
}

fn links(page: &mut Page, links: &[LinkStatus]) {
    type Value = fn(&LinkStatus) -> u64;
    let families: [(&str, &str, Value); 10] = [
        ("vnetd_link_up", "Whether the link carries frames.", |l| l.state.up.into()),
        ("vnetd_link_received_frames_total", "Messages received, frames and keepalives.", |l| {
            l.received_frames
        }),
        ("vnetd_link_received_bytes_total", "Bytes of those messages.", |l| l.received_bytes),
        ("vnetd_link_sent_frames_total", "Messages sent, frames and keepalives.", |l| l.sent_frames),
        ("vnetd_link_sent_bytes_total", "Bytes of those messages.", |l| l.sent_bytes),
        ("vnetd_link_send_errors_total", "Messages that could not be sent.", |l| l.send_errors),
        ("vnetd_link_ups_total", "How many times the link has come up.", |l| l.times_up),
        ("vnetd_link_split_frames_total", "Frames longer than the path's MTU, sent in pieces.", |l| {
            l.split_frames
        }),
        ("vnetd_link_lost_total", "Messages of the peer that did not come since the link is up.", |l| l.lost),
        ("vnetd_link_not_fitting_total", "Frames longer than the path's MTU, dropped.", |l| l.not_fitting),
    ];
    for (name, help, value) in families {
        page.family(name, help);
        for link in links {
            page.sample(&[("link", &link.link.id()), ("kind", &link.link.kind)], value(link));
        }
    }
    page.family("vnetd_link_path_mtu_bytes", "The longest packet that the path is known to carry.");
    for link in links {
        if let Some(mtu) = link.path_mtu {
            page.sample(&[("link", &link.link.id()), ("kind", &link.link.kind)], mtu);
        }
    }
    page.family("vnetd_link_round_trip_seconds", "Smoothed round-trip time of keepalives.");
    for link in links {
        if let Some(us) = link.round_trip_us {
            page.sample(&[("link", &link.link.id()), ("kind", &link.link.kind)], us as f64 / 1e6);
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// A page of metrics as it grows.
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// Begins a family. The suffix of its name tells counters from gauges.
    fn family(&mut self, name: &'static str, help: &str) {
        self.name = name;
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.text.push_str(self.name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            self.put(format_args!("{before}{label}=\"{}\"", Escaped(&text.to_string())));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{after} {value}\n"));
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = self.text.write_fmt(text);
    }
}

/// A label's value: backslash, quote and line feed are escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.family("vnetd_dropped_frames_total", "Frames.");
        page.sample(&[("reason", &"a\\b\"c\nd"), ("network", &1)], 7);
        page.sample(&[], 0.5);
        assert_eq!(
            page.text,
            concat!(
                "# HELP vnetd_dropped_frames_total Frames.\n",
                "# TYPE vnetd_dropped_frames_total counter\n",
                "vnetd_dropped_frames_total{reason=\"a\\\\b\\\"c\\nd\",network=\"1\"} 7\n",
                "vnetd_dropped_frames_total 0.5\n",
            )
        );
    }
}
