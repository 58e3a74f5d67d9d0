//! Measures what the solvers of `vadapt` reach, line by line, against the best values known.
#![forbid(unsafe_code)]

mod best;
mod instances;
mod lines;
mod measure;
mod report;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};

/// Measures the solvers of adaptation problems.
///
/// Each line is one class of problems, made from fixed seeds. Values are compared with the best
/// known from any solver, which stand in `benches/data/adaptation.tsv`; `--record` lets a long search
/// improve them.
#[derive(Debug, Parser)]
#[command(name = "adaptation")]
struct Args {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    lines: Vec<Line>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print every instance.
    #[arg(short, long)]
    verbose: bool,
    /// Only instances whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Leave out the solvers of the papers.
    #[arg(long)]
    search_only: bool,
    /// Other limits than those of the line, in milliseconds.
    #[arg(long, value_delimiter = ',')]
    limits: Vec<u64>,
    /// Instead of measuring, write the problems to this directory, as JSON.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Instead of measuring, search for better values, for so many seconds per instance.
    #[arg(long)]
    record: Option<f64>,
    /// The seed of the solvers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The best values known.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/adaptation.tsv"))]
    best: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Line {
    /// Everything.
    All,
    /// 4 to 8 hosts at 50 ms, against proven optima.
    Small,
    /// 16 to 32 hosts at 100 ms and 1 s.
    Medium,
    /// 64 to 700 hosts at 100 ms, 1 s and 10 s.
    Large,
    /// 1,000 to 4,000 hosts: first solution, 5 s and 30 s.
    Huge,
    /// Tight problems at 1 s.
    Tight,
    /// Routing alone at 100 and 1,000 hosts.
    Routing,
    /// Re-adaptation over 100 steps of drift.
    Readapt,
    /// Time and memory per decision against size.
    Growth,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut best = best::Best::read(&args.best)?;
    let wanted = |line: Line| args.lines.contains(&line) || args.lines.contains(&Line::All);
    let mut report = report::Report::default();
    let limits = |list: &[u64]| list.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
    let classes: [(Line, &str, Vec<instances::Instance>, Vec<Duration>); 7] = [
        (Line::Small, "1 small", instances::small(), limits(&[45])),
        (Line::Medium, "1 medium", instances::medium(), limits(&[100, 1000])),
        (Line::Large, "2 large", instances::large(), limits(&[100, 1000, 10_000])),
        (Line::Huge, "3 huge", instances::huge(), limits(&[200, 5000, 30_000])),
        (Line::Tight, "4 tight", instances::tight(), limits(&[1000])),
        (Line::Routing, "5 routing, 100 hosts", instances::routing(100), limits(&[10])),
        (Line::Routing, "5 routing, 1,000 hosts", instances::routing(1000), limits(&[500])),
    ];
    for (line, title, mut instances, mut limits) in classes {
        if !wanted(line) {
            continue;
        }
        instances.retain(|instance| instance.name.contains(&args.only));
        if !args.limits.is_empty() {
            limits = args.limits.iter().map(|ms| Duration::from_millis(*ms)).collect();
        }
        if let Some(directory) = &args.write {
            for instance in &instances {
                let path = directory.join(format!("{}.json", instance.name));
                fs::write(&path, instance.problem()?.to_json())
                    .with_context(|| path.display().to_string())?;
            }
            continue;
        }
        if let Some(seconds) = args.record {
            measure::record(&instances, Duration::from_secs_f64(seconds), args.seed, &mut best)?;
            best.write(&args.best)?;
            continue;
        }
        let how = measure::How { seed: args.seed, verbose: args.verbose, search_only: args.search_only };
        report.rows.extend(measure::class(title, &instances, &limits, how, &mut best)?);
    }
    if args.record.is_none() && args.write.is_none() {
        if wanted(Line::Readapt) {
            report.drift = lines::readapt()?;
        }
        if wanted(Line::Growth) {
            (report.sizes, report.exponents) = lines::growth()?;
        }
        best.write(&args.best)?;
    }
    report.print(args.json)
}
