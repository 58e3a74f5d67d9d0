//! What is printed for people.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use vttif::render::{self, Unit};
use vttif::{Classification, Layer, TopologyName, TrafficMatrix};
use vttif_cli::capture::Summary;

use crate::args::OutputOptions;
use crate::commands::Moment;

/// Graphs of more vertices than this are not listed.
const MOST_LISTED: usize = 64;

/// Lists of partners longer than this are cut.
const MOST_PARTNERS: usize = 12;

/// The heat map, then the layers and the graph of the strongest.
pub(crate) fn inferred(
    out: &mut impl Write,
    matrix: &TrafficMatrix,
    found: &Classification,
    unit: Unit,
    output: &OutputOptions,
) -> anyhow::Result<()> {
    writeln!(out, "{}", render::heat_map(matrix, output.width(), output.style(), unit))?;
    for (number, layer) in found.layers.iter().enumerate() {
        writeln!(out, "{}{}", if number == 0 { "" } else { "and " }, describe(layer))?;
    }
    if !found.leftover.edges.is_empty() {
        let share = percent(found.leftover.share);
        writeln!(out, "and {} more pairs with {share} of the bytes", found.leftover.edges.len())?;
    }
    if let Some(layer) = found.layers.first().filter(|layer| (1..=MOST_LISTED).contains(&layer.members)) {
        writeln!(out)?;
        list(out, matrix, layer)?;
    }
    Ok(())
}

fn describe(layer: &Layer) -> String {
    let names: Vec<String> = layer.names.iter().map(ToString::to_string).collect();
    if layer.names == [TopologyName::None] {
        return "none: nobody sends".to_owned();
    }
    let mut text = format!(
        "{}: {} of the bytes between {} vertices over {} edges, confidence {:.2}",
        names.join(" = "),
        percent(layer.share),
        layer.members,
        layer.edges.len(),
        layer.confidence
    );
    if layer.names == [TopologyName::Irregular] {
        let (least, most) = layer.degree;
        let degree = if least == most { least.to_string() } else { format!("{least} to {most}") };
        text += &format!(", {degree} partners each, connected components: {}", layer.components);
    }
    if !layer.missing.is_empty() {
        text += &format!(", {} edges of the shape are missing", layer.missing.len());
    }
    if layer.one_sided {
        text += ", data one way";
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Who talks to whom, and the place of each vertex in the shape.
fn list(out: &mut impl Write, matrix: &TrafficMatrix, layer: &Layer) -> anyhow::Result<()> {
    let mut partners: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (a, b) in &layer.edges {
        partners.entry(*a).or_default().push(*b);
        if !layer.one_sided {
            partners.entry(*b).or_default().push(*a);
        }
    }
    // Nothing in a label may steer the terminal.
    let label = |v: u32| matrix.labels()[v as usize].replace(char::is_control, "?");
    let width = partners.keys().map(|v| label(*v).chars().count()).max().unwrap_or(0);
    let arrow = if layer.one_sided { "->" } else { "--" };
    for (vertex, mut others) in partners {
        others.sort_unstable();
        let more = others.len().saturating_sub(MOST_PARTNERS);
        let mut shown: Vec<String> = others.into_iter().take(MOST_PARTNERS).map(label).collect();
        if more > 0 {
            shown.push(format!("and {more} more"));
        }
        let place = layer.position.get(&vertex).map_or_else(String::new, |place| {
            let place: Vec<String> = place.iter().map(ToString::to_string).collect();
            format!("  at {}", place.join(","))
        });
        writeln!(out, "  {:<width$} {arrow} {}{place}", label(vertex), shown.join(", "))?;
    }
    Ok(())
}

/// The topology of each window; equal ones that follow each other are one line.
pub(crate) fn over_time(out: &mut impl Write, moments: &[Moment], window: Duration) -> anyhow::Result<()> {
    writeln!(out, "\nOver time, in windows of {window:?}:\n")?;
    writeln!(out, "  {:>10} {:>10}  {:<28} {:>10}", "from (s)", "to (s)", "topology", "confidence")?;
    for same in moments.chunk_by(|a, b| a.names == b.names) {
        let (from, to) = (same[0].from_s, same[same.len() - 1].to_s);
        let confidence = same.iter().map(|moment| moment.confidence).fold(1.0, f64::min);
        let names: Vec<String> = same[0].names.iter().map(ToString::to_string).collect();
        writeln!(out, "  {from:>10.3} {to:>10.3}  {:<28} {confidence:>10.2}", names.join(" = "))?;
    }
    Ok(())
}

pub(crate) fn packets(out: &mut impl Write, summary: Summary) -> anyhow::Result<()> {
    let Summary { packets, other } = summary;
    writeln!(out, "\n{packets} packets, {other} of them to groups or without such addresses")?;
    Ok(())
}
