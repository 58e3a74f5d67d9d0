//! `vttif watch`: the topology of an application that runs.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use vnet_core::NetworkId;
use vnet_core::control::TrafficView;
use vnetd::client::{Address, Client};
use vttif::render::Unit;
use vttif::{Classification, TrafficMatrix, classify};

use crate::args::{InferOptions, OutputOptions};
use crate::commands::{print_json, write_svg};
use crate::report;

/// What to watch, and for how long.
pub(crate) struct What {
    pub(crate) control: Address,
    pub(crate) network: NetworkId,
    pub(crate) interval: Duration,
    pub(crate) count: Option<u64>,
}

/// What `watch --json` prints, a line for each look.
#[derive(Serialize)]
struct Watched<'a> {
    labels: &'a [String],
    /// Bytes per second of all.
    rate: f64,
    /// How many changes the Proxy has reported.
    changes: u64,
    changed_ms_ago: Option<u64>,
    /// What the Proxy calls the topology that it reported last.
    reported: &'a [String],
    #[serde(flatten)]
    classification: &'a Classification,
}

pub(crate) fn watch(what: &What, options: &InferOptions, output: &OutputOptions) -> anyhow::Result<()> {
    let mut client = Client::connect(&what.control)?;
    let options = options.classify_options();
    let mut left = what.count.unwrap_or(u64::MAX);
    while left > 0 {
        let view = client.traffic_view(None, what.network).context("VTTIF can't be asked")?;
        let matrix = matrix_of(&view)?;
        let classification = classify(&matrix, &options);
        write_svg(&matrix, &classification, Unit::BytesPerSecond, output)?;
        show(&view, &matrix, &classification, output)?;
        left -= 1;
        if left > 0 {
            std::thread::sleep(what.interval);
        }
    }
    Ok(())
}

fn show(
    view: &TrafficView,
    matrix: &TrafficMatrix,
    classification: &Classification,
    output: &OutputOptions,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if output.json {
        let watched = Watched {
            labels: matrix.labels(),
            rate: matrix.total(),
            changes: view.changes,
            changed_ms_ago: view.changed_ms_ago,
            reported: &view.names,
            classification,
        };
        return print_json(&mut out, &watched);
    }
    if output.is_live() {
        // Home, and clear what was there before.
        write!(out, "\x1b[H\x1b[2J")?;
    }
    report::inferred(&mut out, matrix, classification, Unit::BytesPerSecond, output)?;
    let ago = view.changed_ms_ago.map_or_else(String::new, |ms| format!(", {:.1} s ago", ms as f64 / 1e3));
    writeln!(out, "\nreported by the Proxy: {} (change {}{ago})", view.names.join(" = "), view.changes)?;
    out.flush()?;
    Ok(())
}

/// The view's rates as a matrix. A pair that the Proxy gives twice or a VM that it
/// does not name is an error of its own.
fn matrix_of(view: &TrafficView) -> anyhow::Result<TrafficMatrix> {
    let labels = view.vertices.iter().map(ToString::to_string).collect();
    let mut matrix = TrafficMatrix::with_labels(labels)?;
    for &(source, destination, rate) in &view.rates {
        matrix.add(source as usize, destination as usize, rate).context("the Proxy's view makes no sense")?;
    }
    Ok(matrix)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use vnet_core::MacAddr;

    use super::*;

    #[test]
    fn a_view_becomes_a_matrix() {
        let view = TrafficView {
            network: NetworkId(1),
            vertices: vec![MacAddr::local(1), MacAddr::local(2)],
            rates: vec![(0, 1, 1000.0), (1, 0, 10.0)],
            names: vec!["pairs".into()],
            confidence: 1.0,
            edges: vec![(0, 1)],
            changes: 1,
            changed_ms_ago: Some(5),
        };
        let matrix = matrix_of(&view).unwrap();
        assert_eq!((matrix.get(0, 1), matrix.get(1, 0), matrix.len()), (1000.0, 10.0, 2));
        let broken = TrafficView { rates: vec![(0, 7, 1.0)], ..view };
        assert!(matrix_of(&broken).is_err());
    }
}
