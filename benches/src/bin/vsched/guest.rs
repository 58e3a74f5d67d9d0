//! Real guests under reservations: their total, and the round trip of a ping.
//!
//! Needs the guest that `cargo xtask guest` makes, `ping`, and root.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use vsched::io::{Host, HostOptions};
use vsched::{Reservation, TaskId};

use crate::cell::Bed;

const BRIDGE: &str = "vsbr0";

/// A guest without hardware virtualisation boots in some 10 s on an idle core.
const BOOT: Duration = Duration::from_secs(90);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The folder with the guest's `vmlinuz` and `initrd` [default: what `cargo xtask guest` makes]
    #[arg(long)]
    guest: Option<PathBuf>,
    /// How long each reservation is measured, in seconds
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Only guests with these numbers of vCPUs (1, 2)
    #[arg(long, value_delimiter = ',')]
    vcpus: Vec<u32>,
    /// Leave the pings out
    #[arg(long)]
    no_ping: bool,
    /// Leave the totals out
    #[arg(long)]
    no_total: bool,
    /// How many pings
    #[arg(long, default_value_t = 2000)]
    pings: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Total {
    vcpus: u32,
    period_ms: u64,
    slice_ms: u64,
    asked: f64,
    got: f64,
    misses: u64,
    periods: u64,
    scheduler: f64,
}

#[derive(Serialize)]
struct Pings {
    sent: u32,
    answered: usize,
    median_ms: f64,
    p99_ms: f64,
    worst_ms: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let bed = Bed::new()?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guest");
    let guest = options.guest.clone().unwrap_or(built);
    if !guest.join("vmlinuz").exists() {
        bail!("there is no guest in {}; `cargo xtask guest` makes it", guest.display());
    }
    let mut totals = Vec::new();
    if !options.no_total {
        for vcpus in [1, 2].into_iter().filter(|n| options.vcpus.is_empty() || options.vcpus.contains(n)) {
            total(&bed, &guest, vcpus, options, &mut totals)?;
        }
    }
    let pings = if options.no_ping { None } else { Some(ping(&bed, &guest, options)?) };
    if options.json {
        #[derive(Serialize)]
        struct All {
            totals: Vec<Total>,
            pings: Option<Pings>,
        }
        println!("{}", serde_json::to_string_pretty(&All { totals, pings })?);
    }
    Ok(())
}

fn total(
    bed: &Bed,
    folder: &Path,
    vcpus: u32,
    options: &Options,
    totals: &mut Vec<Total>,
) -> anyhow::Result<()> {
    let mut guest = Guest::start(bed, folder, "total", vcpus, None)?;
    guest.wait_for("USERSPACE", BOOT)?;
    guest.load(vcpus)?;
    let mut host = host(bed)?;
    if !options.json && totals.is_empty() {
        println!("| vCPUs | period, ms | slice, ms | asked | got | error | misses | scheduler CPU |");
        println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    }
    for (period, slice) in [(10, 3), (10, 5), (50, 10)] {
        let reservation = Reservation::new(Duration::from_millis(period), Duration::from_millis(slice))?;
        let task = host.attach("guest", &[guest.pid()], &reservation)?;
        tick_for(&mut host, Duration::from_secs(1));
        let (before, started, own) = (counters(&mut host, task)?, Instant::now(), host.own_cpu());
        tick_for(&mut host, Duration::from_secs_f64(options.seconds));
        let (after, elapsed) = (counters(&mut host, task)?, started.elapsed().as_secs_f64());
        let row = Total {
            vcpus,
            period_ms: period,
            slice_ms: slice,
            asked: reservation.share(),
            got: (after.used - before.used).as_secs_f64() / elapsed,
            misses: after.misses - before.misses,
            periods: after.periods - before.periods,
            scheduler: (host.own_cpu() - own).as_secs_f64() / elapsed,
        };
        host.release(task)?;
        if !options.json {
            println!(
                "| {vcpus} | {period} | {slice} | {:.4} | {:.4} | {:+.2} % | {} of {} | {:.2} % |",
                row.asked,
                row.got,
                (row.got / row.asked - 1.0) * 100.0,
                row.misses,
                row.periods,
                row.scheduler * 100.0
            );
        }
        totals.push(row);
    }
    Ok(())
}

fn ping(bed: &Bed, folder: &Path, options: &Options) -> anyhow::Result<Pings> {
    let _bridge = Bridge::new()?;
    let address = "10.78.0.2";
    let mut guest = Guest::start(bed, folder, "ping", 1, Some(address))?;
    let mut batch = Vec::new();
    for number in 0..3 {
        batch.push(Guest::start(bed, folder, &format!("batch{number}"), 1, None)?);
    }
    guest.wait_for("USERSPACE", BOOT)?;
    guest.quieten()?;
    for other in &mut batch {
        other.wait_for("USERSPACE", BOOT)?;
        other.load(1)?;
    }
    let ms = Duration::from_millis;
    let mut host = host(bed)?;
    host.attach("ping", &[guest.pid()], &Reservation::new(ms(10), ms(2))?)?;
    for other in &batch {
        host.attach("batch", &[other.pid()], &Reservation::new(ms(50), ms(20))?)?;
    }
    tick_for(&mut host, Duration::from_secs(2));
    let ping = Command::new("ping")
        .args(["-n", "-i", "0.02", "-W", "2", "-c", &options.pings.to_string(), address])
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start `ping`; install iputils-ping")?;
    // The host must go on working meanwhile.
    let waiting = std::thread::spawn(move || ping.wait_with_output());
    while !waiting.is_finished() {
        tick_for(&mut host, Duration::from_millis(100));
    }
    let output = waiting.join().map_err(|_| anyhow::anyhow!("the thread that waits has panicked"))??;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut times: Vec<f64> =
        text.lines().filter_map(|line| line.split("time=").nth(1)?.split(' ').next()?.parse().ok()).collect();
    anyhow::ensure!(!times.is_empty(), "no ping was answered: {text}");
    times.sort_by(f64::total_cmp);
    // Those that were never answered are worse than any.
    let at =
        |part: f64| times.get((f64::from(options.pings) * part) as usize).copied().unwrap_or(f64::INFINITY);
    let pings = Pings {
        sent: options.pings,
        answered: times.len(),
        median_ms: at(0.5),
        p99_ms: at(0.99),
        worst_ms: times[times.len() - 1],
    };
    if !options.json {
        println!(
            "ping of a guest at (10 ms, 2 ms) beside three batch guests at (50 ms, 20 ms): {} of {} answered, \
             median {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
            pings.answered, pings.sent, pings.median_ms, pings.p99_ms, pings.worst_ms
        );
        for status in host.list() {
            println!(
                "  {}: used {:.3} s, {} misses",
                status.name,
                status.counters.used.as_secs_f64(),
                status.counters.misses
            );
        }
    }
    Ok(pings)
}

fn host(bed: &Bed) -> anyhow::Result<Host> {
    let (mechanism, _) = vsched::io::choose(bed.journal())?;
    Ok(Host::new(mechanism, HostOptions::all_cores()?))
}

fn counters(host: &mut Host, task: TaskId) -> anyhow::Result<vsched::Counters> {
    let status = host.list().into_iter().find(|status| status.task == task);
    Ok(status.context("the task has ended")?.counters)
}

fn tick_for(host: &mut Host, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        host.tick();
        std::thread::sleep(Duration::from_millis(50).min(end.saturating_duration_since(Instant::now())));
    }
}

struct Guest {
    child: Child,
    console: ChildStdin,
    lines: Receiver<String>,
}

impl Guest {
    fn start(
        bed: &Bed,
        folder: &Path,
        name: &str,
        vcpus: u32,
        address: Option<&str>,
    ) -> anyhow::Result<Self> {
        let disk = bed.folder().join(format!("{name}.raw"));
        fs::File::create(&disk)?.set_len(64 << 20)?;
        let mut append = "console=ttyS0 quiet panic=-1".to_owned();
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-name", &format!("{name},debug-threads=on"), "-nodefaults", "-no-user-config"])
            .args(["-display", "none", "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "qemu64"])
            .args(["-m", "160", "-smp", &vcpus.to_string(), "-serial", "stdio", "-no-reboot"])
            .arg("-kernel")
            .arg(folder.join("vmlinuz"))
            .arg("-initrd")
            .arg(folder.join("initrd"))
            .args(["-drive", &format!("file={},format=raw,if=virtio,aio=threads", disk.display())]);
        if let Some(address) = address {
            append += &format!(" vip={address}");
            let tap = format!("vs{name}");
            ip(&["tuntap", "add", &tap, "mode", "tap"])?;
            ip(&["link", "set", &tap, "master", BRIDGE, "up"])?;
            command.args(["-netdev", &format!("tap,id=net0,ifname={tap},script=no,downscript=no")]);
            command.args(["-device", "virtio-net-pci,netdev=net0,mac=52:54:00:78:00:02,romfile="]);
        }
        command.args(["-append", &append]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start qemu-system-x86_64; install qemu-system-x86")?;
        let console = child.stdin.take().context("the guest has no console")?;
        let output = child.stdout.take().context("the guest has no console")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                // Nobody reads any more: then nobody needs it.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Ok(Self { child, console, lines })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_for(&mut self, what: &str, patience: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(what) => return Ok(()),
                Ok(line) => seen.push(line),
                Err(error) => bail!("the guest did not say {what} ({error}), but: {seen:?}"),
            }
        }
    }

    /// Ends what the guest does of its own accord: its counter alone makes processes ten times a
    /// second, which without hardware virtualisation take more than a slice.
    fn quieten(&mut self) -> anyhow::Result<()> {
        let others =
            "ps -o pid,args | grep '[/]init' | while read -r p a; do [ $p != 1 ] && kill -9 $p; done";
        writeln!(self.console, "{others}")?;
        Ok(self.console.flush()?)
    }

    /// All vCPUs compute, and the disk is written all the time.
    fn load(&mut self, vcpus: u32) -> anyhow::Result<()> {
        for _ in 0..vcpus {
            writeln!(self.console, "while :; do :; done &")?;
        }
        writeln!(
            self.console,
            "while :; do dd if=/dev/zero of=/dev/vda bs=64k count=64 conv=fsync 2>/dev/null; done &"
        )?;
        self.console.flush()?;
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Bridge;

impl Bridge {
    fn new() -> anyhow::Result<Self> {
        let bridge = Self;
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["addr", "add", "10.78.0.1/24", "dev", BRIDGE])?;
        ip(&["link", "set", BRIDGE, "up"])?;
        Ok(bridge)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        for link in ["vsping", BRIDGE] {
            // What was not made can't be removed.
            let _ = ip(&["link", "del", link]);
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output =
        Command::new("ip").args(arguments).output().context("could not start `ip`; install iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
