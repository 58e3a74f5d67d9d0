//! The program: flags, and what is printed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use vmmpd::client::Target;
use vnet_core::NetworkId;
use vnetd::client::Address;

use crate::daemon::{Report, Settings, run};
use crate::decide;
use crate::figures::Figures;
use crate::policy::Policy;

/// Adapt the overlay to the application that runs on it.
///
/// Asks the Proxy's VTTIF what the application does, decides with VADAPT where
/// its VMs should run and which links they need, and carries the plan out. The
/// star through the Proxy always remains.
#[derive(Debug, Parser)]
#[command(name = "vadaptd", version, after_help = EXAMPLES)]
struct Flags {
    /// What hosts and paths can do: a TOML file with [[host]] and [[path]] tables
    #[arg(short, long, value_name = "FILE")]
    figures: PathBuf,
    /// Plan with what Wren has measured of the paths, and with the figures only
    /// where it knows nothing
    #[arg(long)]
    measured: bool,
    /// The control address of a daemon: a Unix socket's path, or host:port
    #[arg(short, long, value_name = "ADDRESS", env = "VNET_CONTROL")]
    control: Address,
    /// The network whose application is adapted
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    network: u32,
    /// Move VMs by opening their interfaces at another daemon, for hosts that
    /// reach the same devices (as in a laboratory); without it only links and
    /// rules change
    #[arg(long)]
    rehome: bool,
    /// Move VMs through the migration agent with this control socket; hosts and
    /// VMs have the names there that providers and machines have
    #[arg(long, value_name = "SOCKET", conflicts_with = "rehome")]
    vmmp: Option<PathBuf>,
    /// How often VTTIF is asked, in Hz
    #[arg(long, value_name = "HZ", default_value_t = 10.0, value_parser = rate)]
    rate: f64,
    /// Look at an unchanged plan again after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    review: u64,
    /// What moving a VM costs, in Mbit/s of residual bandwidth
    #[arg(long, value_name = "MBIT", default_value_t = 1.0)]
    migration_cost: f64,
    /// Decide and say so, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Stop after the first decision
    #[arg(long)]
    once: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  vadaptd --figures wan.toml --control /run/vnetd/proxy.sock --dry-run --once
  vadaptd --figures hosts.toml --measured --control proxy.example.org:7701 --json

A file of figures:
  [[host]]
  name = \"fast1\"
  room = 2
  uplink = \"100 Mbit/s\"
  downlink = \"100 Mbit/s\"

  [[path]]
  between = [\"fast1\", \"fast2\"]
  bandwidth = \"100 Mbit/s\"
  latency_us = 200";

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=100.0).contains(&rate) => Ok(rate),
        _ => Err("write a number from 0.1 to 100".into()),
    }
}

/// Runs the program `vadaptd` with the arguments of this process.
pub fn main_from_env() -> ExitCode {
    let flags = Flags::parse();
    let figures = match Figures::load(&flags.figures) {
        Ok(figures) => figures,
        Err(error) => {
            eprintln!("vadaptd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let settings = Settings {
        control: flags.control.clone(),
        network: NetworkId(flags.network),
        figures,
        measured: flags.measured,
        decide: decide::Options {
            migrate: flags.rehome || flags.vmmp.is_some(),
            migration_cost: flags.migration_cost,
            ..decide::Options::default()
        },
        policy: Policy { review: Duration::from_secs(flags.review), ..Policy::default() },
        interval: Duration::from_secs_f64(1.0 / flags.rate),
        dry_run: flags.dry_run,
        agent: flags.vmmp.as_ref().map(Target::local),
    };
    let mut failed = false;
    run(&settings, |report| {
        failed = matches!(report, Report::Failed { .. } | Report::ExecutionFailed { .. });
        print(report, flags.json);
        // The execution belongs to the decision.
        let is_last = match report {
            Report::Decided { worthwhile, .. } => flags.dry_run || !worthwhile,
            Report::Executed { .. } | Report::ExecutionFailed { .. } | Report::Failed { .. } => true,
        };
        !(flags.once && is_last)
    });
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print(report: &Report, json: bool) {
    if json {
        match serde_json::to_string(report) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("vadaptd: {error}"),
        }
        return;
    }
    match report {
        Report::Decided { topology, moves, links, reason, decide_ms, .. } => {
            println!("{}: {reason} (decided in {decide_ms} ms)", topology.join(" = "));
            for a_move in moves {
                println!("  {}", a_move.reason);
            }
            for link in links {
                println!("  {}", link.reason);
            }
        }
        Report::Executed { execute_ms, handover_ms } => {
            println!("carried out in {execute_ms} ms; moving VMs took {handover_ms} ms");
        }
        Report::ExecutionFailed { why } => eprintln!("vadaptd: not carried out: {why}"),
        Report::Failed { why } => eprintln!("vadaptd: {why}; trying again"),
    }
}
