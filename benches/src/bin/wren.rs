//! How good Wren's estimates are on the laboratory's emulated WAN.
//!
//! `cargo run --release -p vnet-benches --bin wren`

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use serde::Serialize;
use testbed::{Application, Testbed};
use vlab::wan::{CrossArrivals, CrossTraffic, Figures};
use vlab::{LabSpec, STATE_DIR};
use vnet_benches::wren::{Accuracy, Case, Kept, Limited, Outcome, accuracies, limited, plain_estimate};
use vnet_core::generate::Overlay;
use vnet_core::shape::Shape;
use vnet_core::{Bandwidth, HostName, InterfaceName};
use vnetd::client::{ApplyOptions, apply};

/// Measure the accuracy of Wren's estimates.
///
/// Pairs of hosts, each with a path of its own on the emulated WAN, a daemon on each
/// host and a VM behind it. `patterns` exchanges messages between the two VMs of a
/// pair, over TCP; that is all the traffic there is to learn from. Others share
/// the path; how much they send is counted by the WAN, and is the truth. One
/// host of each pair has a clock that is 1 s ahead and 50 ppm fast.
#[derive(Parser)]
#[command(name = "wren", version, about)]
struct Options {
    /// Capacities of the paths, in Mbit/s
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    capacity: Vec<u64>,
    /// One-way latencies, in microseconds
    #[arg(long, value_delimiter = ',', default_value = "100,10000,100000")]
    latency: Vec<u64>,
    /// Loads of others, in percent of the capacity
    #[arg(long, value_delimiter = ',', default_value = "0,20,40,60,80")]
    load: Vec<u32>,
    /// How the frames of others follow each other
    #[arg(long, value_enum, value_delimiter = ',', default_value = "poisson,pareto")]
    arrivals: Vec<Arrivals>,
    /// Bytes of a message of the application, instead of as many as suit the path
    #[arg(long)]
    message: Option<u64>,
    /// Milliseconds between two exchanges of the application, instead of 20 to 60
    #[arg(long)]
    pause: Option<u64>,
    /// Leave out the paths whose application sends too little to tell
    #[arg(long)]
    no_limited: bool,
    /// Seconds that each estimate is from
    #[arg(long, default_value_t = 30)]
    window: u64,
    /// How many Mbit/s of paths are measured at the same time
    #[arg(long, default_value_t = 1000)]
    together: u64,
    /// Keep the samples in this directory, beside what it has
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Measure nothing: estimate again from the samples kept in this directory
    #[arg(long, conflicts_with = "keep")]
    replay: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Options {
    fn includes(&self, case: &Case) -> bool {
        self.capacity.contains(&case.mbit)
            && self.latency.contains(&case.latency_us)
            && self.load.contains(&case.load)
            && (case.load == 0 || self.arrivals.iter().any(|arrivals| arrivals.name() == case.arrivals))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Arrivals {
    Poisson,
    /// Pareto-distributed times between frames, of shape 1.9
    Pareto,
}

impl Arrivals {
    fn law(self) -> CrossArrivals {
        match self {
            Self::Poisson => CrossArrivals::Poisson,
            Self::Pareto => CrossArrivals::Pareto(1.9),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Pareto => "pareto",
        }
    }
}

#[derive(Serialize)]
struct Report {
    outcomes: Vec<Outcome>,
    accuracy: Vec<Accuracy>,
    limited: Limited,
}

impl Report {
    fn new(outcomes: Vec<Outcome>) -> Self {
        Self { accuracy: accuracies(&outcomes), limited: limited(&outcomes), outcomes }
    }
}

fn main() -> ExitCode {
    if let Some(code) = testbed::dispatch() {
        return code;
    }
    let options = Options::parse();
    let result = match &options.replay {
        Some(directory) => replay(directory, &options),
        None => vlab::enter().map_err(anyhow::Error::from).and_then(|_| measure(&options)),
    };
    match result.and_then(|report| show(&report, options.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wren: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    println!("{}", Outcome::HEADINGS);
    for outcome in &report.outcomes {
        println!("{outcome}");
    }
    println!("\n{}", Accuracy::HEADINGS);
    for accuracy in &report.accuracy {
        println!("{accuracy}");
    }
    println!("{}", report.limited);
    Ok(())
}

fn replay(directory: &Path, options: &Options) -> anyhow::Result<Report> {
    let outcomes: Vec<Outcome> = Kept::read(directory)?
        .iter()
        .filter(|kept| options.includes(&kept.case))
        .map(|kept| kept.replay(directory, options.window))
        .collect::<anyhow::Result<_>>()?;
    Ok(Report::new(outcomes))
}

fn measure(options: &Options) -> anyhow::Result<Report> {
    let mut cases = Vec::new();
    for &mbit in &options.capacity {
        for &latency_us in &options.latency {
            for &load in &options.load {
                for arrivals in &options.arrivals {
                    // Without others, their law makes no difference.
                    let case = |limited| {
                        let arrivals = arrivals.name().to_owned();
                        Case { mbit, latency_us, load, arrivals, limited }
                    };
                    if load > 0 || matches!(arrivals, Arrivals::Poisson) {
                        cases.push((case(false), *arrivals));
                    }
                    if load == 40 && !options.no_limited && matches!(arrivals, Arrivals::Poisson) {
                        cases.push((case(true), *arrivals));
                    }
                }
            }
        }
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut rest = &cases[..];
    while let Some((first, _)) = rest.first() {
        let mbit = first.mbit;
        let same = rest.iter().take_while(|(case, _)| case.mbit == mbit).count();
        let count = ((options.together / mbit).max(1) as usize).min(same).min(MOST_PAIRS);
        let (group, later) = rest.split_at(count);
        rest = later;
        let found = measure_group(group, options)?;
        for outcome in &found {
            eprintln!("{outcome}");
        }
        outcomes.extend(found);
    }
    Ok(Report::new(outcomes))
}

/// Each has two daemons and two VMs.
const MOST_PAIRS: usize = 10;

fn measure_group(group: &[(Case, Arrivals)], options: &Options) -> anyhow::Result<Vec<Outcome>> {
    let pairs = group.len() as u32;
    let fast = Bandwidth::from_mbit(100_000);
    // The Proxy has a host of its own, near to all.
    let mut spec = LabSpec::lan(1 + 2 * pairs, fast, Duration::from_micros(20)).with_vms(2 * pairs);
    spec.name = "paths".to_owned();
    for (vm, host) in spec.vms.iter_mut().zip(&spec.hosts[1..]) {
        vm.host = Some(host.name.clone());
    }
    let kept = match &options.keep {
        Some(kept) => kept.clone(),
        None => Path::new(STATE_DIR).join("arrivals"),
    };
    fs::create_dir_all(&kept).with_context(|| format!("could not make {}", kept.display()))?;
    let mut flags =
        vec!["--star-link".into(), "none".into(), "--keep-arrivals".into(), kept.display().to_string()];
    for pair in 0..pairs {
        flags.extend(["--clock-error".to_owned(), format!("h{}=1,50", 3 + 2 * pair)]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut bed = Testbed::start_with_flags(&spec, &flags)?;
    bed.attach_all()?;
    let ends = |pair: usize| (format!("h{}", 2 + 2 * pair), format!("h{}", 3 + 2 * pair));

    // Paths, and a link over each.
    let mut topology = bed.overlay(Shape::Star)?;
    for (pair, (case, arrivals)) in group.iter().enumerate() {
        let (a, b) = ends(pair);
        let latency = Duration::from_micros(case.latency_us);
        let figures = Figures { latency, ..Figures::rate(Bandwidth::from_mbit(case.mbit)) };
        bed.lab().wan().set_path(&a, &b, figures)?;
        let traffic = CrossTraffic::new(f64::from(case.load) / 100.0, arrivals.law());
        bed.lab().wan().set_cross_traffic(&a, &b, Some(traffic))?;
        let hosts: Vec<_> =
            bed.hosts().into_iter().filter(|host| [&a, &b].contains(&&host.machine.to_string())).collect();
        let vms = bed.vms().into_iter().filter(|vm| [&a, &b].contains(&&vm.host.to_string())).collect();
        let part = Overlay::new(hosts, vms, Shape::Bus).generate()?;
        topology.links.extend(part.links);
        for (host, rules) in part.rules {
            topology.rules.insert(host, rules);
        }
    }
    topology.links.retain(|id, _| !id.ends().0.eq(bed.proxy()) && !id.ends().1.eq(bed.proxy()));
    topology.rules.retain(|host, _| host != bed.proxy());
    let network = testbed::NETWORK;
    apply(&mut bed.client()?, &topology, &ApplyOptions { network, ..ApplyOptions::default() }, |_| {})?;

    let mut applications = Vec::new();
    for (pair, (case, _)) in group.iter().enumerate() {
        let vms: Vec<InterfaceName> = [1, 2]
            .map(|n| InterfaceName::new(&format!("vm{}", n + 2 * pair)))
            .into_iter()
            .collect::<Result<_, _>>()?;
        let message = options.message.unwrap_or_else(|| case.message());
        let pause = format!("{}ms", options.pause.unwrap_or_else(|| case.pause_ms()));
        let arguments = ["--compute", &pause, "--interval", "1s"];
        applications.push(Application::start(&bed, &vms, &Shape::Bus, message, &arguments)?);
    }
    // The envelope wants to see an empty queue once, and connections start.
    thread::sleep(Duration::from_secs(3));
    let counted = |bed: &Testbed| -> anyhow::Result<BTreeMap<(String, String), u64>> {
        let mut all = BTreeMap::new();
        for pair in 0..group.len() {
            let (a, b) = ends(pair);
            for (from, to) in [(&a, &b), (&b, &a)] {
                let counters = bed.lab().wan().path_counters(from, to)?.context("a path")?;
                all.insert((from.clone(), to.clone()), counters.cross_bytes);
            }
        }
        Ok(all)
    };
    let (before, begun) = (counted(&bed)?, Instant::now());
    thread::sleep(Duration::from_secs(options.window));
    let (after, seconds) = (counted(&bed)?, begun.elapsed().as_secs_f64());
    // The last second's report.
    thread::sleep(Duration::from_millis(500));
    let paths = bed.client()?.paths(None)?;
    for application in &mut applications {
        application.stop()?;
        anyhow::ensure!(application.failures().is_empty(), "{:?}", application.failures());
    }
    let mut outcomes = Vec::new();
    let mut list = Kept::read(&kept)?;
    for (pair, (case, _)) in group.iter().enumerate() {
        let (a, b) = ends(pair);
        for (from, to) in [(&a, &b), (&b, &a)] {
            let key = (from.clone(), to.clone());
            let others = (after[&key] - before[&key]) as f64 * 8.0 / seconds;
            let name = |name: &str| HostName::new(name);
            let (from, to) = (name(from)?, name(to)?);
            let status = paths.iter().find(|path| path.from == from && path.to == to);
            let trace = kept.join(format!("{from}-{to}.csv"));
            let plain = plain_estimate(&trace, options.window)?;
            outcomes.push(Outcome::new(case.clone(), others, status, plain));
            if options.keep.is_some() {
                let Case { mbit, latency_us, load, arrivals, limited } = case;
                let limited = if *limited { "-limited" } else { "" };
                let name =
                    |host: &HostName| format!("{mbit}-{latency_us}-{load}-{arrivals}{limited}-{host}.csv");
                fs::rename(&trace, kept.join(name(&from)))?;
                let files = (name(&from), name(&to));
                list.retain(|kept: &Kept| kept.files != files);
                list.push(Kept { case: case.clone(), others, files });
            }
        }
    }
    if options.keep.is_some() {
        fs::write(kept.join(Kept::LIST), serde_json::to_string_pretty(&list)?)?;
    }
    Ok(outcomes)
}
