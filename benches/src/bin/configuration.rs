//! How long it takes to configure an overlay, beside the papers' figures.
//!
//! `cargo run --release -p vnet-benches --bin configuration`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;
use testbed::{NETWORK, Testbed};
use vlab::LabSpec;
use vnet_benches::{exponent, median};
use vnet_core::control::{LinkSpec, Request, RuleEntry};
use vnet_core::generate::{FastPath, VmSpec, add_fast_paths};
use vnet_core::shape::Shape;
use vnet_core::{
    Action, Bandwidth, Destination, HostName, InterfaceName, Link, LinkKind, MacAddr, Rule, Source, Topology,
};
use vnetd::client::{Applied, ApplyOptions, apply};

/// Measure configuration times in the laboratory.
///
/// Daemons run in hosts on an emulated 100 Mbit/s LAN, one VM behind each,
/// with a Proxy beside them, as in the papers. A time is from the request to
/// the moment at which all links carry frames and all daemons use the new rules.
#[derive(Parser)]
#[command(name = "configuration", version, about)]
struct Options {
    /// How often each configuration is measured; the table has the medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// How often each primitive is measured
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    primitives: u32,
    /// The most daemons of the table of growth (8, 16, 28, 64, 128)
    #[arg(long, default_value_t = 128)]
    most: u32,
    /// The fewest daemons of it
    #[arg(long, default_value_t = 8)]
    least: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Sundararaj, thesis proposal (2005), sections 9.2.1 and 9.4: daemons,
/// topology, seconds. All but the star are on top of the star.
const PAPERS: [(u32, &str, f64); 5] = [
    (8, "star", 0.94),
    (8, "all-to-all", 1.6),
    (8, "bus", 3.23),
    (28, "star", 2.9),
    (28, "all-to-all", 20.5),
];

const SIZES: [u32; 5] = [8, 16, 28, 64, 128];

#[derive(Serialize)]
struct Outcome {
    papers: Vec<Row>,
    growth: Vec<Row>,
    growth_exponent: f64,
    primitives: Vec<Primitive>,
}

#[derive(Clone, Serialize)]
struct Row {
    daemons: u32,
    topology: String,
    links: usize,
    rules: usize,
    papers_s: Option<f64>,
    ours_s: f64,
    /// With old rules removed and everything tidy.
    total_s: f64,
    times_faster: Option<f64>,
}

#[derive(Serialize)]
struct Primitive {
    name: &'static str,
    through_the_proxy: bool,
    median_us: f64,
    p99_us: f64,
}

fn main() -> ExitCode {
    if let Some(code) = testbed::dispatch() {
        return code;
    }
    let options = Options::parse();
    let result = vlab::enter().map_err(anyhow::Error::from).and_then(|_| measure(&options));
    match result {
        Ok(outcome) if options.json => match serde_json::to_string_pretty(&outcome) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("configuration: {error}");
                return ExitCode::FAILURE;
            }
        },
        Ok(outcome) => print(&outcome),
        Err(error) => {
            eprintln!("configuration: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(options: &Options) -> anyhow::Result<Outcome> {
    let (mut papers, mut growth, mut primitives) = (Vec::new(), Vec::new(), Vec::new());
    for daemons in SIZES.into_iter().filter(|size| (options.least..=options.most).contains(size)) {
        eprintln!("{daemons} daemons");
        let compared: Vec<_> = PAPERS.iter().filter(|(size, ..)| *size == daemons).collect();
        let runs = if compared.is_empty() { 1 } else { options.runs };
        let mut stars = Vec::new();
        let mut rows: Vec<Vec<Row>> = vec![Vec::new(); 2];
        for run in 0..runs {
            let bed = start(daemons)?;
            let star = bed.overlay(Shape::Star)?;
            stars.push(row(daemons, "star", &star, &configure(&bed, &star)?));
            let meshed = all_to_all(&bed, &star)?;
            rows[0].push(row(daemons, "all-to-all", &meshed, &configure(&bed, &meshed)?));
            configure(&bed, &star)?;
            if compared.iter().any(|(_, name, _)| *name == "bus") {
                let bus = bus(&bed, &star)?;
                rows[1].push(row(daemons, "bus", &bus, &configure(&bed, &bus)?));
            }
            if daemons == SIZES[0] && run == 0 {
                // Without the links that the primitives add and delete.
                configure(&bed, &star)?;
                primitives = measure_primitives(&bed, options.primitives)?;
            }
        }
        for rows in [&stars, &rows[0], &rows[1]].into_iter().filter(|rows| !rows.is_empty()) {
            let mut middle = median_row(rows);
            let paper = compared.iter().find(|(_, name, _)| *name == middle.topology);
            middle.papers_s = paper.map(|(.., seconds)| *seconds);
            middle.times_faster = middle.papers_s.map(|papers| papers / middle.ours_s);
            if middle.papers_s.is_some() {
                papers.push(middle.clone());
            }
            if middle.topology == "all-to-all" {
                growth.push(middle);
            }
        }
    }
    let points: Vec<_> = growth.iter().map(|row| (f64::from(row.daemons), row.ours_s)).collect();
    Ok(Outcome { papers, growth, growth_exponent: exponent(&points), primitives })
}

/// A Proxy and `daemons` further hosts with a VM each, joined by nothing yet.
fn start(daemons: u32) -> anyhow::Result<Testbed> {
    let mut spec =
        LabSpec::lan(daemons + 1, Bandwidth::from_mbit(100), Duration::from_micros(100)).with_vms(daemons);
    let hosts: Vec<HostName> = spec.hosts.iter().map(|host| host.name.clone()).collect();
    for (vm, host) in spec.vms.iter_mut().zip(&hosts[1..]) {
        vm.host = Some(host.clone());
    }
    let mut bed = Testbed::start_unlinked(&spec)?;
    bed.attach_all()?;
    Ok(bed)
}

fn configure(bed: &Testbed, topology: &Topology) -> anyhow::Result<Applied> {
    let options = ApplyOptions { network: NETWORK, keep_star: false, ..ApplyOptions::default() };
    Ok(apply(&mut bed.client()?, topology, &options, |_| {})?)
}

/// The star, and a direct path for every pair of VMs.
fn all_to_all(bed: &Testbed, star: &Topology) -> anyhow::Result<Topology> {
    let vms = bed.vms();
    let paths = pairs(&vms).map(|(from, to)| path(from, to, vec![from.host.clone(), to.host.clone()]));
    let mut topology = star.clone();
    add_fast_paths(&mut topology, &paths.collect::<Vec<_>>(), LinkKind::Udp)?;
    Ok(topology)
}

/// The star, and for every pair of VMs the path along a line of all hosts.
fn bus(bed: &Testbed, star: &Topology) -> anyhow::Result<Topology> {
    let vms = bed.vms();
    let place = |vm: &VmSpec| vms.iter().position(|other| other == vm).unwrap_or_default();
    let paths = pairs(&vms).map(|(from, to)| {
        let (a, b) = (place(from), place(to));
        let mut hosts: Vec<_> = vms[a.min(b)..=a.max(b)].iter().map(|vm| vm.host.clone()).collect();
        if a > b {
            hosts.reverse();
        }
        path(from, to, hosts)
    });
    let mut topology = star.clone();
    add_fast_paths(&mut topology, &paths.collect::<Vec<_>>(), LinkKind::Udp)?;
    Ok(topology)
}

fn pairs(vms: &[VmSpec]) -> impl Iterator<Item = (&VmSpec, &VmSpec)> {
    vms.iter().flat_map(|from| vms.iter().filter(move |to| *to != from).map(move |to| (from, to)))
}

fn path(from: &VmSpec, to: &VmSpec, hosts: Vec<HostName>) -> FastPath {
    FastPath { source: from.mac, destination: to.mac, hosts }
}

fn row(daemons: u32, name: &str, topology: &Topology, applied: &Applied) -> Row {
    Row {
        daemons,
        topology: name.to_owned(),
        links: topology.links.len(),
        rules: topology.rule_count(),
        papers_s: None,
        ours_s: applied.in_force.as_secs_f64(),
        total_s: applied.total.as_secs_f64(),
        times_faster: None,
    }
}

fn median_row(rows: &[Row]) -> Row {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| a.ours_s.total_cmp(&b.ours_s));
    rows[rows.len() / 2].clone()
}

fn measure_primitives(bed: &Testbed, count: u32) -> anyhow::Result<Vec<Primitive>> {
    let hosts = bed.hosts();
    let (here, there) = (&hosts[1].machine, &hosts[2].machine);
    let rule = |i: u32| RuleEntry {
        network: NETWORK,
        rule: Rule {
            source: Source::Exact(MacAddr::local(1_000_000 + i)),
            destination: Destination::Exact(MacAddr::local(2_000_000)),
            action: Action::Interface(InterfaceName::new("nowhere").expect("letters make a name")),
        },
    };
    let link = Link { kind: LinkKind::Udp, opener: here.clone(), a: here.clone(), b: there.clone() };
    let spec = LinkSpec { link: link.clone(), peer: Some(bed.data_address(there)?) };
    // Each with what puts everything back, which is not measured.
    type Make<'a> = Box<dyn Fn(u32) -> (Request, Option<Request>) + 'a>;
    let primitives: [(&'static str, Make<'_>); 8] = [
        ("add a link", Box::new(|_| (Request::AddLink(spec.clone()), Some(Request::DeleteLink(link.id()))))),
        (
            "delete a link",
            Box::new(|_| (Request::DeleteLink(link.id()), Some(Request::AddLink(spec.clone())))),
        ),
        ("add a rule", Box::new(|i| (Request::AddRule(rule(i)), None))),
        ("delete a rule", Box::new(|i| (Request::DeleteRule(rule(i)), None))),
        ("list interfaces", Box::new(|_| (Request::ListInterfaces, None))),
        ("list links", Box::new(|_| (Request::ListLinks, None))),
        ("list rules", Box::new(|_| (Request::ListRules, None))),
        ("set the bound", Box::new(|i| (Request::SetConfigurationBound(5000 + u64::from(i % 2)), None))),
    ];
    let mut measured = Vec::new();
    for through_the_proxy in [false, true] {
        let mut client = if through_the_proxy { bed.client()? } else { bed.client_of(here)? };
        let target = through_the_proxy.then_some(here);
        for (name, make) in &primitives {
            if *name == "delete a link" {
                client.call(target, Request::AddLink(spec.clone()))?;
            }
            let mut times = Vec::new();
            for i in 0..count {
                let (request, undo) = make(i);
                let begun = Instant::now();
                client.call(target, request)?;
                times.push(begun.elapsed());
                if let Some(undo) = undo {
                    client.call(target, undo)?;
                }
            }
            if *name == "delete a link" {
                client.call(target, Request::DeleteLink(link.id()))?;
            }
            times.sort_unstable();
            let p99 = times[(times.len() - 1) * 99 / 100];
            let (median_us, p99_us) = (median(&times).as_secs_f64() * 1e6, p99.as_secs_f64() * 1e6);
            measured.push(Primitive { name, through_the_proxy, median_us, p99_us });
        }
    }
    Ok(measured)
}

fn print(outcome: &Outcome) {
    println!(
        "Configuration times, medians; the papers' figures are those of Sundararaj 2005, sections 9.2.1 and 9.4\n"
    );
    println!("daemons  topology        links   rules   papers s    ours s   total s   times faster");
    for row in &outcome.papers {
        println!(
            "{:7}  {:<12} {:8} {:7} {:10.2} {:9.4} {:9.4} {:14.0}",
            row.daemons,
            row.topology,
            row.links,
            row.rules,
            row.papers_s.unwrap_or(f64::NAN),
            row.ours_s,
            row.total_s,
            row.times_faster.unwrap_or(f64::NAN)
        );
    }
    println!("\nGrowth: all-to-all on top of the star\n");
    println!("daemons    links   rules     ours s   total s");
    for row in &outcome.growth {
        println!("{:7} {:8} {:7} {:10.4} {:9.4}", row.daemons, row.links, row.rules, row.ours_s, row.total_s);
    }
    println!("time grows as daemons^{:.2}", outcome.growth_exponent);
    println!("\nOne primitive, round trip\n");
    println!("primitive          over           median us    p99 us");
    for primitive in &outcome.primitives {
        let over = if primitive.through_the_proxy { "the Proxy" } else { "its socket" };
        println!("{:<18} {:<12} {:11.0} {:9.0}", primitive.name, over, primitive.median_us, primitive.p99_us);
    }
}
