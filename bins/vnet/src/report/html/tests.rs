//! The page is well-formed whatever the report holds, needs no other file, and
//! shows what it should.

use serde_json::Value;
use vnet_core::Shape;

use super::html;
use crate::report::model::{Application, DemoReport, Overlay, Plan, Rates, Timeline};
use crate::report::sample::sample;

/// Elements without content in HTML.
const VOID: [&str; 2] = ["meta", "br"];

/// Checks that elements nest, attributes are quoted, and text holds no markup;
/// the elements and the text without them.
fn parse(page: &str) -> Result<(Vec<String>, String), String> {
    let mut open: Vec<&str> = Vec::new();
    let (mut elements, mut text) = (Vec::new(), String::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    while let Some(start) = rest.find('<') {
        let (before, after) = rest.split_at(start);
        text.push_str(before);
        text.push(' ');
        let end = tag_end(after).ok_or_else(|| format!("no end of {}", excerpt(after)))?;
        let (tag, after) = after.split_at(end + 1);
        rest = after;
        let inner = &tag[1..tag.len() - 1];
        if let Some(name) = inner.strip_prefix('/') {
            let last = open.pop();
            if last != Some(name) {
                return Err(format!("</{name}> ends {last:?}"));
            }
            continue;
        }
        let (inner, is_closed) = inner.strip_suffix('/').map_or((inner, false), |inner| (inner, true));
        let (name, attributes) = inner.split_once(char::is_whitespace).unwrap_or((inner, ""));
        if !name.chars().all(|c| c.is_ascii_alphanumeric()) || name.is_empty() {
            return Err(format!("`{name}` is no name of an element"));
        }
        check_attributes(attributes)?;
        elements.push(inner.to_owned());
        if name == "style" {
            // Its content is no markup.
            rest = rest.split_once("</style>").ok_or("no end of the style")?.1;
        } else if !is_closed {
            if VOID.contains(&name) {
                return Err(format!("<{name}> is not closed"));
            }
            open.push(name);
        }
    }
    if !open.is_empty() || !rest.trim().is_empty() {
        return Err(format!("{open:?} open at the end, {} left", excerpt(rest)));
    }
    check_text(&text)?;
    Ok((elements, text))
}

/// The `>` that ends a tag, which isn't one in quotes.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quoted = false;
    tag.char_indices().find_map(|(i, c)| {
        quoted ^= c == '"';
        (c == '>' && !quoted).then_some(i)
    })
}

fn check_attributes(attributes: &str) -> Result<(), String> {
    let mut rest = attributes.trim();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").ok_or_else(|| format!("no value in {}", excerpt(rest)))?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(format!("`{name}` is no name of an attribute"));
        }
        let (value, after) = value.split_once('"').ok_or_else(|| format!("no end of {}", excerpt(value)))?;
        check_text(value)?;
        let is_text = ["aria-label", "aria-labelledby", "class", "content", "id"].contains(&name);
        if !is_text && (value.contains("NaN") || value.contains("inf")) {
            return Err(format!("{name}={value}"));
        }
        rest = after.trim_start();
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), String> {
    if let Some(bad) = text.chars().find(|c| matches!(c, '<') || (c.is_control() && !"\n\t".contains(*c))) {
        return Err(format!("{bad:?} in the text"));
    }
    for (i, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        if !known.iter().any(|entity| text[i..].starts_with(entity)) {
            return Err(format!("a bare & in {}", excerpt(&text[i..])));
        }
    }
    Ok(())
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}

fn parsed(report: &DemoReport) -> (String, Vec<String>, String) {
    let page = html(report);
    match parse(&page) {
        Ok((elements, text)) => (page, elements, text),
        Err(error) => panic!("{error}"),
    }
}

fn unescaped(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    plain.replace("&#39;", "'").replace("&amp;", "&")
}

/// Nothing is known but that there was a demonstration.
fn empty() -> DemoReport {
    DemoReport {
        inferred_topology: String::new(),
        detect_ms: f64::NAN,
        decide_ms: f64::INFINITY,
        execute_ms: -1.0,
        plan: Plan::default(),
        star: Rates::default(),
        mesh: Rates { iterations_per_s: f64::NAN, mbit_per_s: f64::NAN },
        adapted: Rates::default(),
        speedup_over_star: f64::NAN,
        speedup_over_mesh: f64::INFINITY,
        connections_lost: u64::MAX,
        application: Application::default(),
        timeline: Timeline::default(),
        hosts: Vec::new(),
        before: Overlay::default(),
        after: Overlay::default(),
        events: Vec::new(),
        options: Vec::new(),
    }
}

/// The report with every text changed, the same texts alike.
fn with_texts(report: &DemoReport, change: impl Fn(&str) -> String + Copy) -> DemoReport {
    fn walk(value: &mut Value, change: impl Fn(&str) -> String + Copy) {
        match value {
            Value::String(text) => *text = change(text),
            Value::Array(values) => values.iter_mut().for_each(|value| walk(value, change)),
            Value::Object(fields) => {
                // These are words of the format, not free text.
                let free =
                    fields.iter_mut().filter(|(name, _)| !["change", "phase"].contains(&name.as_str()));
                free.for_each(|(_, value)| walk(value, change));
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(report).unwrap();
    walk(&mut value, change);
    serde_json::from_value(value).unwrap()
}

/// The sample as if its application had another topology.
fn with_shape(shape: &Shape, vms: usize) -> DemoReport {
    let mut report = sample();
    let edges = shape.edges(vms).unwrap();
    let rate = |a: usize, b: usize| if edges.contains(&(a.min(b), a.max(b))) { 5e4 } else { 0.0 };
    report.inferred_topology = shape.resolve(vms).unwrap().to_string();
    report.application = Application {
        vms: (1..=vms).map(|i| format!("vm{i}")).collect(),
        matrix: (0..vms).map(|a| (0..vms).map(|b| rate(a, b)).collect()).collect(),
        edges,
        confidence: 1.0,
    };
    report
}

#[test]
fn the_page_is_well_formed_and_shows_every_value() {
    let report = sample();
    let (_, elements, text) = parsed(&report);
    let text = unescaped(&text);
    let mut expected: Vec<&str> =
        vec!["all-to-all", "12.3", "3.75", "412", "1.80", "236", "9.60", "31.5", "118"];
    expected.extend(report.hosts.iter().flat_map(|host| [host.name.as_str(), host.site.as_str()]));
    expected.extend(report.application.vms.iter().map(String::as_str));
    expected.extend(report.plan.migrations.iter().flat_map(|m| [m.vm.as_str(), &m.from, &m.to, &m.reason]));
    expected.extend(report.plan.links.iter().flat_map(|l| [l.a.as_str(), &l.b, &l.kind, &l.reason]));
    expected.extend(report.plan.rules.iter().map(|rule| rule.rule.as_str()));
    expected.extend(report.timeline.moments.iter().map(|moment| moment.what.as_str()));
    expected.extend(report.events.iter().map(|event| event.text.as_str()));
    expected.extend(report.options.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
    expected.push(&report.plan.reason);
    for value in expected {
        assert!(text.contains(value), "`{value}` is not on the page");
    }
    let count = |start: &str| elements.iter().filter(|element| element.starts_with(start)).count();
    assert_eq!(count("svg "), 5, "a chart, two maps, a graph and a matrix");
    assert_eq!(count("path class=\"link"), 8 + 14);
    assert_eq!(count("path class=\"link new"), 6);
    assert_eq!(count("g class=\"vm"), 8 + 8);
    assert_eq!(count("g class=\"vm moved"), 4);
    assert_eq!(count("rect class=\"heat"), 64);
    assert_eq!(count("line class=\"edge"), 28);
    assert_eq!(count("g class=\"marker"), 7);
    assert_eq!(count("rect class=\"band"), 5);
    assert_eq!(count("polyline"), 1);
}

#[test]
fn the_page_needs_no_other_file() {
    let (page, elements, _) = parsed(&sample());
    for word in ["http:", "https:", "//", "src=", "href=", "url(", "@import", "@font-face"] {
        assert!(!page.contains(word), "{word}");
    }
    for name in ["script", "link", "img", "iframe", "object", "image", "use"] {
        assert!(!elements.iter().any(|element| element.split(' ').next() == Some(name)), "{name}");
    }
}

#[test]
fn drawings_and_tables_have_names_for_those_who_do_not_see_them() {
    let (_, elements, text) = parsed(&sample());
    for svg in elements.iter().filter(|element| element.starts_with("svg ")) {
        assert!(svg.contains("role=\"img\" aria-label=\""), "{svg}");
    }
    let count = |name: &str| elements.iter().filter(|e| e.split(' ').next() == Some(name)).count();
    assert_eq!(count("table"), count("caption"));
    assert_eq!(count("h1"), 1);
    assert!(text.contains("The application in each phase"));
}

#[test]
fn texts_that_look_like_markup_stay_texts() {
    let nasty = |text: &str| format!("{text}\"'><script>alert(1)</script>&amp;<!--\u{7}\u{0}");
    let (page, elements, text) = parsed(&with_texts(&sample(), nasty));
    assert!(!page.contains("<script") && !page.contains("<!--"));
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    // The same drawing as without: names that are the same still are.
    let count = |start: &str| elements.iter().filter(|element| element.starts_with(start)).count();
    assert_eq!(count("path class=\"link"), 8 + 14);
    assert_eq!(count("g class=\"vm moved"), 4);
}

#[test]
fn a_report_of_nothing_makes_a_page_too() {
    let (_, _, text) = parsed(&empty());
    assert!(text.contains("Migrations (0): none"));
    let mut odd = sample();
    odd.timeline.samples.truncate(1);
    odd.timeline.phases.truncate(1);
    odd.timeline.moments.clear();
    odd.application.matrix.truncate(3);
    odd.application.edges.push((3, 99));
    odd.after.links[0].a = "nobody".into();
    odd.after.placement[0].1 = "nowhere".into();
    odd.before.links.clear();
    parsed(&odd);
}

#[test]
fn every_shape_and_number_of_vms_makes_a_page() {
    for shape in Shape::all() {
        for vms in [4, 8, 16, 32] {
            parsed(&with_shape(&shape, vms));
        }
    }
}

#[test]
fn the_json_has_the_fields_that_are_promised_and_gives_the_report_back() {
    let report = sample();
    let json = serde_json::to_value(&report).unwrap();
    for field in [
        "inferred_topology",
        "detect_ms",
        "decide_ms",
        "execute_ms",
        "plan",
        "star",
        "mesh",
        "adapted",
        "speedup_over_star",
        "speedup_over_mesh",
        "connections_lost",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
    for field in ["migrations", "links", "rules"] {
        assert!(json["plan"][field].is_array(), "{field}");
    }
    for phase in ["star", "mesh", "adapted"] {
        assert!(json[phase]["iterations_per_s"].is_number() && json[phase]["mbit_per_s"].is_number());
    }
    assert_eq!(serde_json::from_value::<DemoReport>(json).unwrap(), report);
}
