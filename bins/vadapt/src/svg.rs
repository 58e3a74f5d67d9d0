//! A picture of hosts, the VMs on them, and the paths between them.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write;

use vadapt::{HostId, Problem, Solution};

/// Width of the picture.
const SIZE: f64 = 1000.0;

/// Larger networks show only hosts that have VMs or are on a path.
const SHOW_ALL: usize = 120;

/// Draws `problem` as SVG: hosts on a circle, in their order, so that clusters lie together; edges in
/// use coloured by how much of them is left, with the residual bandwidth in Mbit/s.
pub(crate) fn draw(problem: &Problem, solution: Option<&Solution>) -> String {
    let loads = solution.map(|solution| loads(problem, solution)).unwrap_or_default();
    let mut vms: BTreeMap<HostId, Vec<&str>> = BTreeMap::new();
    for (vm, host) in problem.vms().iter().zip(solution.iter().flat_map(|solution| &solution.mapping)) {
        vms.entry(*host).or_default().push(&vm.name);
    }
    let hosts: Vec<HostId> = problem
        .graph()
        .node_indices()
        .filter(|host| {
            let used = vms.contains_key(host) || loads.keys().any(|(a, b)| a == host || b == host);
            used || problem.graph().node_count() <= SHOW_ALL
        })
        .collect();
    let place = |host: HostId| {
        let at = hosts.iter().position(|other| *other == host)?;
        let angle = TAU * at as f64 / hosts.len() as f64 - TAU / 4.0;
        Some((SIZE / 2.0 + 0.38 * SIZE * angle.cos(), SIZE / 2.0 + 0.38 * SIZE * angle.sin()))
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIZE} {SIZE}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for edge in problem.graph().raw_edges() {
        let ends = (edge.source(), edge.target());
        let (Some((x1, y1)), Some((x2, y2))) = (place(ends.0), place(ends.1)) else { continue };
        let Some(load) = loads.get(&ends) else {
            if solution.is_none() || hosts.len() <= 40 {
                line(&mut svg, (x1, y1, x2, y2), "#ddd", 0.7);
            }
            continue;
        };
        let left = edge.weight.bandwidth - load;
        let share = (left / edge.weight.bandwidth.max(1e-9)).clamp(0.0, 1.0);
        let colour = format!("hsl({:.0},70%,42%)", 120.0 * share);
        line(&mut svg, (x1, y1, x2, y2), &colour, 1.0 + 5.0 * (1.0 - share));
        // Labels of opposite edges stand apart.
        let (x, y) = (x1 + 0.4 * (x2 - x1), y1 + 0.4 * (y2 - y1));
        text(&mut svg, (x, y), &format!("{left:.0}"), &colour);
    }
    for host in &hosts {
        let Some((x, y)) = place(*host) else { continue };
        let inside = vms.get(host).map_or(0, Vec::len);
        let (radius, fill) = if inside > 0 { (9.0, "#2a6db0") } else { (6.0, "#999") };
        put(&mut svg, &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\"/>"));
        let out =
            |factor: f64| (SIZE / 2.0 + factor * (x - SIZE / 2.0), SIZE / 2.0 + factor * (y - SIZE / 2.0));
        text(&mut svg, out(1.08), &problem.host(*host).name, "#000");
        if let Some(names) = vms.get(host) {
            text(&mut svg, out(1.16), &names.join(" "), "#2a6db0");
        }
    }
    svg.push_str("</svg>");
    svg
}

fn loads(problem: &Problem, solution: &Solution) -> BTreeMap<(HostId, HostId), f64> {
    let mut loads = BTreeMap::new();
    for (demand, path) in problem.demands().iter().zip(&solution.paths) {
        for hop in path.hops() {
            *loads.entry(hop).or_default() += demand.bandwidth;
        }
    }
    loads
}

fn line(svg: &mut String, (x1, y1, x2, y2): (f64, f64, f64, f64), colour: &str, width: f64) {
    let ends = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
    put(svg, &format!("<line {ends} stroke=\"{colour}\" stroke-width=\"{width:.1}\"/>"));
}

fn text(svg: &mut String, (x, y): (f64, f64), content: &str, colour: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let at = format!("x=\"{x:.1}\" y=\"{y:.1}\"");
    put(svg, &format!("<text {at} fill=\"{colour}\" text-anchor=\"middle\">{content}</text>"));
}

fn put(svg: &mut String, element: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(svg, "{element}");
}
