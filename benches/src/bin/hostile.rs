//! An encrypted link between two daemons, and somebody who means harm.
//!
//! `cargo run --release -p vnet-benches --bin hostile`
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use vnet_core::control::LinkSpec;
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, Link, LinkKind, MacAddr, NetworkId, Rule, Source,
};
use vnet_fwd::channel::{self, ChannelEnd};
use vnet_fwd::link::Path;
use vnet_fwd::secure::{Guard, SecureOptions};
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, PrivateKey};

/// Attack an encrypted link, and measure what comes of it.
#[derive(Parser)]
#[command(name = "hostile", version, about)]
struct Options {
    /// How many datagrams of each sort
    #[arg(long, default_value_t = 1_000_000)]
    datagrams: u32,
    /// For how long keys are renewed every second under load, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const NET: NetworkId = NetworkId(1);
/// Frames under way at most, so that no buffer runs over by itself: a socket has room for
/// some 90 datagrams of this size by default.
const WINDOW: u64 = 48;
/// Handshakes of strangers per second.
const FLOOD: u32 = 10_000;
/// Datagrams sent between two looks at whether the daemon keeps up.
const BURST: u32 = 256;

#[derive(Serialize)]
struct Outcome {
    attacks: Vec<Attack>,
    flood: Flood,
    rekeying: Rekeying,
}

#[derive(Serialize)]
struct Attack {
    sort: Sort,
    sent: u32,
    /// Counted as dropped by the daemon.
    refused: u64,
    delivered: u64,
    answers: u64,
    /// Of the process's resident memory, in KiB.
    growth_kib: i64,
}

#[derive(Serialize)]
struct Flood {
    handshakes_per_s: f64,
    /// Frames per second of the established link, beside the rate without.
    kept: f64,
}

#[derive(Serialize)]
struct Rekeying {
    seconds: f64,
    frames: u64,
    lost: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Sort {
    Replayed,
    Reordered,
    Truncated,
    BitFlipped,
    Foreign,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options).and_then(|outcome| print(&outcome, options.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<Outcome> {
    let pair = Pair::new(Duration::from_secs(120))?;
    pair.carry(20_000, None)?;
    let attacks = [Sort::Replayed, Sort::Reordered, Sort::Truncated, Sort::BitFlipped, Sort::Foreign];
    let attacks =
        attacks.into_iter().map(|sort| pair.attack(sort, options.datagrams)).collect::<Result<_>>()?;
    pair.carry(20_000, None).context("after the attacks")?;
    let flood = pair.flood()?;
    drop(pair);

    let pair = Pair::new(Duration::from_secs(1))?;
    let start = Instant::now();
    let time = Duration::from_secs(options.seconds);
    let (frames, lost) = pair.carry(u64::MAX, Some(time))?;
    let rekeying = Rekeying { seconds: start.elapsed().as_secs_f64(), frames, lost };
    Ok(Outcome { attacks, flood, rekeying })
}

/// Two daemons, and a wire between them that remembers.
struct Pair {
    planes: [DataPlane; 2],
    ends: [ChannelEnd; 2],
    wire: Wire,
}

fn host(n: usize) -> Result<HostName> {
    Ok(HostName::new(&format!("host{n}"))?)
}

fn key(n: usize) -> PrivateKey {
    PrivateKey::from_bytes([n as u8 + 1; 32])
}

fn loopback() -> Result<UdpSocket> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)
}

impl Pair {
    fn new(rekey_after: Duration) -> Result<Self> {
        let (mut planes, mut ends) = (Vec::new(), Vec::new());
        for n in 0..2 {
            let options = SecureOptions { rekey_after, ..SecureOptions::default() };
            let plane = DataPlane::start(DataPlaneConfig {
                bind: Some((Ipv4Addr::LOCALHOST, 0).into()),
                incarnation: n as u64 + 1,
                encryption: Encryption::Key(key(n), options),
                ..DataPlaneConfig::new(host(n)?)
            })?;
            plane.allow(&host(1 - n)?, key(1 - n).public())?;
            let (port, end) = channel::pair(4096)?;
            let vm = InterfaceName::new("vm")?;
            plane.add_port(vm.clone(), NET, Box::new(port))?;
            let edge = Action::Edge(EdgeRef { from: host(n)?, to: host(1 - n)? });
            for action in [Action::Interface(vm), edge] {
                plane.add_rule(NET, Rule { source: Source::Any, destination: Destination::Any, action })?;
            }
            planes.push(plane);
            ends.push(end);
        }
        let address = |plane: &DataPlane| plane.address().context("the data address");
        let wire = Wire::new([address(&planes[0])?, address(&planes[1])?])?;
        for (n, plane) in planes.iter().enumerate() {
            let link = Link { kind: LinkKind::Udp, opener: host(0)?, a: host(0)?, b: host(1)? };
            plane.add_link(LinkSpec { link, peer: Some(wire.towards[n]) })?;
        }
        let start = Instant::now();
        while !planes.iter().all(|plane| plane.links().is_ok_and(|links| links[0].state.up)) {
            if start.elapsed() > Duration::from_secs(10) {
                bail!("the link does not come up: {:?}", planes[0].links()?);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let (Ok(planes), Ok(ends)) = (planes.try_into(), ends.try_into()) else { bail!("two of each") };
        Ok(Self { planes, ends, wire })
    }

    /// Carries so many frames, or for so long, as fast as it goes; how many, and how
    /// many of them were lost.
    fn carry(&self, count: u64, time: Option<Duration>) -> Result<(u64, u64)> {
        let end = time.map(|time| Instant::now() + time);
        let (mut sent, mut received, mut lost) = (0_u64, 0_u64, 0_u64);
        let mut last = Instant::now();
        while sent < count && end.is_none_or(|end| Instant::now() < end) || sent > received + lost {
            let may_send = sent < count && end.is_none_or(|end| Instant::now() < end);
            if may_send && sent - received - lost < WINDOW {
                sent += u64::from(self.ends[0].send(&frame(&[0; 1300])));
            }
            while self.ends[1].receive().is_some() {
                (received, last) = (received + 1, Instant::now());
            }
            if last.elapsed() > Duration::from_secs(1) {
                lost = sent - received;
                last = Instant::now();
                if received == 0 {
                    bail!("no frame arrives");
                }
            }
        }
        Ok((sent, lost))
    }

    fn dropped(&self) -> Result<u64> {
        Ok(self.planes[1].drops()?.iter().map(|drop| drop.frames).sum())
    }

    /// Sends `count` datagrams of `sort` to the second daemon.
    fn attack(&self, sort: Sort, count: u32) -> Result<Attack> {
        let known = self.wire.known.lock().map_err(|_| anyhow::anyhow!("the wire has failed"))?.clone();
        if known.is_empty() {
            bail!("nothing was recorded");
        }
        let mut random = StdRng::seed_from_u64(sort as u64);
        let to = self.planes[1].address().context("the data address")?;
        let socket = loopback()?;
        socket.set_nonblocking(true)?;
        while self.ends[1].receive().is_some() {}
        let (memory, dropped) = (resident_kib(), self.dropped()?);
        let (mut answers, mut buffer) = (0, [0; 2048]);
        for n in 0..count {
            let mut datagram = match sort {
                Sort::Replayed => known[n as usize % known.len()].clone(),
                _ => known[random.random_range(0..known.len())].clone(),
            };
            match sort {
                Sort::Replayed | Sort::Reordered => {}
                Sort::Truncated => datagram.truncate(random.random_range(0..datagram.len())),
                Sort::BitFlipped => {
                    let at = random.random_range(0..datagram.len());
                    datagram[at] ^= 1 << random.random_range(0..8);
                }
                Sort::Foreign => {
                    // The first bytes say what it is; the rest is anything.
                    random.fill(&mut datagram[8..]);
                }
            }
            while socket.send_to(&datagram, to).is_err() {
                std::thread::sleep(Duration::from_micros(100));
            }
            answers += u64::from(socket.recv_from(&mut buffer).is_ok());
            if n % BURST == BURST - 1 {
                // The worker answers when it has done what was before.
                self.dropped()?;
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        while socket.recv_from(&mut buffer).is_ok() {
            answers += 1;
        }
        let delivered = std::iter::from_fn(|| self.ends[1].receive()).count() as u64;
        let refused = self.dropped()? - dropped;
        Ok(Attack { sort, sent: count, refused, delivered, answers, growth_kib: resident_kib() - memory })
    }

    /// Handshakes of strangers, all different and well-formed.
    fn flood(&self) -> Result<Flood> {
        let to = self.planes[1].address().context("the data address")?;
        let greetings = greetings(2 * FLOOD as usize, to)?;
        let socket = loopback()?;
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let flooding = AtomicBool::new(false);
        let second = Duration::from_secs(1);
        let (mut kept, mut rates) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| -> Result<()> {
            scope.spawn(|| {
                let mut next = Instant::now();
                for greeting in greetings.iter().cycle() {
                    while !flooding.load(Ordering::Relaxed) {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(1));
                        next = Instant::now();
                    }
                    // What the kernel has no room for would not arrive anywhere, either.
                    let _ = socket.send_to(greeting, to);
                    sent.fetch_add(1, Ordering::Relaxed);
                    next += second / FLOOD;
                    if let Some(early) = next.checked_duration_since(Instant::now())
                        && early > Duration::from_micros(500)
                    {
                        std::thread::sleep(early);
                    }
                }
            });
            for _ in 0..5 {
                let (quiet, _) = self.carry(u64::MAX, Some(second))?;
                flooding.store(true, Ordering::Relaxed);
                let (start, before) = (Instant::now(), sent.load(Ordering::Relaxed));
                let busy = self.carry(u64::MAX, Some(second));
                let flood = sent.load(Ordering::Relaxed) - before;
                rates.push(flood as f64 / start.elapsed().as_secs_f64());
                flooding.store(false, Ordering::Relaxed);
                kept.push(busy?.0 as f64 / quiet as f64);
            }
            stop.store(true, Ordering::Relaxed);
            Ok(())
        })
        .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
        kept.sort_by(f64::total_cmp);
        rates.sort_by(f64::total_cmp);
        Ok(Flood { handshakes_per_s: rates[rates.len() / 2], kept: kept[kept.len() / 2] })
    }
}

/// First messages of handshakes with the second daemon, by strangers who know its public key.
fn greetings(count: usize, to: SocketAddr) -> Result<Vec<Vec<u8>>> {
    let now = Instant::now();
    let stranger = PrivateKey::from_bytes([77; 32]);
    let mut guard =
        Guard::new(&stranger, SecureOptions::default(), [7; 32], Duration::from_secs(1 << 30), now);
    let peer = guard.allow(host(1)?, key(1).public()).context("a key")?;
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        guard.greet(peer, Path::Udp(to), &[0; 100], now).context("a greeting")?;
        all.extend(std::iter::from_fn(|| guard.poll_transmit()).map(|(_, message)| message));
    }
    Ok(all)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&MacAddr::local(2).0[..], &MacAddr::local(1).0, &[0x88, 0xb5], payload].concat()
}

/// Carries datagrams between the daemons, and keeps some of those to the second.
struct Wire {
    /// Where each of the daemons sees the other.
    towards: [SocketAddr; 2],
    known: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Wire {
    fn new(daemons: [SocketAddr; 2]) -> Result<Self> {
        let sockets = [Arc::new(loopback()?), Arc::new(loopback()?)];
        let towards = [sockets[0].local_addr()?, sockets[1].local_addr()?];
        let (known, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let mut threads = Vec::new();
        for n in 0..2 {
            let (from, to) = (Arc::clone(&sockets[n]), Arc::clone(&sockets[1 - n]));
            let (known, stop) = (Arc::clone(&known), Arc::clone(&stop));
            from.set_read_timeout(Some(Duration::from_millis(100)))?;
            threads.push(std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, _)) = from.recv_from(&mut buffer) else { continue };
                    // A daemon that has stopped does not matter.
                    let _ = to.send_to(&buffer[..length], daemons[1 - n]);
                    if n == 0
                        && length > 1000
                        && let Ok(mut known) = known.lock()
                        && known.len() < 4096
                    {
                        known.push(buffer[..length].to_vec());
                    }
                }
            }));
        }
        Ok(Self { towards, known, stop, threads })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic has been reported.
            let _ = thread.join();
        }
    }
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn print(outcome: &Outcome, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
        return Ok(());
    }
    println!(
        "{:<12} {:>9} {:>9} {:>9} {:>8} {:>10}",
        "datagrams", "sent", "refused", "delivered", "answers", "growth KiB"
    );
    for Attack { sort, sent, refused, delivered, answers, growth_kib } in &outcome.attacks {
        let sort = format!("{sort:?}").to_lowercase();
        println!("{sort:<12} {sent:>9} {refused:>9} {delivered:>9} {answers:>8} {growth_kib:>10}");
    }
    let Flood { handshakes_per_s, kept } = &outcome.flood;
    println!(
        "\n{handshakes_per_s:.0} handshakes/s of strangers: the link keeps {:.0} % of its rate",
        kept * 100.0
    );
    let Rekeying { seconds, frames, lost } = &outcome.rekeying;
    println!("new keys every second for {seconds:.0} s: {frames} frames, {lost} lost");
    Ok(())
}
