//! What inference costs the data path.
//!
//! `cargo run --release -p vnet-benches --bin inference`

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use rustix::thread::Pid;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use vnet_core::control::{Body, Envelope, LinkSpec, Notice, TrafficEntry, TrafficReport, encode};
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
/// note the arrivals of datagrams, and beside them a thread does what daemons do: it
/// reads the traffic matrices 20 times a second, makes reports of them and estimates
/// the path. Short rounds with and without inference take turns on the same planes
/// (ABBA), so that neither the layout of memory nor the machine's moods favour
/// either.
#[derive(Parser)]
#[command(name = "inference", version, about)]
struct Options {
    /// How many pairs of addresses are active
    #[arg(long, value_delimiter = ',', default_value = "64,10000")]
    pairs: Vec<u32>,
    /// How many rounds with and how many without
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// The length of a round, in milliseconds
    #[arg(long, default_value_t = 250)]
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
    /// Where those medians are with a probability of 95 % (by the ranks of a sign test).
    throughput_interval: (f64, f64),
    cpu_interval: (f64, f64),
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
                    row.throughput_interval.0,
                    row.throughput_interval.1,
                    row.cpu_percent,
                    row.cpu_interval.0,
                    row.cpu_interval.1,
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
        let planes = Pair::start()?;
        let mut daemon = Inference::default();
        let round = |daemon: Option<&mut Inference>| planes.round(pairs, options.frame, length, daemon);
        // The caches fill.
        round(None)?;
        round(Some(&mut daemon))?;
        let (mut plain, mut throughput, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..options.rounds {
            // Who is first takes turns, too.
            let (a, b) = match number % 2 {
                0 => {
                    let a = round(None)?;
                    (a, round(Some(&mut daemon))?)
                }
                _ => {
                    let b = round(Some(&mut daemon))?;
                    (round(None)?, b)
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
            throughput_interval: interval(throughput),
            cpu_interval: interval(cpu),
        });
    }
    Ok(rows)
}

/// Between which of the values their distribution's median is, with a probability of
/// 95 %: how many are below it is binomially distributed.
fn interval(values: Vec<f64>) -> (f64, f64) {
    let reach = 0.98 / (values.len() as f64).sqrt();
    (quantile(values.clone(), 0.5 - reach), quantile(values, 0.5 + reach))
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share).max(0.0) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

const NETWORK: NetworkId = NetworkId(1);

/// How many frames may be under way.
const WINDOW: u64 = 512;

/// Two data planes and a link.
struct Pair {
    from: DataPlane,
    to: DataPlane,
    sender: ChannelEnd,
    receiver: Mutex<ChannelEnd>,
}

impl Pair {
    fn start() -> anyhow::Result<Self> {
        let host = |name: &str| HostName::new(name);
        let plane = |name: &str, incarnation| -> anyhow::Result<DataPlane> {
            let config = DataPlaneConfig {
                bind: Some("127.0.0.1:0".parse()?),
                incarnation,
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
        Ok(Self { from, to, sender, receiver: Mutex::new(receiver) })
    }

    /// Sends for `length`: Gbit/s, and CPU seconds of this process for each gigabyte.
    fn round(
        &self,
        pairs: u32,
        length_of_frame: usize,
        length: Duration,
        daemon: Option<&mut Inference>,
    ) -> anyhow::Result<(f64, f64)> {
        for plane in [&self.from, &self.to] {
            plane.measure_paths(daemon.is_some())?;
        }
        let stop = AtomicBool::new(false);
        let received = AtomicU64::new(0);
        let cpu = worker_seconds()?;
        let begun = Instant::now();
        let receiver = &self.receiver;
        let (sent, inference) = thread::scope(|scope| {
            let (from, to, stop) = (&self.from, &self.to, &stop);
            let daemon = daemon.map(|daemon| scope.spawn(move || daemon.run(from, to, stop)));
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
            (sent, daemon.map(thread::ScopedJoinHandle::join))
        });
        let seconds = begun.elapsed().as_secs_f64();
        let mut cpu = worker_seconds()? - cpu;
        if let Some(inference) = inference {
            cpu += inference.map_err(|_| anyhow::anyhow!("the daemon's thread panicked"))??;
        }
        // What was still under way is not of the next round.
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        while receiver.receive_within(Duration::from_millis(20)).is_some() {}
        let bytes = received.load(Ordering::Relaxed) as f64 * length_of_frame as f64;
        anyhow::ensure!(bytes > 0.0, "none of {sent} frames arrived");
        Ok((bytes * 8.0 / 1e9 / seconds, cpu / (bytes / 1e9)))
    }
}

/// What daemons do besides forwarding, in all rounds with inference.
struct Inference {
    estimator: PathEstimator,
    reported: HashMap<(MacAddr, MacAddr), u64>,
    sequence: u64,
    next_matrix: Instant,
    tick: u32,
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            estimator: PathEstimator::new(Parameters::default()),
            reported: HashMap::new(),
            sequence: 0,
            next_matrix: Instant::now(),
            tick: 0,
        }
    }
}

impl Inference {
    /// The matrix and the arrivals 20 times a second, and an estimate every second.
    /// Returns the processor time that it took, in seconds.
    fn run(&mut self, from: &DataPlane, to: &DataPlane, stop: &AtomicBool) -> anyhow::Result<f64> {
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
            if Instant::now() >= self.next_matrix {
                let matrices = [from.traffic()?, to.traffic()?];
                // As a daemon does: a large matrix less often.
                self.next_matrix = Instant::now() + Duration::from_micros(80) * matrices[0].len() as u32;
                for matrix in matrices {
                    self.report(matrix)?;
                }
            }
            from.take_arrivals()?;
            let mut latest = 0;
            for arrivals in to.take_arrivals()? {
                latest = arrivals.entries.last().map_or(0, |arrival| arrival.arrived_ns);
                self.estimator.add(arrivals.entries.iter().map(|arrival| Sample {
                    sequence: arrival.sequence,
                    sent_ns: arrival.sent_ns,
                    arrived_ns: arrival.arrived_ns,
                    bytes: arrival.bytes + 42,
                }));
            }
            self.tick += 1;
            if self.tick.is_multiple_of(20) {
                std::hint::black_box(self.estimator.estimate(latest));
            }
        }
        let used = clock_gettime(ClockId::ThreadCPUTime);
        Ok(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9)
    }

    /// What has changed, as it goes to the Proxy.
    fn report(&mut self, mut entries: Vec<TrafficEntry>) -> anyhow::Result<()> {
        entries.retain(|entry| {
            let frames = entry.sent_frames + entry.received_frames;
            self.reported.insert((entry.source, entry.destination), frames) != Some(frames)
        });
        self.sequence += 1;
        let (host, sequence) = (HostName::new("a")?, self.sequence);
        let report = TrafficReport { host, incarnation: 1, sequence, entries };
        let envelope = Envelope { id: 0, body: Body::Notice(Notice::Traffic(report)) };
        std::hint::black_box(encode(&envelope)?);
        Ok(())
    }
}

/// The workers of all data planes.
fn workers() -> anyhow::Result<Vec<Pid>> {
    let mut workers = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?;
        // Other threads end while they are looked at.
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim() == "vnet-worker" {
            let number = task.file_name().to_string_lossy().parse()?;
            workers.extend(Pid::from_raw(number));
        }
    }
    Ok(workers)
}

/// Processor time that the workers of all data planes have used, in seconds.
fn worker_seconds() -> anyhow::Result<f64> {
    let mut nanoseconds = 0.0;
    for worker in workers()? {
        let used = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", worker.as_raw_nonzero()))?;
        let used = used.split(' ').next().and_then(|first| first.parse::<f64>().ok());
        nanoseconds += used.context("the kernel does not tell the processor time of threads")?;
    }
    Ok(nanoseconds / 1e9)
}
