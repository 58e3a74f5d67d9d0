//! What inference costs the data path.
//!
//! `cargo run --release -p vnet-benches --bin inference`

mod daemon;
mod planes;
mod statistics;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::daemon::{Inference, TICK};
use crate::planes::Planes;
use crate::statistics::{Spread, percent};

/// Measure what VTTIF and Wren cost.
///
/// Two data planes in this process, joined by a UDP link over loopback; frames go
/// from a port of the first to one of the second as fast as they can, all the time. With
/// inference, a thread does what daemons do: it reads the traffic matrices and what
/// has arrived 20 times a second, makes reports of them and estimates the path.
///
/// Slices of time with and without inference take turns (ABBA) in one stream of
/// frames, on the same planes, so that neither the layout of memory nor the machine's
/// moods favour either. Some dozens make a block, in which everything that inference does
/// now and then has had its turn; each block gives one ratio of "with" to "without".
/// As a control, the slices without are also compared among each other.
#[derive(Parser)]
#[command(name = "inference", version, about)]
struct Options {
    /// How many pairs of addresses are active
    #[arg(long, value_delimiter = ',', default_value = "64,10000")]
    pairs: Vec<u32>,
    /// How many blocks to measure
    #[arg(long, default_value_t = 40)]
    blocks: usize,
    /// How often a block has a slice without, two with and another without
    #[arg(long, default_value_t = 12)]
    turns: usize,
    /// How many times inference has its turn in a slice, 50 ms each
    #[arg(long, default_value_t = 2)]
    ticks: u32,
    /// The length of a frame, in bytes
    #[arg(long, default_value_t = 1400)]
    frame: usize,
    /// Let the kernel move the two workers from core to core
    #[arg(long)]
    unpinned: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    pairs: u32,
    /// Medians over all blocks, without inference.
    gbit_per_s: f64,
    cpu_s_per_gb: f64,
    /// "With" by "without", less 1, in percent.
    throughput: Spread,
    cpu_per_gb: Spread,
    /// Half of the slices without by the other half.
    control_throughput: Spread,
    control_cpu_per_gb: Spread,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options).and_then(|rows| print(&rows, options.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inference: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(rows: &[Row], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    println!("What inference costs: medians, and where they are with 95 %, in percent");
    println!(
        "pairs  Gbit/s  CPU s/GB  throughput              CPU per GB              control: throughput     CPU per GB"
    );
    for row in rows {
        println!(
            "{:5}  {:6.2}  {:8.3}  {:22}  {:22}  {:22}  {:22}",
            row.pairs,
            row.gbit_per_s,
            row.cpu_s_per_gb,
            row.throughput.to_string(),
            row.cpu_per_gb.to_string(),
            row.control_throughput.to_string(),
            row.control_cpu_per_gb.to_string(),
        );
    }
    Ok(())
}

fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    options.pairs.iter().map(|&pairs| measure_pairs(options, pairs)).collect()
}

fn measure_pairs(options: &Options, pairs: u32) -> anyhow::Result<Row> {
    let planes = Planes::start(pairs, options.frame)?;
    if !options.unpinned {
        planes::pin_workers()?;
    }
    let mut inference = Inference::start(&planes)?;
    // The caches fill.
    block(options, &planes, &mut inference)?;
    let blocks: Vec<Block> = (0..options.blocks)
        .map(|_| block(options, &planes, &mut inference))
        .collect::<anyhow::Result<_>>()?;
    let spread = |ratio: &dyn Fn(&Block) -> f64| Spread::of(blocks.iter().map(ratio).collect());
    Ok(Row {
        pairs,
        gbit_per_s: spread(&|b| b.without().gbit_per_s()).median,
        cpu_s_per_gb: spread(&|b| b.without().cpu_s_per_gb()).median,
        throughput: spread(&|b| percent(b.with.gbit_per_s(), b.without().gbit_per_s())),
        cpu_per_gb: spread(&|b| percent(b.with.cpu_s_per_gb(), b.without().cpu_s_per_gb())),
        control_throughput: spread(&|b| percent(b.halves[0].gbit_per_s(), b.halves[1].gbit_per_s())),
        control_cpu_per_gb: spread(&|b| percent(b.halves[0].cpu_s_per_gb(), b.halves[1].cpu_s_per_gb())),
    })
}

/// What went through in some time.
#[derive(Clone, Copy, Default)]
struct Amount {
    bytes: f64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.seconds += other.seconds;
        self.cpu_seconds += other.cpu_seconds;
    }

    fn gbit_per_s(&self) -> f64 {
        self.bytes * 8.0 / 1e9 / self.seconds
    }

    fn cpu_s_per_gb(&self) -> f64 {
        self.cpu_seconds / (self.bytes / 1e9)
    }
}

struct Block {
    with: Amount,
    /// Without inference; each has as many slices before those with as after them.
    halves: [Amount; 2],
}

impl Block {
    fn without(&self) -> Amount {
        let [mut sum, other] = self.halves;
        sum.add(other);
        sum
    }
}

fn block(options: &Options, planes: &Planes, inference: &mut Inference) -> anyhow::Result<Block> {
    let mut block = Block { with: Amount::default(), halves: [Amount::default(); 2] };
    for turn in 0..options.turns {
        block.halves[turn % 2].add(slice(options, planes, |_| Ok(()))?);
        for _ in 0..2 {
            block.with.add(slice(options, planes, |planes| inference.tick(planes))?);
        }
        block.halves[1 - turn % 2].add(slice(options, planes, |_| Ok(()))?);
    }
    Ok(block)
}

fn slice(
    options: &Options,
    planes: &Planes,
    mut tick: impl FnMut(&Planes) -> anyhow::Result<()>,
) -> anyhow::Result<Amount> {
    let (begun, bytes, cpu) = (Instant::now(), planes.delivered_bytes(), cpu_seconds());
    for number in 1..=options.ticks {
        tick(planes)?;
        thread::sleep((begun + TICK * number).saturating_duration_since(Instant::now()));
    }
    let amount = Amount {
        bytes: planes.delivered_bytes() - bytes,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds() - cpu,
    };
    anyhow::ensure!(amount.bytes > 0.0, "no frame arrives any more; were all that may be under way lost?");
    Ok(amount)
}

/// Processor time that this process has used, in seconds.
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32).as_secs_f64()
}
