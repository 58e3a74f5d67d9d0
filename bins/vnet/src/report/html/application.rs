//! The application as it was seen: its graph and its traffic matrix.

use crate::report::model::Application;

use super::escape::{Text, number, shortened};
use super::layout::places;

const GRAPH: f64 = 420.0;
const MARGIN: f64 = 40.0;
/// The most VMs whose cells of the matrix have room for numbers.
const NUMBERED: usize = 12;
const CELL: f64 = 44.0;
const LABELS: f64 = 58.0;

/// The inferred topology, links as broad as their traffic is heavy.
pub(super) fn graph(application: &Application, name: &str) -> String {
    let n = application.vms.len();
    let at: Vec<(f64, f64)> = places(n, &application.edges)
        .into_iter()
        .map(|(x, y)| (MARGIN + x * (GRAPH - 2.0 * MARGIN), MARGIN + y * (GRAPH - 2.0 * MARGIN)))
        .collect();
    let traffic = |a: usize, b: usize| rate(application, a, b) + rate(application, b, a);
    let edges: Vec<(usize, usize)> =
        application.edges.iter().copied().filter(|(a, b)| *a < n && *b < n).collect();
    let most = edges.iter().map(|(a, b)| traffic(*a, *b)).fold(0.0, f64::max);
    let lines: String = edges
        .iter()
        .map(|&(a, b)| {
            let share = if most > 0.0 { traffic(a, b) / most } else { 1.0 };
            format!(
                "<line class=\"edge\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" \
                 stroke-width=\"{:.1}\"><title>{} – {}: {}</title></line>\n",
                at[a].0,
                at[a].1,
                at[b].0,
                at[b].1,
                1.0 + 4.0 * share,
                Text(&application.vms[a]),
                Text(&application.vms[b]),
                rate_text(traffic(a, b)),
            )
        })
        .collect();
    let radius = if n > 16 { 15.0 } else { 20.0 };
    let nodes: String = application
        .vms
        .iter()
        .zip(&at)
        .map(|(vm, (x, y))| {
            format!(
                "<g class=\"node\"><title>{}</title><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>\n",
                Text(vm),
                y + 4.5,
                Text(shortened(vm, 5))
            )
        })
        .collect();
    format!(
        "<svg class=\"graph\" viewBox=\"0 0 {GRAPH} {GRAPH}\" role=\"img\" \
         aria-label=\"The inferred topology, {}: {} edges between {n} VMs\">\n{lines}{nodes}</svg>\n",
        Text(name),
        edges.len()
    )
}

/// The unit that suits the greatest rate of the matrix: its name, and how many
/// bit/s it is.
pub(super) fn unit(application: &Application) -> (&'static str, f64) {
    if most(application) * 8.0 < 1e6 { ("kbit/s", 1e3) } else { ("Mbit/s", 1e6) }
}

/// The greatest rate of the matrix, in bytes per second.
fn most(application: &Application) -> f64 {
    let n = application.vms.len();
    (0..n).flat_map(|a| (0..n).map(move |b| rate(application, a, b))).fold(0.0, f64::max)
}

/// The matrix as a heat map: senders down, receivers across.
pub(super) fn matrix(application: &Application) -> String {
    let n = application.vms.len();
    let (most, unit) = (most(application), unit(application));
    let cell = if n > NUMBERED { (CELL * NUMBERED as f64 / n as f64).max(12.0) } else { CELL };
    let size = LABELS + cell * n as f64 + 2.0;
    let place = |i: usize| LABELS + i as f64 * cell;
    let label = |i: usize| Text(shortened(&application.vms[i], 7));
    // A column's name stands upright where it has no room to lie.
    let tilt = if cell < CELL { -90 } else { 0 };
    let names: String = (0..n)
        .map(|i| {
            let middle = place(i) + cell / 2.0;
            let anchor = if tilt == 0 { "middle" } else { "start" };
            format!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
                 <text class=\"tick\" transform=\"translate({:.1} {:.1}) rotate({tilt})\" \
                 text-anchor=\"{anchor}\">{name}</text>\n",
                LABELS - 6.0,
                middle + 4.0,
                middle + if tilt == 0 { 0.0 } else { 4.0 },
                LABELS - 8.0,
                name = label(i),
            )
        })
        .collect();
    let cells: String = (0..n)
        .flat_map(|a| (0..n).map(move |b| (a, b)))
        .map(|(a, b)| {
            let rate = rate(application, a, b);
            let share = if most > 0.0 { rate / most } else { 0.0 };
            let (x, y) = (place(b), place(a));
            let value = match n <= NUMBERED && rate > 0.0 {
                true => format!(
                    "<text class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    if share > 0.55 { "value strong" } else { "value" },
                    x + cell / 2.0,
                    y + cell / 2.0 + 4.0,
                    number(rate * 8.0 / unit.1)
                ),
                false => String::new(),
            };
            format!(
                "<g><title>{} to {}: {}</title><rect class=\"cell\" x=\"{x:.1}\" y=\"{y:.1}\" \
                 width=\"{:.1}\" height=\"{:.1}\"/><rect class=\"heat\" x=\"{x:.1}\" y=\"{y:.1}\" \
                 width=\"{:.1}\" height=\"{:.1}\" fill-opacity=\"{share:.3}\"/>{value}</g>\n",
                Text(&application.vms[a]),
                Text(&application.vms[b]),
                rate_text(rate),
                cell - 1.5,
                cell - 1.5,
                cell - 1.5,
                cell - 1.5,
            )
        })
        .collect();
    format!(
        "<svg class=\"matrix\" viewBox=\"0 0 {size:.1} {size:.1}\" role=\"img\" \
         aria-label=\"Traffic between {n} VMs in {}, senders down, receivers across; at most {}\">\n\
         {names}{cells}</svg>\n",
        unit.0,
        rate_text(most)
    )
}

/// Bytes per second from one VM to another; none where the matrix has no entry.
fn rate(application: &Application, from: usize, to: usize) -> f64 {
    application.matrix.get(from).and_then(|row| row.get(to)).copied().filter(|r| r.is_finite()).unwrap_or(0.0)
}

fn rate_text(bytes_per_s: f64) -> String {
    format!("{} Mbit/s", number(bytes_per_s * 8.0 / 1e6))
}
