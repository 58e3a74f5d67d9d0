//! What inference costs the data path.
//!
//! `cargo run --release -p vnet-benches --bin inference`

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use vnet_core::control::LinkSpec;
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, Link, LinkKind, MacAddr, NetworkId, Rule, Source,
};
use vnet_fwd::channel::{self, ChannelEnd};
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption};
use wren::{Parameters, PathEstimator, Sample};

/// Measure what VTTIF and Wren cost.
///
/// Two data planes in this process, joined by a UDP link over loopback; frames go
/// from a port of the first to one of the second. With inference, the planes
/// note the arrivals of datagrams, and beside them a thread does what a daemon does:
/// it reads the traffic matrix 20 times a second and estimates the path. Rounds with
/// and without inference take turns.
#[derive(Parser)]
#[command(name = "inference", version, about)]
struct Options {
    /// How many pairs of addresses are active
    #[arg(long, value_delimiter = ',', default_value = "64,10000")]
    pairs: Vec<u32>,
    /// How many rounds with and how many without
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// The length of a round, in milliseconds
    #[arg(long, default_value_t = 1000)]
    length: u64,
    /// The length of a frame, in bytes
    #[arg(long, default_value_t = 1400)]
    frame: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    pairs: u32,
    /// Medians without inference.
    gbit_per_s: f64,
    cpu_s_per_gb: f64,
    /// Medians over neighbouring rounds of "with" by "without", less 1, in percent.
    throughput_percent: f64,
    cpu_percent: f64,
    /// Their quartiles.
    throughput_quartiles: (f64, f64),
    cpu_quartiles: (f64, f64),
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options) {
        Ok(rows) if options.json => match serde_json::to_string_pretty(&rows) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("inference: {error}");
                return ExitCode::FAILURE;
            }
        },
        Ok(rows) => {
            println!("pairs  Gbit/s  CPU s/GB  throughput with inference %  CPU per GB with inference %");
            for row in rows {
                println!(
                    "{:5}  {:6.2}  {:8.3}  {:+7.2} ({:+.2} to {:+.2})         {:+7.2} ({:+.2} to {:+.2})",
                    row.pairs,
                    row.gbit_per_s,
                    row.cpu_s_per_gb,
                    row.throughput_percent,
                    row.throughput_quartiles.0,
                    row.throughput_quartiles.1,
                    row.cpu_percent,
                    row.cpu_quartiles.0,
                    row.cpu_quartiles.1,
                );
            }
        }
        Err(error) => {
            eprintln!("inference: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let length = Duration::from_millis(options.length);
    let mut rows = Vec::new();
    for &pairs in &options.pairs {
        let without = Pair::start(false)?;
        let with = Pair::start(true)?;
        // The caches fill.
        without.round(pairs, options.frame, length)?;
        with.round(pairs, options.frame, length)?;
        let (mut plain, mut throughput, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..options.rounds {
            // Who is first takes turns, too.
            let (a, b) = match round % 2 {
                0 => {
                    let a = without.round(pairs, options.frame, length)?;
                    (a, with.round(pairs, options.frame, length)?)
                }
                _ => {
                    let b = with.round(pairs, options.frame, length)?;
                    (without.round(pairs, options.frame, length)?, b)
                }
            };
            plain.push(a);
            throughput.push((b.0 / a.0 - 1.0) * 100.0);
            cpu.push((b.1 / a.1 - 1.0) * 100.0);
        }
        rows.push(Row {
            pairs,
            gbit_per_s: quantile(plain.iter().map(|round| round.0).collect(), 0.5),
            cpu_s_per_gb: quantile(plain.iter().map(|round| round.1).collect(), 0.5),
            throughput_percent: quantile(throughput.clone(), 0.5),
            cpu_percent: quantile(cpu.clone(), 0.5),
            throughput_quartiles: (quantile(throughput.clone(), 0.25), quantile(throughput, 0.75)),
            cpu_quartiles: (quantile(cpu.clone(), 0.25), quantile(cpu, 0.75)),
        });
    }
    Ok(rows)
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

const NETWORK: NetworkId = NetworkId(1);

/// How many frames may be under way.
const WINDOW: u64 = 512;

/// Two data planes and a link.
struct Pair {
    from: Arc<DataPlane>,
    to: Arc<DataPlane>,
    sender: ChannelEnd,
    receiver: Mutex<ChannelEnd>,
    inference: bool,
}

impl Pair {
    fn start(inference: bool) -> anyhow::Result<Self> {
        let host = |name: &str| HostName::new(name);
        let plane = |name: &str, incarnation| -> anyhow::Result<DataPlane> {
            let config = DataPlaneConfig {
                bind: Some("127.0.0.1:0".parse()?),
                incarnation,
                measure_paths: inference,
                encryption: Encryption::None,
                ..DataPlaneConfig::new(host(name)?)
            };
            Ok(DataPlane::start(config)?)
        };
        let (from, to) = (plane("a", 1)?, plane("b", 2)?);
        let link = Link { kind: LinkKind::Udp, opener: host("a")?, a: host("a")?, b: host("b")? };
        to.add_link(LinkSpec { link: link.clone(), peer: None })?;
        from.add_link(LinkSpec { link, peer: to.address() })?;
        let name = InterfaceName::new("vm")?;
        let (port, sender) = channel::pair(1024)?;
        from.add_port(name.clone(), NETWORK, Box::new(port))?;
        let (port, receiver) = channel::pair(1024)?;
        to.add_port(name.clone(), NETWORK, Box::new(port))?;
        let every = |action| Rule { source: Source::Any, destination: Destination::Default, action };
        from.add_rule(NETWORK, every(Action::Edge(EdgeRef { from: host("a")?, to: host("b")? })))?;
        to.add_rule(NETWORK, every(Action::Interface(name)))?;
        let end = Instant::now() + Duration::from_secs(10);
        while !from.links()?.iter().chain(&to.links()?).all(|link| link.state.up) {
            anyhow::ensure!(Instant::now() < end, "the link does not come up");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { from: Arc::new(from), to: Arc::new(to), sender, receiver: Mutex::new(receiver), inference })
    }

    /// Sends for `length`: Gbit/s, and CPU seconds of this process for each gigabyte.
    fn round(&self, pairs: u32, length_of_frame: usize, length: Duration) -> anyhow::Result<(f64, f64)> {
        let stop = Arc::new(AtomicBool::new(false));
        let daemon = self.inference.then(|| {
            let (from, to, stop) = (Arc::clone(&self.from), Arc::clone(&self.to), Arc::clone(&stop));
            thread::spawn(move || infer(&from, &to, &stop))
        });
        let received = AtomicU64::new(0);
        let cpu = worker_seconds()?;
        let begun = Instant::now();
        let receiver = &self.receiver;
        let sent = thread::scope(|scope| {
            scope.spawn(|| {
                let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
                while !stop.load(Ordering::Relaxed) {
                    if receiver.receive_within(Duration::from_millis(1)).is_some() {
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let mut frame = vec![0; length_of_frame.max(60)];
            frame[12..14].copy_from_slice(&0x88b5_u16.to_be_bytes());
            let (mut sent, mut progress) = (0_u64, (0, Instant::now()));
            while begun.elapsed() < length {
                let done = received.load(Ordering::Relaxed);
                if done != progress.0 {
                    progress = (done, Instant::now());
                }
                // Whatever is lost must not stop the window for ever.
                if sent - done >= WINDOW && progress.1.elapsed() < Duration::from_millis(20) {
                    thread::sleep(Duration::from_micros(20));
                    continue;
                }
                let pair = (sent % u64::from(pairs)) as u32;
                frame[..6].copy_from_slice(&MacAddr::local(pair / 100 + 1).0);
                frame[6..12].copy_from_slice(&MacAddr::local(100_000 + pair % 100).0);
                if self.sender.send(&frame) {
                    sent += 1;
                } else {
                    thread::sleep(Duration::from_micros(20));
                }
            }
            stop.store(true, Ordering::Relaxed);
            sent
        });
        let seconds = begun.elapsed().as_secs_f64();
        let mut cpu = worker_seconds()? - cpu;
        if let Some(daemon) = daemon {
            cpu += daemon.join().map_err(|_| anyhow::anyhow!("the daemon's thread panicked"))??;
        }
        // What was still under way is not of the next round.
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        while receiver.receive_within(Duration::from_millis(20)).is_some() {}
        let bytes = received.load(Ordering::Relaxed) as f64 * length_of_frame as f64;
        anyhow::ensure!(bytes > 0.0, "none of {sent} frames arrived");
        Ok((bytes * 8.0 / 1e9 / seconds, cpu / (bytes / 1e9)))
    }
}

/// What daemons do besides: the matrix and the arrivals 20 times a second, and an
/// estimate every second. Returns the processor time that it took, in seconds.
fn infer(from: &DataPlane, to: &DataPlane, stop: &AtomicBool) -> anyhow::Result<f64> {
    let mut estimator = PathEstimator::new(Parameters::default());
    let mut tick = 0_u32;
    let mut next_matrix = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
        if Instant::now() >= next_matrix {
            let matrices = [from.traffic()?, to.traffic()?];
            // As a daemon does: a large matrix less often.
            next_matrix = Instant::now() + Duration::from_micros(50) * matrices[0].len() as u32;
            std::hint::black_box(matrices);
        }
        from.take_arrivals()?;
        let mut latest = 0;
        for arrivals in to.take_arrivals()? {
            latest = arrivals.entries.last().map_or(0, |arrival| arrival.arrived_ns);
            estimator.add(arrivals.entries.iter().map(|arrival| Sample {
                sequence: arrival.sequence,
                sent_ns: arrival.sent_ns,
                arrived_ns: arrival.arrived_ns,
                bytes: arrival.bytes + 42,
            }));
        }
        tick += 1;
        if tick.is_multiple_of(20) {
            std::hint::black_box(estimator.estimate(latest));
        }
    }
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Ok(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9)
}

/// Processor time that the workers of all data planes have used, in seconds.
fn worker_seconds() -> anyhow::Result<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // Other threads end while they are looked at.
        let read = |file: &str| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        if read("comm").trim() == "vnet-worker" {
            let used = read("schedstat");
            let used = used.split(' ').next().and_then(|first| first.parse::<f64>().ok());
            nanoseconds += used.context("the kernel does not tell the processor time of threads")?;
        }
    }
    Ok(nanoseconds / 1e9)
}
