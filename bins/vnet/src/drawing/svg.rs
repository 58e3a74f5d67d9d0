//! A topology as a drawing that stands for itself: SVG 1.1 with its own style.

use std::fmt::Write;

use vnet_core::LinkKind;

use super::layout::{Place, places};
use super::{Picture, Vm};

const SPACING: f64 = 190.0;
const HOST_HEIGHT: f64 = 40.0;
// VMs are wider than they are high.
const VM_DISTANCE: (f64, f64) = (124.0, 70.0);
const VM_HEIGHT: f64 = 30.0;
const MARGIN: (f64, f64) = (200.0, 105.0);
const CHARACTER: f64 = 7.6;
const SMALL_CHARACTER: f64 = 6.3;

const STYLE: &str = "\
text { font-family: system-ui, sans-serif; text-anchor: middle; dominant-baseline: central; fill: #0f172a }
.back { fill: #ffffff }
.link { stroke: #475569; stroke-width: 2; fill: none }
.tcp { stroke-dasharray: 7 4 }
.down { stroke: #dc2626 }
.wire { stroke: #94a3b8; stroke-width: 1.2; stroke-dasharray: 2 3 }
.host { fill: #dbeafe; stroke: #1d4ed8; stroke-width: 1.6 }
.proxy { fill: #bfdbfe; stroke-width: 3 }
.vm { fill: #fef3c7; stroke: #b45309; stroke-width: 1.2 }
.name { font-size: 14px; font-weight: 600 }
.small { font-size: 10.5px }
.legend { font-size: 12px; text-anchor: start }
@media (prefers-color-scheme: dark) {
  .back { fill: #0f172a } text { fill: #e2e8f0 } .link { stroke: #94a3b8 } .down { stroke: #f87171 }
  .host { fill: #1e3a8a } .proxy { fill: #1d4ed8 } .vm { fill: #78350f }
}";

pub(super) fn render(picture: &Picture<'_>) -> String {
    let (places, radius) = places(picture.topology, SPACING);
    let vms = picture.vms();
    let most = vms.values().map(Vec::len).max().unwrap_or(0);
    // VMs of one host stand in rows further and further out.
    let rows = most.saturating_sub(1) as f64 * (VM_HEIGHT + 8.0);
    let (left, top) = (radius + MARGIN.0 + rows, radius + MARGIN.1 + rows);
    let (width, height) = (2.0 * left, 2.0 * top + 40.0);
    let mut svg = Svg(String::new());
    svg.line(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"{:.0} {:.0} {width:.0} {height:.0}\" role=\"img\">",
        -left, -top
    ));
    svg.line(format_args!("<title>{}</title>", title(picture)));
    svg.line(format_args!("<style>{STYLE}</style>"));
    svg.line(format_args!(
        "<rect class=\"back\" x=\"{:.0}\" y=\"{:.0}\" width=\"{width:.0}\" height=\"{height:.0}\"/>",
        -left, -top
    ));
    for (id, link) in &picture.topology.links {
        let (Some(a), Some(b)) = (places.get(&link.a), places.get(&link.b)) else { continue };
        let why = picture.why_down(id);
        let class = match (link.kind, why) {
            (LinkKind::Udp, None) => "link",
            (LinkKind::Udp, Some(_)) => "link down",
            (LinkKind::Tcp, None) => "link tcp",
            (LinkKind::Tcp, Some(_)) => "link tcp down",
        };
        let note = why.map_or_else(|| link.to_string(), |why| format!("{link}, down: {}", escape(why)));
        svg.line(format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"><title>{note}</title></line>",
            a.x, a.y, b.x, b.y
        ));
    }
    for (host, place) in &places {
        let vms = vms.get(*host).map_or(&[][..], Vec::as_slice);
        for (row, vm) in vms.iter().enumerate() {
            svg.vm(*place, row, vm);
        }
    }
    for (host, place) in &places {
        let is_proxy = picture.proxy() == Some(*host);
        svg.host(*place, host.as_str(), is_proxy);
    }
    svg.legend(-left + 16.0, top + 18.0, &title(picture));
    svg.0.push_str("</svg>\n");
    svg.0
}

fn title(picture: &Picture<'_>) -> String {
    let topology = picture.topology;
    format!("{} hosts, {} links, {} rules", topology.hosts.len(), topology.links.len(), topology.rule_count())
}

struct Svg(String);

impl Svg {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn host(&mut self, at: Place, name: &str, is_proxy: bool) {
        let width = (name.chars().count() as f64 * CHARACTER + 24.0).max(64.0);
        let class = if is_proxy { "host proxy" } else { "host" };
        self.box_at(class, at.x, at.y, width, HOST_HEIGHT, 9.0);
        let (name, y) = (escape(name), if is_proxy { at.y - 7.0 } else { at.y });
        self.line(format_args!("<text class=\"name\" x=\"{:.1}\" y=\"{y:.1}\">{name}</text>", at.x));
        if is_proxy {
            self.line(format_args!(
                "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">Proxy</text>",
                at.x,
                at.y + 10.0
            ));
        }
    }

    fn vm(&mut self, host: Place, row: usize, vm: &Vm) {
        let further = row as f64 * (VM_HEIGHT + 8.0);
        let x = host.x + (VM_DISTANCE.0 + further) * host.out.cos();
        let y = host.y + (VM_DISTANCE.1 + further) * host.out.sin();
        if row == 0 {
            self.line(format_args!(
                "<line class=\"wire\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{y:.1}\"/>",
                host.x, host.y
            ));
        }
        let mac = vm.mac.map(|mac| mac.to_string());
        let longest = vm.interface.as_str().chars().count().max(mac.as_ref().map_or(0, String::len));
        let width = longest as f64 * SMALL_CHARACTER + 16.0;
        self.box_at("vm", x, y, width, VM_HEIGHT, VM_HEIGHT / 2.0);
        let name = escape(vm.interface.as_str());
        let dy = if mac.is_some() { -6.0 } else { 0.0 };
        self.line(format_args!("<text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\">{name}</text>", y + dy));
        if let Some(mac) = mac {
            self.line(format_args!("<text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\">{mac}</text>", y + 6.5));
        }
    }

    fn legend(&mut self, x: f64, y: f64, title: &str) {
        self.line(format_args!("<text class=\"legend\" x=\"{x:.1}\" y=\"{y:.1}\">{title}</text>"));
        let samples = [("link", "UDP"), ("link tcp", "TCP"), ("link down", "down")];
        for (at, (class, name)) in samples.into_iter().enumerate() {
            let x = x + 230.0 + at as f64 * 95.0;
            self.line(format_args!(
                "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"legend\" x=\"{:.1}\" y=\"{y:.1}\">{name}</text>",
                x + 34.0,
                x + 42.0
            ));
        }
    }

    fn box_at(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, round: f64) {
        self.line(format_args!(
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round:.1}\"/>",
            x - width / 2.0,
            y - height / 2.0
        ));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
