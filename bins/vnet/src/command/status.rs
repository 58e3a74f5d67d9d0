//! `vnet status`: what works, and what doesn't and why.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use vnet_core::HostName;
use vnet_core::control::{DaemonStatus, LinkStatus};
use vnetd::client::Overlay;

use crate::cli::Global;
use crate::connect::connect;
use crate::output::{self, Table};

/// Show the state of all daemons, and why what is down is down
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// One daemon alone
    host: Option<HostName>,
}

#[derive(Serialize)]
struct Status<'a> {
    proxy: Option<&'a HostName>,
    daemons: Vec<&'a DaemonStatus>,
    /// Daemons that do not answer, and why.
    silent: &'a BTreeMap<HostName, String>,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    if let Some(host) = &options.host {
        let status = client.status(Some(host))?;
        return output::show(global.json, &status, || detail(&status));
    }
    let overlay = Overlay::survey(&mut client)?;
    let status = Status {
        proxy: overlay.proxy.as_ref(),
        daemons: overlay.daemons.values().map(|daemon| &daemon.status).collect(),
        silent: &overlay.silent,
    };
    output::show(global.json, &status, || text(&status))
}

fn text(status: &Status<'_>) -> String {
    let mut table =
        Table::new(["HOST", "UP FOR", "PROXY", "INTERFACES", "LINKS", "RULES", "DROPPED", "STATE"]);
    for daemon in &status.daemons {
        let up =
            |all: usize, up: usize| if all == up { format!("{all} up") } else { format!("{up} of {all} up") };
        let links = daemon.links.iter().filter(|link| link.state.up).count();
        let interfaces = daemon.interfaces.iter().filter(|interface| interface.state.up).count();
        let dropped: u64 = daemon.drops.iter().map(|drop| drop.frames).sum();
        table.row([
            daemon.host.to_string(),
            time(daemon.uptime_ms),
            role(daemon).to_owned(),
            up(daemon.interfaces.len(), interfaces),
            up(daemon.links.len(), links),
            daemon.rules.to_string(),
            dropped.to_string(),
            if daemon.degraded.is_empty() { "good".to_owned() } else { "degraded".to_owned() },
        ]);
    }
    for host in status.silent.keys() {
        let dash = || "-".to_owned();
        table.row([host.to_string(), dash(), dash(), dash(), dash(), dash(), dash(), "silent".to_owned()]);
    }
    let mut text = table.text();
    for daemon in &status.daemons {
        for problem in &daemon.degraded {
            text += &format!("{}: {problem}\n", daemon.host);
        }
    }
    for (host, why) in status.silent {
        text += &format!("{host}: {why}\n");
    }
    text
}

fn role(daemon: &DaemonStatus) -> &'static str {
    match &daemon.proxy {
        _ if daemon.is_proxy => "is it",
        Some(session) if session.up => "registered",
        Some(_) => "lost",
        None => "none",
    }
}

fn detail(status: &DaemonStatus) -> String {
    let mut text = format!(
        "{}: release {}, up for {}, {} rules, configuration bound {} ms\n",
        status.host,
        status.release,
        time(status.uptime_ms),
        status.rules,
        status.configuration_bound_ms
    );
    for (network, version) in &status.versions {
        text += &format!("network {network} has rule version {version}\n");
    }
    let mut interfaces =
        Table::new(["INTERFACE", "NETWORK", "VM", "STATE", "MTU", "FRAMES IN", "FRAMES OUT"]);
    for interface in &status.interfaces {
        interfaces.row([
            interface.spec.name.to_string(),
            interface.spec.network.to_string(),
            interface.spec.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string()),
            state(interface.state.up, interface.state.for_ms),
            interface.mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string()),
            interface.received_frames.to_string(),
            interface.sent_frames.to_string(),
        ]);
    }
    let mut links = Table::new([
        "LINK",
        "KIND",
        "PEER",
        "STATE",
        "ROUND TRIP",
        "LOSS",
        "PATH MTU",
        "FRAMES IN",
        "FRAMES OUT",
    ]);
    for link in &status.links {
        links.row([
            link.link.id().to_string(),
            link.link.kind.to_string(),
            link.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()),
            state(link.state.up, link.state.for_ms),
            link.round_trip_us.map_or_else(|| "-".to_owned(), |us| format!("{:.2} ms", us as f64 / 1e3)),
            link.loss_ppm.map_or_else(|| "-".to_owned(), |ppm| format!("{:.2} %", f64::from(ppm) / 1e4)),
            path_mtu(link),
            link.received_frames.to_string(),
            link.sent_frames.to_string(),
        ]);
    }
    let mut drops = Table::new(["DROPPED", "FRAMES"]);
    for drop in status.drops.iter().filter(|drop| drop.frames > 0) {
        drops.row([drop.reason.clone(), drop.frames.to_string()]);
    }
    let mut offloads = Table::new(["OFFLOAD", "STATE"]);
    for offload in &status.offloads {
        let state = if offload.on { "on".to_owned() } else { format!("off: {}", offload.why) };
        offloads.row([offload.name.clone(), state]);
    }
    for table in [interfaces, links, drops, offloads] {
        let table = table.text();
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table);
        }
    }
    if !status.degraded.is_empty() {
        text.push('\n');
    }
    for problem in &status.degraded {
        text += &format!("degraded: {problem}\n");
    }
    text
}

fn path_mtu(link: &LinkStatus) -> String {
    match link.path_mtu {
        None => "-".to_owned(),
        Some(mtu) if link.path_mtu_search == "complete" => mtu.to_string(),
        Some(mtu) => format!("{mtu} ({})", link.path_mtu_search),
    }
}

fn state(up: bool, for_ms: u64) -> String {
    format!("{} for {}", if up { "up" } else { "down" }, time(for_ms))
}

/// A duration in its largest unit or two.
fn time(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => humantime::format_duration(Duration::from_secs(ms / 1000)).to_string(),
    }
}
