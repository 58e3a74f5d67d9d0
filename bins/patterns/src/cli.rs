//! The command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser};
use vnet_core::Shape;

use crate::error::Error;
use crate::io::{ReportTo, run_to_report, stop_pair};
use crate::local::Local;
use crate::options::Options;
use crate::pattern::{Operation, Pattern};
use crate::report::{Rates, Summary, Throughput};
use crate::units::{parse_duration, parse_size};
use crate::workload::{Compute, Workload};

const LONG_ABOUT: &str = "\
A bulk synchronous parallel program over TCP: alternating compute and
communication phases, as in the VTTIF and VADAPT papers.

Every rank is a process of its own, in the papers one in each VM:

    patterns --rank 0 --peers 10.0.0.1:7000,10.0.0.2:7000 --shape bus
    patterns --rank 1 --peers 10.0.0.1:7000,10.0.0.2:7000 --shape bus

`patterns local` runs all ranks in one process instead, over loopback.";

/// A bulk synchronous parallel program over TCP
#[derive(Parser, Debug)]
#[command(name = "patterns", version, long_about = LONG_ABOUT, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
#[command(after_help = "Exit status: 0 the run came to its end, 1 it failed, 2 wrong usage.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    rank: Option<RankArgs>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Run all ranks in one process, over loopback.
    Local {
        /// How many ranks.
        #[arg(long, short = 'n', value_name = "N", default_value_t = 8)]
        ranks: usize,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Print who exchanges messages with whom.
    Edges {
        /// How many ranks.
        #[arg(long, short = 'n', value_name = "N", default_value_t = 8)]
        ranks: usize,
        /// The graph of the ranks: star, ring, bus, mesh[:AxB..], torus[:AxB..], hypercube, tree, all-to-all.
        #[arg(long, default_value_t = Shape::AllToAll)]
        shape: Shape,
        /// What a communication phase does.
        #[arg(long, value_enum, default_value_t = Operation::Neighbour)]
        operation: Operation,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
struct RankArgs {
    /// Which of the peers this process is, from 0.
    #[arg(long, value_name = "R", required = true)]
    rank: usize,
    /// The addresses of all ranks in order, this one's own included.
    #[arg(long, value_name = "IP:PORT,...", required = true, value_delimiter = ',')]
    peers: Vec<SocketAddr>,
    /// Listen here instead of at the rank's own address among the peers.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
}

#[derive(Args, Debug)]
struct CommonArgs {
    /// The graph of the ranks: star, ring, bus, mesh[:AxB..], torus[:AxB..], hypercube, tree, all-to-all.
    #[arg(long, default_value_t = Shape::AllToAll)]
    shape: Shape,
    /// What a communication phase does.
    #[arg(long, value_enum, default_value_t = Operation::Neighbour)]
    operation: Operation,
    /// The size of a message, such as 100, 8KiB, 1MB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "8KiB")]
    message: u64,
    /// How long a compute phase takes, such as 500us, 1ms.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0")]
    compute: Duration,
    /// Compute so much longer than sending the messages of an iteration would take at 100 Mbit/s.
    #[arg(long, value_name = "X", conflicts_with = "compute")]
    ratio: Option<f64>,
    /// Use the processor while computing, instead of sleeping.
    #[arg(long)]
    busy: bool,
    /// End after so many iterations.
    #[arg(long, value_name = "N")]
    iterations: Option<u64>,
    /// End after this time; without it and --iterations the run goes on until SIGTERM or SIGINT.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Write a report in JSON lines to a file, or `-` for standard output.
    #[arg(long, value_name = "FILE")]
    report: Option<ReportTo>,
    /// How often a sample is reported.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "100ms")]
    interval: Duration,
    /// How long to wait for all peers at the start.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    startup: Duration,
    /// How long to wait for a lost peer to come back.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    patience: Duration,
    /// How long to wait for the peers' goodbyes when stopping.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    linger: Duration,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the program with these arguments, the first of which is its name:
/// so that another program can be a rank when it is started as one.
///
/// Logs go to the subscriber of `tracing` that the caller has set.
pub fn main_from_args<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Nothing is left to tell if the message itself can't be printed.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("patterns: {e:#}");
            match e.downcast_ref::<Error>() {
                Some(e) if e.is_usage() => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<()> {
    match (cli.command, cli.rank) {
        (Some(Command::Local { ranks, common }), _) => run_local(ranks, &common),
        (Some(Command::Edges { ranks, shape, operation, json }), _) => {
            let pattern = Pattern::new(&shape, operation, ranks).map_err(Error::from)?;
            print_edges(&pattern, json)
        }
        (None, Some(rank)) => run_rank(rank, &cli.common),
        (None, None) => anyhow::bail!("--rank and --peers are needed; see patterns --help"),
    }
}

fn run_rank(args: RankArgs, common: &CommonArgs) -> anyhow::Result<()> {
    let workload = common.workload(args.peers.len())?;
    let mut options = Options::new(args.rank, args.peers, workload);
    options.listen = args.listen;
    options.report = common.report.clone();
    common.apply(&mut options);
    let (stopper, stop) = stop_pair().context("can't make a pair of sockets")?;
    stopper.on_signals().context("can't handle SIGTERM and SIGINT")?;
    let summary = run_to_report(options, &stop)?;
    // A report on standard output has the summary already.
    if common.report == Some(ReportTo::Stdout) {
        return Ok(());
    }
    let text = if common.json { serde_json::to_string(&summary)? } else { summary.to_string() };
    writeln!(io::stdout(), "{text}").context("can't write to standard output")
}

fn run_local(ranks: usize, common: &CommonArgs) -> anyhow::Result<()> {
    let workload = common.workload(ranks)?;
    let mut local = Local::bind(&workload, ranks)?;
    local.options_mut().for_each(|options| common.apply(options));
    local.stopper().on_signals().context("can't handle SIGTERM and SIGINT")?;
    let mut throughput = Throughput::new(ranks);
    let mut report = match &common.report {
        Some(report) => Some(report.open().with_context(|| format!("can't open {report}"))?),
        None => None,
    };
    let summaries = local.run(|record| {
        throughput.add_record(record);
        report.as_mut().map_or(Ok(()), |write| write(record))
    })?;
    let rates = throughput.span().and_then(|(from, to)| throughput.rates(from, to)).unwrap_or_default();
    if common.report == Some(ReportTo::Stdout) {
        return Ok(());
    }
    let text = match common.json {
        true => serde_json::to_string(&serde_json::json!({ "rates": rates, "ranks": summaries }))? + "\n",
        false => table(&workload, rates, &summaries),
    };
    io::stdout().write_all(text.as_bytes()).context("can't write to standard output")
}

fn table(workload: &Workload, rates: Rates, summaries: &[Summary]) -> String {
    let mut text = format!(
        "{workload}\n\n{:>4}  {:>10}  {:>9}  {:>10}  {:>10}  {:>12}  {:>5}  ended\n",
        "rank", "iterations", "a second", "sent", "received", "longest (ms)", "lost"
    );
    for Summary { total, iterations_per_s, longest_iteration_ms, ended, .. } in summaries {
        text += &format!(
            "{:>4}  {:>10}  {:>9.1}  {:>10}  {:>10}  {:>12.1}  {:>5}  {ended}\n",
            total.rank,
            total.iterations,
            iterations_per_s,
            total.bytes_sent,
            total.bytes_received,
            longest_iteration_ms,
            total.connections_lost,
        );
    }
    text += &format!(
        "\n{:.1} iterations/s, {:.2} Mbit/s received by all ranks\n",
        rates.iterations_per_s, rates.mbit_per_s
    );
    text
}

fn print_edges(pattern: &Pattern, json: bool) -> anyhow::Result<()> {
    let text = match json {
        true => serde_json::to_string(&pattern.edges())? + "\n",
        false => pattern.edges().iter().map(|(a, b)| format!("{a} {b}\n")).collect(),
    };
    io::stdout().write_all(text.as_bytes()).context("can't write to standard output")
}

impl CommonArgs {
    fn workload(&self, ranks: usize) -> anyhow::Result<Workload> {
        let mut workload = Workload {
            shape: self.shape.clone(),
            operation: self.operation,
            message: self.message,
            compute: Compute { time: self.compute, busy: self.busy },
            iterations: self.iterations,
        };
        let pattern = workload.pattern(ranks)?;
        if let Some(ratio) = self.ratio {
            workload.compute = Compute { busy: self.busy, ..Compute::ratio(ratio, &pattern, self.message)? };
        }
        Ok(workload)
    }

    fn apply(&self, options: &mut Options) {
        options.duration = self.duration;
        options.interval = self.interval;
        options.startup = self.startup;
        options.patience = self.patience;
        options.linger = self.linger;
    }
}
