//! The map of the hosts: VMs on hosts, hosts in sites, links between them.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use crate::report::model::{Host, Overlay, OverlayLink};

use super::escape::{Text, number, shortened};

/// The size of a drawing; it grows where the hosts need more room.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 500.0;
const BOX_WIDTH: f64 = 96.0;
const HEAD: f64 = 22.0;
const CHIP: (f64, f64) = (42.0, 18.0);
/// VMs or free places that a host's box shows before it gives their number.
const MAX_CHIPS: usize = 8;
/// The room between hosts, and more of it between sites.
const HOST_GAP: f64 = 16.0;
const SITE_GAP: f64 = 70.0;

/// Where everything is; the same for the maps before and after.
pub(super) struct Map<'a> {
    hosts: Vec<Place<'a>>,
    width: f64,
    height: f64,
    /// The most traffic that any link on any of the maps carries, in Mbit/s.
    most: f64,
}

struct Place<'a> {
    host: &'a Host,
    angle: f64,
    x: f64,
    y: f64,
    box_height: f64,
}

impl<'a> Map<'a> {
    /// The places of the hosts, for maps of these overlays.
    pub(super) fn new(hosts: &'a [Host], overlays: &[&Overlay]) -> Self {
        let vms = |host: &Host| overlays.iter().map(|o| vms_of(o, &host.name).count()).max().unwrap_or(0);
        let box_height = |host: &Host| {
            let chips = vms(host).max(host.room).min(MAX_CHIPS);
            HEAD + chips.div_ceil(2) as f64 * (CHIP.1 + 4.0) + 2.0
        };
        // Along the rim a box takes its height or its width, depending on where it is.
        let room = |host: &Host| f64::midpoint(BOX_WIDTH, box_height(host)) + HOST_GAP;
        let (hosts, round) = around(hosts, room);
        let radii = |width, height| (width / 2.0 - BOX_WIDTH / 2.0 - 22.0, height / 2.0 - 66.0);
        let (across, down) = radii(WIDTH, HEIGHT);
        let grown = (2.0 * round / (TAU * (across + down))).max(1.0).powf(1.2);
        let (width, height) = (WIDTH * grown, HEIGHT * grown);
        let (across, down) = radii(width, height);
        let places = hosts.into_iter().map(|(host, angle)| Place {
            host,
            angle,
            x: width / 2.0 + angle.cos() * across,
            y: height / 2.0 + angle.sin() * down,
            box_height: box_height(host),
        });
        let traffic = overlays.iter().flat_map(|o| &o.links).map(|l| l.traffic_mbit);
        Self { hosts: places.collect(), width, height, most: traffic.fold(0.0, f64::max) }
    }

    /// One map. What isn't in `before` is marked as new.
    pub(super) fn draw(&self, overlay: &Overlay, before: Option<&Overlay>, label: &str) -> String {
        let sites: String = self.sites().map(|site| self.site(&site)).collect();
        let mut links: Vec<&OverlayLink> = overlay.links.iter().collect();
        links.sort_by(|a, b| a.traffic_mbit.total_cmp(&b.traffic_mbit));
        let links: String = links.into_iter().map(|link| self.link(link, before)).collect();
        let hosts: String = self.hosts.iter().map(|place| draw_host(place, overlay, before)).collect();
        let names: String = self.sites().map(|site| site_name(&site)).collect();
        format!(
            "<svg class=\"map\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n\
             {sites}{links}{hosts}{names}</svg>\n",
            self.width,
            self.height,
            Text(label)
        )
    }

    /// The hosts of each site, which are next to each other.
    fn sites(&self) -> impl Iterator<Item = Vec<&Place<'a>>> {
        self.hosts.chunk_by(|a, b| a.host.site == b.host.site).map(|site| site.iter().collect())
    }

    /// The ground under the hosts of a site: a broad stroke through their places.
    fn site(&self, hosts: &[&Place<'_>]) -> String {
        let points: Vec<String> = hosts.iter().map(|p| format!("{:.1} {:.1}", p.x, p.y)).collect();
        // A stroke needs a length to have round ends.
        let only = if hosts.len() == 1 { format!(" L{}", points[0]) } else { String::new() };
        format!("<path class=\"site\" d=\"M{}{only}\"/>\n", points.join(" L"))
    }

    fn link(&self, link: &OverlayLink, before: Option<&Overlay>) -> String {
        let place = |name: &str| self.hosts.iter().find(|p| p.host.name == name);
        let (Some(a), Some(b)) = (place(&link.a), place(&link.b)) else { return String::new() };
        let (cx, cy) = (self.width / 2.0, self.height / 2.0);
        // Bent towards the centre, so that links along the rim pass before the boxes.
        let (bx, by) =
            (f64::midpoint(f64::midpoint(a.x, b.x), cx), f64::midpoint(f64::midpoint(a.y, b.y), cy));
        let share = if self.most > 0.0 { (link.traffic_mbit / self.most).clamp(0.0, 1.0) } else { 0.0 };
        let is_new = before.is_some_and(|o| !o.links.iter().any(|l| joins_same(l, link)));
        let class = match (share > 0.0, is_new) {
            (false, _) => "link idle",
            (true, false) => "link",
            (true, true) => "link new",
        };
        let carried = match link.bandwidth_mbit {
            Some(most) => format!("{} of {} Mbit/s", number(link.traffic_mbit), number(most)),
            None => format!("{} Mbit/s", number(link.traffic_mbit)),
        };
        format!(
            "<path class=\"{class}\" d=\"M{:.1} {:.1} Q{bx:.1} {by:.1} {:.1} {:.1}\" \
             stroke-width=\"{:.1}\"><title>{} – {}: {carried}</title></path>\n",
            a.x,
            a.y,
            b.x,
            b.y,
            1.5 + 6.0 * share.sqrt(),
            Text(&link.a),
            Text(&link.b),
        )
    }
}

/// The hosts in the order of their sites, each with its angle, and the room
/// that they take together; the Proxy's site is at the bottom, in the middle.
fn around(hosts: &[Host], room: impl Fn(&Host) -> f64) -> (Vec<(&Host, f64)>, f64) {
    let mut sites: Vec<(&str, Vec<&Host>)> = Vec::new();
    for host in hosts {
        match sites.iter_mut().find(|(name, _)| *name == host.site) {
            Some((_, members)) => members.push(host),
            None => sites.push((&host.site, vec![host])),
        }
    }
    let mut middles = Vec::new();
    let (mut at, mut bottom) = (0.0, 0.0);
    for (_, members) in &sites {
        let start = at;
        for host in members {
            middles.push((*host, at + room(host) / 2.0));
            at += room(host);
        }
        if members.iter().any(|host| host.is_proxy) {
            bottom = f64::midpoint(start, at);
        }
        at += if sites.len() > 1 { SITE_GAP } else { 0.0 };
    }
    let angle = |middle| TAU * ((middle - bottom) / f64::max(at, 1.0) + 0.25);
    (middles.into_iter().map(|(host, middle)| (host, angle(middle))).collect(), at)
}

/// The name of a site, on the outer side of its topmost host, or of its
/// lowest if it is at the bottom.
fn site_name(hosts: &[&Place<'_>]) -> String {
    let bottom = hosts.iter().all(|place| place.angle.sin() > 0.8);
    let outer = |place: &&&Place<'_>| if bottom { -place.y } else { place.y };
    let Some(place) = hosts.iter().min_by(|a, b| outer(a).total_cmp(&outer(b))) else {
        return String::new();
    };
    let y = match bottom {
        true => place.y + place.box_height / 2.0 + 20.0,
        false => place.y - place.box_height / 2.0 - 8.0,
    };
    let proxy = if hosts.iter().any(|place| place.host.is_proxy) { " (Proxy)" } else { "" };
    format!(
        "<text class=\"site-name\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}{proxy}</text>\n",
        place.x,
        Text(shortened(&place.host.site, 24)),
    )
}

fn draw_host(place: &Place<'_>, overlay: &Overlay, before: Option<&Overlay>) -> String {
    let Place { host, x, y, box_height, .. } = place;
    let (left, top) = (x - BOX_WIDTH / 2.0, y - box_height / 2.0);
    let vms: Vec<&str> = vms_of(overlay, &host.name).collect();
    let was_at: BTreeMap<&str, &str> =
        before.iter().flat_map(|o| &o.placement).map(|(vm, host)| (vm.as_str(), host.as_str())).collect();
    let chips: String = (0..vms.len().max(host.room).min(MAX_CHIPS))
        .map(|i| {
            let x = left + 4.0 + (i % 2) as f64 * (CHIP.0 + 4.0);
            let y = top + HEAD + (i / 2) as f64 * (CHIP.1 + 4.0);
            match vms.get(i) {
                Some(vm) => chip(vm, x, y, was_at.get(vm).copied().filter(|was| *was != host.name)),
                None => format!(
                    "<rect class=\"room\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{}\" height=\"{}\" rx=\"5\"/>\n",
                    CHIP.0, CHIP.1
                ),
            }
        })
        .collect();
    let more = match vms.len().saturating_sub(MAX_CHIPS) {
        0 => String::new(),
        more => format!(" +{more}"),
    };
    let class = if host.is_proxy { "host proxy" } else { "host" };
    format!(
        "<g><title>{}, {}: {} of {} places for VMs used</title>\
         <rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{BOX_WIDTH}\" \
         height=\"{box_height}\" rx=\"8\"/>\
         <text class=\"host-name\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}{more}</text>\n{chips}</g>\n",
        Text(&host.name),
        Text(&host.site),
        vms.len(),
        host.room,
        top + 15.5,
        Text(shortened(&host.name, 13)),
    )
}

fn chip(vm: &str, x: f64, y: f64, moved_from: Option<&str>) -> String {
    let (class, title) = match moved_from {
        Some(from) => ("vm moved", format!("{vm}, moved here from {from}")),
        None => ("vm", vm.to_owned()),
    };
    format!(
        "<g class=\"{class}\"><title>{}</title>\
         <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{}\" height=\"{}\" rx=\"5\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>\n",
        Text(title),
        CHIP.0,
        CHIP.1,
        x + CHIP.0 / 2.0,
        y + 13.0,
        Text(shortened(vm, 6)),
    )
}

fn vms_of<'o>(overlay: &'o Overlay, host: &str) -> impl Iterator<Item = &'o str> {
    overlay.placement.iter().filter(move |(_, at)| at == host).map(|(vm, _)| vm.as_str())
}

fn joins_same(one: &OverlayLink, other: &OverlayLink) -> bool {
    (one.a == other.a && one.b == other.b) || (one.a == other.b && one.b == other.a)
}
