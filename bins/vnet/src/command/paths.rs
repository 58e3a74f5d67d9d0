//! `vnet paths`: what Wren has found out of the paths between hosts.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use vnet_core::control::{PathStatus, ProbeTrain, RateEstimate, Request};
use vnet_core::{Bandwidth, HostName};
use vnetd::client::Client;

use crate::cli::Global;
use crate::connect::{connect, proxy_of};
use crate::input;
use crate::output::{self, Table};

/// Show what the paths between hosts can do, as inferred from the traffic on them
///
/// AVAILABLE is what the traffic of others leaves of the CAPACITY of the path's
/// slowest link, with the range that it most likely is in. `> RATE` means that
/// the application has not sent enough to tell, but that so much has come
/// through. Paths that nobody uses are not shown.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vnet paths\n  vnet paths --watch\n  vnet paths --probe fast1:fast2\n  vnet paths --json | jq '.[0].available.value'"
)]
pub(crate) struct Options {
    /// First send short trains of padding over the link between two hosts, both
    /// ways, for a path that nobody uses (repeat for more)
    #[arg(long = "probe", value_name = "HOST:HOST", value_parser = parse_pair)]
    probes: Vec<(HostName, HostName)>,
    /// Show them again and again until interrupted; with --json, a line each time
    #[arg(short, long)]
    watch: bool,
    /// How often
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = input::parse_duration)]
    interval: Duration,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    let proxy = proxy_of(&mut client)?;
    probe(&mut client, &options.probes)?;
    let clears = options.watch && std::io::stdout().is_terminal();
    loop {
        let paths = client.paths(Some(&proxy))?;
        output::show(global.json, &paths, || {
            // Home, and clear what was there before.
            let before = if clears { "\x1b[H\x1b[2J" } else { "" };
            format!("{before}{}", text(&paths))
        })?;
        if !options.watch {
            return Ok(());
        }
        std::thread::sleep(options.interval);
    }
}

/// Bursts of a train, packets in each, and the time between them: enough to tell the
/// capacity, and next to nothing for the path.
const BURSTS: u32 = 10;
const BURST: u32 = 24;
const PAUSE: Duration = Duration::from_millis(100);

/// What a daemon learns it reports within this time.
const REPORTED: Duration = Duration::from_millis(1500);

fn probe(client: &mut Client, pairs: &[(HostName, HostName)]) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    for _ in 0..BURSTS {
        for (a, b) in pairs {
            for (from, to) in [(a, b), (b, a)] {
                let train = ProbeTrain { peer: to.clone(), burst: BURST, rate: None, for_ms: 0 };
                client.call(Some(from), Request::Probe(train))?;
            }
        }
        std::thread::sleep(PAUSE);
    }
    std::thread::sleep(REPORTED);
    Ok(())
}

fn parse_pair(text: &str) -> Result<(HostName, HostName), String> {
    let (a, b) = text.split_once(':').ok_or("write the two hosts as HOST:HOST")?;
    let name = |name: &str| name.parse().map_err(|error: vnet_core::name::NameError| error.to_string());
    Ok((name(a)?, name(b)?))
}

fn text(paths: &[PathStatus]) -> String {
    if paths.is_empty() {
        return "no path has carried anything over a UDP link yet\n".to_owned();
    }
    let mut table = Table::new(["FROM", "TO", "AVAILABLE", "LIKELY RANGE", "CAPACITY", "LATENCY", "AGE"]);
    let unknown = || "-".to_owned();
    for path in paths {
        let available = match path.available {
            Some(rate) => short(rate.value),
            None if path.carried > Bandwidth::default() => format!("> {}", short(path.carried)),
            None => unknown(),
        };
        let range = |rate: RateEstimate| format!("{} to {}", short(rate.low), short(rate.high));
        table.row([
            path.from.to_string(),
            path.to.to_string(),
            available,
            path.available.map_or_else(unknown, range),
            path.capacity.map_or_else(unknown, |rate| short(rate.value)),
            path.latency_us.map_or_else(unknown, latency),
            path.age_ms.map_or_else(unknown, |ms| format!("{:.0} s", ms as f64 / 1e3)),
        ]);
    }
    table.text()
}

/// A rate in three digits.
fn short(rate: Bandwidth) -> String {
    let bits = rate.bits_per_second();
    let unit = 10_u64.pow(bits.max(1).ilog10().saturating_sub(2));
    Bandwidth::from_bits_per_second((bits + unit / 2) / unit * unit).to_string()
}

fn latency(us: u64) -> String {
    if us < 1000 { format!("{us} us") } else { format!("{:.1} ms", us as f64 / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mbit(value: u64) -> RateEstimate {
        let rate = |percent| Bandwidth::from_bits_per_second(value * 10_000 * percent);
        RateEstimate { low: rate(90), value: rate(100), high: rate(110) }
    }

    #[test]
    fn what_is_unknown_is_no_number() {
        let known = PathStatus {
            from: "a".parse().unwrap(),
            to: "b".parse().unwrap(),
            capacity: Some(mbit(100)),
            available: Some(mbit(61)),
            carried: Bandwidth::from_mbit(40),
            latency_us: Some(10_040),
            age_ms: Some(1200),
        };
        let unknown = PathStatus {
            from: "b".parse().unwrap(),
            to: "a".parse().unwrap(),
            capacity: None,
            available: None,
            latency_us: Some(130),
            age_ms: None,
            ..known
        };
        assert_eq!(
            text(&[known, unknown]),
            "\
FROM  TO  AVAILABLE    LIKELY RANGE                CAPACITY    LATENCY  AGE
a     b   61 Mbit/s    54.9 Mbit/s to 67.1 Mbit/s  100 Mbit/s  10.0 ms  1 s
b     a   > 40 Mbit/s  -                           -           130 us   -
"
        );
        assert!(text(&[]).starts_with("no path"));
    }

    #[test]
    fn rates_have_three_digits() {
        assert_eq!(short(Bandwidth::from_bits_per_second(123_456_789)), "123 Mbit/s");
        assert_eq!(short(Bandwidth::from_bits_per_second(999_999)), "1 Mbit/s");
        assert_eq!(short(Bandwidth::default()), "0 bit/s");
    }
}
