//! A report as the demonstration makes it, for the tests: 8 VMs on a fast
//! cluster, a slower one and a far host, all-to-all.

use super::model::*;

const FAST: [&str; 4] = ["fast1", "fast2", "fast3", "fast4"];

/// Where the VMs are at first and where they go.
const VMS: [(&str, &str, &str); 8] = [
    ("vm1", "fast1", "fast1"),
    ("vm2", "fast2", "fast2"),
    ("vm3", "fast3", "fast3"),
    ("vm4", "fast4", "fast4"),
    ("vm5", "slow1", "fast1"),
    ("vm6", "slow2", "fast2"),
    ("vm7", "slow3", "fast3"),
    ("vm8", "far1", "fast4"),
];

pub(crate) fn sample() -> DemoReport {
    let (star, mesh, adapted) = (rates(9.6), rates(31.5), rates(118.0));
    DemoReport {
        inferred_topology: "all-to-all".into(),
        detect_ms: 412.0,
        decide_ms: 1.8,
        execute_ms: 236.0,
        plan: plan(),
        star,
        mesh,
        adapted,
        speedup_over_star: adapted.iterations_per_s / star.iterations_per_s,
        speedup_over_mesh: adapted.iterations_per_s / mesh.iterations_per_s,
        connections_lost: 0,
        application: application(),
        timeline: timeline(),
        hosts: hosts(),
        before: Overlay { placement: placement(|vm| vm.1), links: star_links() },
        after: Overlay { placement: placement(|vm| vm.2), links: fast_links() },
        events: events(),
        options: [("shape", "all-to-all"), ("VMs", "8"), ("message", "8 KiB"), ("WAN", "built in")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    }
}

fn rates(iterations_per_s: f64) -> Rates {
    Rates { iterations_per_s, mbit_per_s: iterations_per_s * 56.0 * 8192.0 * 8.0 / 1e6 }
}

fn plan() -> Plan {
    let moved = VMS.iter().filter(|(_, from, to)| from != to);
    let migrations = moved.map(|(vm, from, to)| Migration {
        vm: (*vm).into(),
        from: (*from).into(),
        to: (*to).into(),
        reason: format!(
            "its 7 partners are or come to the fast cluster, at 1 Gbit/s instead of 20 Mbit/s from {from}"
        ),
        took_ms: Some(31.0),
    });
    let links = fast_links().into_iter().filter(|link| link.b.starts_with("fast")).map(|link| LinkChange {
        change: Change::Add,
        kind: "UDP".into(),
        reason: format!("{:.1} Mbit/s go directly instead of through the Proxy", link.traffic_mbit),
        a: link.a,
        b: link.b,
    });
    let mut rules = Vec::new();
    for (a, host) in FAST.iter().enumerate() {
        for (b, (_, _, to)) in VMS.iter().enumerate().filter(|(_, (_, _, to))| to != host) {
            rules.push(RuleChange {
                change: Change::Add,
                host: (*host).into(),
                rule: format!("ANY NONE 02:00:00:00:00:{:02x} {host} {to}", b + 1),
            });
        }
        rules.push(RuleChange {
            change: Change::Delete,
            host: (*host).into(),
            rule: format!("ANY NONE 02:00:00:00:00:{:02x} {host} proxy", a + 5),
        });
    }
    Plan {
        migrations: migrations.collect(),
        links: links.collect(),
        rules,
        reason: "the demands can grow 11.3 times before a path is full, 0.9 times before; that outweighs \
                 moving 4 VMs"
            .into(),
    }
}

fn application() -> Application {
    let rate =
        |a: usize, b: usize| if a == b { 0.0 } else { 78_000.0 + ((a * 31 + b * 17) % 23) as f64 * 900.0 };
    Application {
        vms: VMS.map(|(vm, ..)| vm.to_owned()).to_vec(),
        edges: (0..8).flat_map(|a| (a + 1..8).map(move |b| (a, b))).collect(),
        confidence: 0.98,
        matrix: (0..8).map(|a| (0..8).map(|b| rate(a, b)).collect()).collect(),
    }
}

fn timeline() -> Timeline {
    let wobble = |i: usize| 1.0 + ((i * 7919) % 17) as f64 / 100.0 - 0.08;
    let level = |at: f64| match at {
        ..8.0 => 9.6,
        8.0..8.5 => 20.0,
        8.5..16.0 => 31.5,
        16.0..16.3 => 14.0,
        16.3..20.0 => 9.6,
        20.0..20.3 => 3.0,
        20.3..20.6 => 60.0,
        _ => 118.0,
    };
    let samples = (0..150).map(|i| {
        let at_s = 1.0 + f64::from(i) * 0.2;
        TimelineSample { at_s, rates: rates(level(at_s) * wobble(i as usize)) }
    });
    let span = |phase, from_s, to_s| PhaseSpan { phase, from_s, to_s };
    let moment = |at_s, what: &str| Moment { at_s, what: what.into() };
    Timeline {
        samples: samples.collect(),
        phases: vec![
            span(Phase::Star, 1.0, 8.0),
            span(Phase::Mesh, 8.0, 16.0),
            span(Phase::Star, 16.0, 20.0),
            span(Phase::Adapting, 20.0, 20.65),
            span(Phase::Adapted, 20.65, 31.0),
        ],
        moments: vec![
            moment(1.0, "application started"),
            moment(1.41, "topology detected: all-to-all"),
            moment(8.0, "full mesh of direct links"),
            moment(16.0, "back to the star"),
            moment(20.0, "plan decided"),
            moment(20.05, "6 links added"),
            moment(20.24, "4 VMs migrated"),
        ],
    }
}

fn hosts() -> Vec<Host> {
    let host = |name: &str, site: &str, room| Host {
        name: name.into(),
        site: site.into(),
        room,
        is_proxy: name == "proxy",
    };
    let mut hosts: Vec<Host> = FAST.iter().map(|name| host(name, "fast cluster", 2)).collect();
    hosts.extend(["slow1", "slow2", "slow3"].map(|name| host(name, "slower cluster", 1)));
    hosts.push(host("far1", "far host", 1));
    hosts.push(host("proxy", "user's LAN", 0));
    hosts
}

fn placement(host: impl Fn(&(&str, &'static str, &'static str)) -> &'static str) -> Vec<(String, String)> {
    VMS.iter().map(|vm| (vm.0.to_owned(), host(vm).to_owned())).collect()
}

fn link(a: &str, b: &str, bandwidth_mbit: f64, traffic_mbit: f64) -> OverlayLink {
    OverlayLink { a: a.into(), b: b.into(), bandwidth_mbit: Some(bandwidth_mbit), traffic_mbit }
}

fn star_links() -> Vec<OverlayLink> {
    let ends = ["fast1", "fast2", "fast3", "fast4", "slow1", "slow2", "slow3", "far1"];
    ends.iter().map(|end| link(end, "proxy", 10.0, 8.8)).collect()
}

fn fast_links() -> Vec<OverlayLink> {
    let mut links: Vec<_> =
        star_links().into_iter().map(|l| OverlayLink { traffic_mbit: 0.0, ..l }).collect();
    for (i, a) in FAST.iter().enumerate() {
        links.extend(FAST[i + 1..].iter().map(|b| link(a, b, 1000.0, 61.8)));
    }
    links
}

fn events() -> Vec<Event> {
    let event = |at_s, text: &str| Event { at_s, text: text.into() };
    vec![
        event(0.0, "laboratory up: 9 hosts, 8 VMs"),
        event(0.4, "star of 8 links configured in 12 ms"),
        event(1.0, "patterns started in 8 VMs"),
        event(1.41, "VTTIF: all-to-all, confidence 0.98"),
        event(20.0, "VADAPT: 4 migrations, 6 links, 32 rules"),
        event(20.24, "plan carried out"),
    ]
}
