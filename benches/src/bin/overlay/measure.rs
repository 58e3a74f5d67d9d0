//! The measurement: contenders in turn, figures by run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use super::contender::{ALL, BASE, Contender, Running};
use super::lab::{HOSTS, Lab, Wire, address, find, run as run_command};
use super::report;

/// What to measure.
#[derive(Args, Clone, Debug)]
pub(crate) struct MeasureArgs {
    /// Turns of each contender; the table has the medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// How long each TCP measurement takes
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Measure these contenders alone (and vxlan), separated by commas
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Measure over this wire alone
    #[arg(long)]
    pub(crate) wire: Option<Wire>,
    /// List the contenders
    #[arg(long)]
    pub(crate) list: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured of each contender in each of its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// One TCP stream, Gbit/s.
    OneStream,
    /// Four TCP streams together, Gbit/s.
    FourStreams,
    /// CPU time of the whole machine per gigabyte of the one stream, s.
    CpuPerGigabyte,
    /// Datagrams of 64 bytes at the receiver, 1000/s.
    SmallPackets,
    /// Round trip, median, microseconds.
    RoundTrip,
    /// Round trip, 99th percentile, microseconds.
    RoundTripP99,
    /// CPU time of its processes while nothing is carried, per cent of a core.
    IdleCpu,
    /// Resident memory of its processes, MB.
    Memory,
}

/// The figures of one contender, one for each turn.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) encrypted: bool,
    /// Why there are none.
    pub(crate) problem: Option<String>,
    pub(crate) figures: BTreeMap<Figure, Vec<f64>>,
}

/// All contenders over one wire.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WireOutcome {
    pub(crate) wire: Wire,
    pub(crate) outcomes: Vec<Outcome>,
}

/// Measures and prints.
pub(crate) fn run(args: &MeasureArgs) -> anyhow::Result<()> {
    if args.list {
        ALL.iter().for_each(|contender| println!("{}", contender.name));
        return Ok(());
    }
    for name in &args.only {
        if !ALL.iter().any(|contender| contender.name == name) {
            bail!("there is no contender `{name}`; --list shows them all");
        }
    }
    if find("iperf3").is_none() {
        bail!("iperf3 is not installed: `apt-get install iperf3`");
    }
    let wires = args.wire.map_or_else(|| Wire::ALL.to_vec(), |wire| vec![wire]);
    let outcomes = wires.into_iter().map(|wire| measure(args, wire)).collect::<anyhow::Result<Vec<_>>>()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else {
        outcomes.iter().for_each(report::print);
    }
    Ok(())
}

fn measure(args: &MeasureArgs, wire: Wire) -> anyhow::Result<WireOutcome> {
    let mut lab = Lab::new(wire)?;
    let wanted = |contender: &&Contender| {
        args.only.is_empty() || contender.name == BASE || args.only.iter().any(|name| name == contender.name)
    };
    let mut running: Vec<(Outcome, Option<Running>)> = Vec::new();
    for (n, contender) in ALL.iter().filter(wanted).enumerate() {
        let started = match contender.missing() {
            Some(program) => Err(anyhow::anyhow!("{program} is not installed")),
            None => contender.start(&mut lab, n as u8 + 1),
        };
        let (problem, started) = match started {
            Ok(started) => (None, Some(started)),
            Err(error) => (Some(format!("{error:#}")), None),
        };
        let Contender { name, encrypted, .. } = *contender;
        running.push((Outcome { name, encrypted, problem, figures: BTreeMap::new() }, started));
    }
    // Servers of both kinds on the second host, for all networks.
    let mut iperf = lab.command(1, Path::new("iperf3"));
    iperf.arg("-s");
    lab.start(iperf)?;
    let mut serve = lab.command(1, &std::env::current_exe()?);
    serve.args(["serve", "--listen", "0.0.0.0:9000"]);
    lab.start(serve)?;
    std::thread::sleep(Duration::from_millis(1500));

    for turn in 0..args.runs {
        for (outcome, started) in &mut running {
            let (Some(contender), None) = (&started, &outcome.problem) else { continue };
            eprintln!("{wire}: turn {} of {}: {}", turn + 1, args.runs, outcome.name);
            if let Err(error) = one_turn(args, &lab, wire, contender, &mut outcome.figures) {
                outcome.problem = Some(format!("{error:#}"));
            }
        }
    }
    Ok(WireOutcome { wire, outcomes: running.into_iter().map(|(outcome, _)| outcome).collect() })
}

fn one_turn(
    args: &MeasureArgs,
    lab: &Lab,
    wire: Wire,
    contender: &Running,
    figures: &mut BTreeMap<Figure, Vec<f64>>,
) -> anyhow::Result<()> {
    let to = contender.subnet.map_or_else(|| HOSTS[1].to_owned(), |subnet| address(1, subnet));
    let mut add = |figure, value: f64| figures.entry(figure).or_default().push(value);
    // Addresses are learned and slow starts over before anything counts.
    round_trips(lab, &to, 20)?;

    let busy = cpu_seconds()?;
    let (bits, bytes) = iperf(lab, &to, args.seconds, 1)?;
    add(Figure::OneStream, bits / 1e9);
    add(Figure::CpuPerGigabyte, (cpu_seconds()? - busy) / (bytes / 1e9));
    if wire.is_lossy() {
        return Ok(());
    }
    add(Figure::FourStreams, iperf(lab, &to, args.seconds, 4)?.0 / 1e9);
    add(Figure::SmallPackets, small_packets(lab, &to, args.seconds)? / 1e3);
    let mut trips = round_trips(lab, &to, 400)?;
    trips.sort_by(f64::total_cmp);
    add(Figure::RoundTrip, trips[trips.len() / 2]);
    add(Figure::RoundTripP99, trips[trips.len() * 99 / 100]);
    if !contender.processes.is_empty() {
        let before = process_seconds(&contender.processes);
        std::thread::sleep(Duration::from_secs(2));
        add(Figure::IdleCpu, (process_seconds(&contender.processes) - before) / 2.0 * 100.0);
        add(Figure::Memory, resident_megabytes(&contender.processes));
    }
    Ok(())
}

/// TCP through iperf3, cubic: bit/s, and bytes, at the receiver.
fn iperf(lab: &Lab, to: &str, seconds: f64, streams: u32) -> anyhow::Result<(f64, f64)> {
    let mut command = lab.command(0, Path::new("timeout"));
    command.args([&format!("{}", seconds + 10.0), "iperf3", "--json", "-C", "cubic", "-c", to]);
    command.args(["-t", &seconds.to_string(), "-P", &streams.to_string()]);
    let output = run_command(&mut command)?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let sum = &report["end"]["sum_received"];
    let number = |name: &str| sum[name].as_f64().with_context(|| format!("iperf3 reports no {name}"));
    Ok((number("bits_per_second")?, number("bytes")?))
}

fn small_packets(lab: &Lab, to: &str, seconds: f64) -> anyhow::Result<f64> {
    let text = probe(lab, &["blast", "--to", &format!("{to}:9000"), "--seconds", &seconds.to_string()])?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match numbers[..] {
        [_sent, count, span] if span > 0.0 => Ok(count / (span / 1e9)),
        _ => bail!("no small datagrams arrive"),
    }
}

/// In microseconds.
fn round_trips(lab: &Lab, to: &str, count: usize) -> anyhow::Result<Vec<f64>> {
    let text = probe(lab, &["ping", "--to", &format!("{to}:9000"), "--count", &count.to_string()])?;
    let trips: Vec<f64> = text.lines().filter_map(|n| n.parse::<f64>().ok()).map(|ns| ns / 1e3).collect();
    if trips.is_empty() {
        bail!("no answer from {to}");
    }
    Ok(trips)
}

fn probe(lab: &Lab, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = lab.command(0, &std::env::current_exe()?);
    Ok(String::from_utf8(run_command(command.args(arguments))?.stdout)?)
}

/// CPU time of the machine since it started, but for idling.
fn cpu_seconds() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let first = text.lines().next().context("an empty /proc/stat")?;
    let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user, (nice: other people's work), system, (idle, I/O wait), interrupts
    Ok([0, 2, 5, 6].into_iter().filter_map(|n| ticks.get(n)).sum::<u64>() as f64 / TICKS)
}

/// `USER_HZ`, which is the same everywhere.
const TICKS: f64 = 100.0;

fn process_seconds(processes: &[u32]) -> f64 {
    let seconds = |id: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // After the name, which is in parentheses: state, then 10 more, then user and system.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        (ticks(11) + ticks(12)) as f64 / TICKS
    };
    processes.iter().map(seconds).sum()
}

fn resident_megabytes(processes: &[u32]) -> f64 {
    let kilobytes = |id: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    processes.iter().map(kilobytes).sum::<u64>() as f64 / 1024.0
}

/// The version of a program, for the report.
pub(crate) fn kernel() -> String {
    Command::new("uname")
        .arg("-r")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
