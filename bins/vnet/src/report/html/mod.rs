//! The page: one file that needs no other, with drawings as inline SVG.

mod application;
mod chart;
mod escape;
mod layout;
mod map;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub(super) use escape::number;

use super::model::{DemoReport, Phase, Rates};
use escape::Text;
use map::Map;

const STYLE: &str = include_str!("style.css");

/// The report as a page.
pub(crate) fn html(report: &DemoReport) -> String {
    let sections = [
        section("Throughput over time", &throughput(report)),
        section("The overlay before and after", &overlays(report)),
        section("What the overlay saw", &application(report)),
        section("The plan, and why", &plan::plan(&report.plan)),
        section("What happened", &events(report)),
        section("Run with", &options(report)),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>Virtuoso: {} adapted, {} times the star</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<header>\n<p class=\"kicker\">Virtuoso: an adaptive virtual LAN</p>\n\
         <h1>{}</h1>\n<p class=\"lead\">{}</p>\n</header>\n<main>\n{}{sections}</main>\n</body>\n</html>\n",
        Text(&report.inferred_topology),
        number(report.speedup_over_star),
        headline(report),
        lead(report),
        figures(report),
    )
}

fn headline(report: &DemoReport) -> String {
    format!(
        "The overlay saw <em>{}</em>, rewired itself, and the application ran \
         <strong>{} times</strong> as fast",
        Text(&report.inferred_topology),
        number(report.speedup_over_star)
    )
}

fn lead(report: &DemoReport) -> String {
    let sites: BTreeSet<&str> = report.hosts.iter().map(|host| host.site.as_str()).collect();
    format!(
        "An unmodified application in {} VMs on {} hosts at {} sites. At first all frames go through the Proxy.",
        report.application.vms.len(),
        report.hosts.len(),
        sites.len()
    )
}

fn section(title: &str, content: &str) -> String {
    let id = title.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>\n{content}</section>\n", Text(title))
}

fn figures(report: &DemoReport) -> String {
    let times = |value| format!("{}<small>×</small>", number(value));
    let ms = |value| format!("{}<small> ms</small>", number(value));
    let lost = report.connections_lost;
    let figures = [
        ("over the star", times(report.speedup_over_star), "good"),
        ("over a full mesh", times(report.speedup_over_mesh), "good"),
        ("to detect the topology", ms(report.detect_ms), ""),
        ("to decide", ms(report.decide_ms), ""),
        ("to execute the plan", ms(report.execute_ms), ""),
        ("connections lost", lost.to_string(), if lost == 0 { "good" } else { "bad" }),
    ];
    let figure = |(what, value, class)| {
        format!("<div class=\"figure {class}\"><dd>{value}</dd><dt>{what}</dt></div>\n")
    };
    format!("<dl class=\"figures\">\n{}</dl>\n", figures.map(figure).concat())
}

fn throughput(report: &DemoReport) -> String {
    let moments: String = report
        .timeline
        .moments
        .iter()
        .map(|moment| {
            format!("<li><span class=\"at\">{} s</span> {}</li>\n", seconds(moment.at_s), Text(&moment.what))
        })
        .collect();
    let moments = match moments.is_empty() {
        true => String::new(),
        false => format!("<ol class=\"moments\">\n{moments}</ol>\n"),
    };
    format!("<div class=\"scroll\">{}</div>\n{moments}{}", chart::chart(report), comparison(report))
}

/// The phases side by side, with bars.
fn comparison(report: &DemoReport) -> String {
    let phases = [
        (Phase::Star, report.star, "all traffic through the Proxy"),
        (Phase::Mesh, report.mesh, "direct links between all hosts, VMs where they were"),
        (Phase::Adapted, report.adapted, "VMs, links and rules as the plan says"),
    ];
    let most = phases.iter().map(|(_, rates, _)| rates.iterations_per_s).fold(0.0, f64::max);
    let row = |(phase, rates, what): (Phase, Rates, &str)| {
        let share = if most > 0.0 { (rates.iterations_per_s / most * 100.0).clamp(0.0, 100.0) } else { 0.0 };
        format!(
            "<tr><th scope=\"row\">{}<small>{what}</small></th>\
             <td class=\"bar\"><span class=\"{}\" style=\"width:{share:.1}%\"></span></td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
            phase.label(),
            chart::class(phase),
            number(rates.iterations_per_s),
            number(rates.mbit_per_s)
        )
    };
    let rows = phases.map(row).concat();
    plan::table("The application in each phase", &["phase", "", "#iterations/s", "#Mbit/s"], &rows)
}

fn overlays(report: &DemoReport) -> String {
    let map = Map::new(&report.hosts, &[&report.before, &report.after]);
    let moved = report.plan.migrations.len();
    format!(
        "<div class=\"pair\">\n<figure>{}<figcaption>Before: {} links</figcaption></figure>\n\
         <figure>{}<figcaption>After: {} links, {moved} VMs moved</figcaption></figure>\n</div>\n\
         <p class=\"legend\"><span class=\"key link\"></span> link, as broad as its traffic \
         <span class=\"key new\"></span> new link <span class=\"key idle\"></span> link without traffic \
         <span class=\"key moved\"></span> VM that moved <span class=\"key room\"></span> room for a VM</p>\n",
        map.draw(&report.before, None, "Hosts, VMs and links before the adaptation"),
        report.before.links.len(),
        map.draw(&report.after, Some(&report.before), "Hosts, VMs and links after the adaptation"),
        report.after.links.len(),
    )
}

fn application(report: &DemoReport) -> String {
    let seen = &report.application;
    format!(
        "<div class=\"pair\">\n<figure>{}<figcaption>Inferred topology: {}, {:.0}% sure</figcaption></figure>\n\
         <figure>{}<figcaption>Traffic matrix in {}: from the VM of the row to that of the column\
         </figcaption></figure>\n</div>\n",
        application::graph(seen, &report.inferred_topology),
        Text(&report.inferred_topology),
        seen.confidence * 100.0,
        application::matrix(seen),
        application::unit(seen).0,
    )
}

fn events(report: &DemoReport) -> String {
    let row = |event: &super::model::Event| {
        format!(
            "<tr><td class=\"number\">{} s</td><td>{}</td></tr>\n",
            seconds(event.at_s),
            Text(&event.text)
        )
    };
    plan::table("Events", &["#at", "what"], &report.events.iter().map(row).collect::<String>())
}

fn options(report: &DemoReport) -> String {
    let row = |(name, value): &(String, String)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", Text(name), Text(value))
    };
    plan::table("Options", &["option", "value"], &report.options.iter().map(row).collect::<String>())
}

fn seconds(at: f64) -> String {
    format!("{at:.2}")
}
