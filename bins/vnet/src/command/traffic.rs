//! `vnet traffic`: what VTTIF sees.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use vnet_core::control::TrafficView;
use vnet_core::{Bandwidth, MacAddr};

use super::counted;
use crate::cli::Global;
use crate::connect::{connect, proxy_of};
use crate::drawing::HeatMap;
use crate::input;
use crate::output::{self, Table};

/// Show what the application does: its topology and traffic
///
/// The Proxy infers both from the frames of the VMs: rates are averaged over
/// the smoothing interval, and pairs that talk enough make the topology.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vnet traffic\n  vnet traffic --watch\n  vnet traffic --json | jq .names"
)]
pub(crate) struct Options {
    /// Show it again and again until interrupted; with --json, a line each time
    #[arg(short, long)]
    watch: bool,
    /// How often
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = input::parse_duration)]
    interval: Duration,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    let proxy = proxy_of(&mut client)?;
    let color = std::io::stdout().is_terminal();
    loop {
        let view = client.traffic_view(Some(&proxy), global.network)?;
        output::show(global.json, &view, || {
            // Home, and clear what was there before.
            let before = if options.watch && color { "\x1b[H\x1b[2J" } else { "" };
            format!("{before}{}", text(&view, color))
        })?;
        if !options.watch {
            return Ok(());
        }
        std::thread::sleep(options.interval);
    }
}

fn text(view: &TrafficView, color: bool) -> String {
    let mut text = String::new();
    let changed = view.changed_ms_ago.map_or_else(String::new, |ms| {
        format!(
            ", changed {} ago ({} in all)",
            humantime::format_duration(rounded(ms)),
            counted(view.changes, "change")
        )
    });
    // Writing to a string can't fail, here and below.
    let _ = writeln!(text, "network {}: topology {}{changed}", view.network, names(view));
    if view.vertices.is_empty() {
        text.push_str("no VM has sent anything\n");
        return text;
    }
    let total: f64 = view.rates.iter().map(|(_, _, rate)| rate).sum();
    let _ = writeln!(
        text,
        "{}, {}, {} in all\n",
        counted(view.vertices.len(), "VM"),
        counted(view.edges.len(), "edge"),
        rate(total)
    );
    text.push_str(&HeatMap { vertices: &view.vertices, rates: &view.rates }.render(color));
    text.push('\n');
    text.push_str(&edges(view).text());
    text
}

fn names(view: &TrafficView) -> String {
    match view.names.split_first() {
        None => "none".to_owned(),
        Some((first, [])) => format!("{first} ({:.0} % sure)", view.confidence * 100.0),
        Some((first, others)) => {
            format!("{first} ({:.0} % sure; also {})", view.confidence * 100.0, others.join(", "))
        }
    }
}

fn edges(view: &TrafficView) -> Table {
    let mut table = Table::new(["EDGE", "FORTH", "BACK"]);
    let of = |from: u32, to: u32| {
        let found = view.rates.iter().find(|(a, b, _)| (*a, *b) == (from, to));
        found.map_or(0.0, |(_, _, rate)| *rate)
    };
    let name = |at: u32| view.vertices.get(at as usize).map_or_else(|| "?".to_owned(), MacAddr::to_string);
    for &(a, b) in &view.edges {
        table.row([format!("{} - {}", name(a), name(b)), rate(of(a, b)), rate(of(b, a))]);
    }
    table
}

/// Bytes per second as a rate in three digits.
fn rate(bytes_per_second: f64) -> String {
    let bits = bytes_per_second * 8.0;
    let unit = 10_f64.powf((bits.max(1.0).log10() - 2.0).floor().max(0.0));
    Bandwidth::from_bits_per_second(((bits / unit).round() * unit) as u64).to_string()
}

fn rounded(ms: u64) -> Duration {
    match ms {
        0..10_000 => Duration::from_millis(ms / 100 * 100),
        _ => Duration::from_secs(ms / 1000),
    }
}

#[cfg(test)]
mod tests {
    use vnet_core::NetworkId;

    use super::*;

    #[test]
    fn a_view_as_text() {
        let view = TrafficView {
            network: NetworkId(1),
            vertices: vec![MacAddr::local(1), MacAddr::local(2)],
            rates: vec![(0, 1, 1_250_000.0), (1, 0, 61_728.0)],
            names: vec!["pairs".into(), "bus".into()],
            confidence: 1.0,
            edges: vec![(0, 1)],
            changes: 1,
            changed_ms_ago: Some(2340),
        };
        assert_eq!(
            text(&view, false),
            "\
network 1: topology pairs (100 % sure; also bus), changed 2s 300ms ago (1 change in all)
2 VMs, 1 edge, 10.5 Mbit/s in all

                     1 2
 1 02:00:00:00:00:01   @
 2 02:00:00:00:00:02 .
rows send to columns; @ is 10 Mbit/s

EDGE                                   FORTH      BACK
02:00:00:00:00:01 - 02:00:00:00:00:02  10 Mbit/s  494 kbit/s
"
        );
    }

    #[test]
    fn rates_have_three_digits() {
        assert_eq!(rate(0.0), "0 bit/s");
        assert_eq!(rate(1.0), "8 bit/s");
        assert_eq!(rate(123_456.0), "988 kbit/s");
        assert_eq!(rate(125e6), "1 Gbit/s");
    }
}
