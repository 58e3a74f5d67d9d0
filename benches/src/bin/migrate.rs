//! The time to bring a disk to another host: the method DELTA of VMMP against rsync.
//!
//! `cargo run --release -p vnet-benches --bin migrate` (as root; needs rsync,
//! openssh-server, openssh-client, iproute2 and e2fsprogs)

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde::Serialize;
use vnet_benches::median;
use vnet_benches::migrate::images::{Case, Images};
use vnet_benches::migrate::network::Network;
use vnet_benches::migrate::{ours, rsync};

/// Measure the time to bring a disk to another host: DELTA against rsync.
///
/// Two network namespaces joined by a link of the given rate, an ext4 image made from
/// the packages that are installed here, changed in the ways of the table. rsync runs
/// over ssh, in all its variants, and the best of them counts; DELTA encrypts too. Both
/// servers run already, and neither side forces the file to disk. The runs of both are
/// interleaved, and each ends with a comparison of checksums that is not counted.
#[derive(Parser)]
#[command(name = "migrate", version, about)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// The rate of the link, in Mbit/s
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// The cases, by letter
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d,e,same")]
    cases: Vec<Case>,
    /// How often each is measured; the table has the medians
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The variants of rsync: `plain`, or its flags joined by +
    #[arg(long, value_delimiter = ',', default_value = "plain,-z,--inplace,-z+--inplace")]
    rsync: Vec<String>,
    /// How much of packages the image holds, in MiB
    #[arg(long, default_value_t = 860)]
    content: u64,
    /// Where the images are kept between runs
    #[arg(long, default_value = "/var/tmp/vnet-benches-migrate")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Role {
    /// One end of our transfer, started by the measurement itself
    #[command(hide = true)]
    End(ours::End),
}

#[derive(Serialize)]
struct Row {
    case: Case,
    what: &'static str,
    ours_s: f64,
    ours_wire_mb: f64,
    rsync_s: BTreeMap<String, f64>,
    best_rsync: String,
    times_as_fast: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.role {
        Some(Role::End(end)) => end.run(),
        None => measure(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("migrate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let images = Images::prepare(&options.folder, options.content << 20)?;
    let network = Network::build(options.rate)?;
    let ours = ours::Ours::start(&network, &images)?;
    let ssh = rsync::Ssh::start(&network, &options.folder)?;
    let mut rows = Vec::new();
    for case in &options.cases {
        let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        let (mut our_times, mut wire) = (Vec::new(), 0);
        images.make(*case)?;
        for _ in 0..options.runs {
            let (time, bytes) = ours.transfer(&images, *case).context("DELTA")?;
            our_times.push(time);
            wire = bytes;
            for variant in &options.rsync {
                let time =
                    ssh.transfer(&images, *case, variant).with_context(|| format!("rsync {variant}"))?;
                times.entry(variant.clone()).or_default().push(time);
            }
        }
        let medians: BTreeMap<String, f64> =
            times.into_iter().map(|(name, times)| (name, median(&times).as_secs_f64())).collect();
        let best =
            medians.iter().min_by(|a, b| a.1.total_cmp(b.1)).context("no variant of rsync was measured")?;
        let ours_s = median(&our_times).as_secs_f64();
        let row = Row {
            case: *case,
            what: case.what(),
            ours_s,
            ours_wire_mb: wire as f64 / 1e6,
            best_rsync: best.0.clone(),
            times_as_fast: best.1 / ours_s,
            rsync_s: medians.clone(),
        };
        if !options.json {
            println!(
                "{:<5} {:<38} DELTA {:>6.2} s ({:>6.1} MB)   best rsync {:>6.2} s ({})   {:.1} times as fast",
                row.case, row.what, row.ours_s, row.ours_wire_mb, best.1, row.best_rsync, row.times_as_fast
            );
        }
        rows.push(row);
    }
    if options.json {
        println!("{}", serde_json::to_string(&rows)?);
    }
    Ok(())
}
