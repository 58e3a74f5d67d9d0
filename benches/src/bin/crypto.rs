//! What encryption costs: messages by size, and handshakes.
//!
//! `cargo run --release -p vnet-benches --bin crypto`

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use vnet_benches::median;
use vnet_core::HostName;
use vnet_fwd::PrivateKey;
use vnet_fwd::link::Path;
use vnet_fwd::secure::{Cipher, Ciphers, Guard, PeerId, SEAL_BACK, SEAL_FRONT, SecureOptions};

/// Measure what the encryption of links costs one core.
#[derive(Parser)]
#[command(name = "crypto", version, about)]
struct Options {
    /// How often each figure is measured; the table has the medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const SIZES: [usize; 6] = [64, 256, 576, 1400, 4096, 8900];
const MESSAGES: usize = 80 * BATCH;
/// So many messages as stay in the cache of a core, as on the data path.
const BATCH: usize = 64;
const HANDSHAKES: u32 = 500;

#[derive(Serialize)]
struct Outcome {
    fastest: &'static str,
    messages: Vec<Row>,
    /// CPU time of one handshake at both ends together, in microseconds.
    handshake_us: f64,
}

#[derive(Serialize)]
struct Row {
    cipher: &'static str,
    bytes: usize,
    seal_ns: f64,
    seal_gb_per_s: f64,
    open_ns: f64,
    open_gb_per_s: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(options.runs).and_then(|outcome| print(&outcome, options.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crypto: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(outcome: &Outcome, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
        return Ok(());
    }
    println!("{:<18} {:>6} {:>9} {:>7} {:>9} {:>7}", "cipher", "bytes", "seal ns", "GB/s", "open ns", "GB/s");
    for row in &outcome.messages {
        println!(
            "{:<18} {:>6} {:>9.0} {:>7.2} {:>9.0} {:>7.2}",
            row.cipher, row.bytes, row.seal_ns, row.seal_gb_per_s, row.open_ns, row.open_gb_per_s
        );
    }
    println!("\nthe fastest here: {}", outcome.fastest);
    println!("a handshake, both ends together: {:.0} us", outcome.handshake_us);
    Ok(())
}

fn measure(runs: u32) -> Result<Outcome> {
    let mut messages = Vec::new();
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        for bytes in SIZES {
            let runs: Vec<_> = (0..runs).map(|_| run(cipher, bytes)).collect::<Result<_>>()?;
            let (seals, opens): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
            let nanoseconds = |times: &[Duration]| median(times).as_nanos() as f64 / MESSAGES as f64;
            let (seal_ns, open_ns) = (nanoseconds(&seals), nanoseconds(&opens));
            messages.push(Row {
                cipher: cipher.name(),
                bytes,
                seal_ns,
                seal_gb_per_s: bytes as f64 / seal_ns,
                open_ns,
                open_gb_per_s: bytes as f64 / open_ns,
            });
        }
    }
    let handshakes: Vec<_> = (0..runs).map(|_| handshakes()).collect::<Result<_>>()?;
    let handshake_us = median(&handshakes).as_micros() as f64 / f64::from(HANDSHAKES);
    Ok(Outcome { fastest: Cipher::fastest().name(), messages, handshake_us })
}

/// Two ends of a link.
struct Ends {
    guards: [Guard; 2],
    peers: [PeerId; 2],
    now: Instant,
}

impl Ends {
    fn new(cipher: Cipher) -> Result<Self> {
        let now = Instant::now();
        let keys = [1, 2].map(|n| PrivateKey::from_bytes([n; 32]));
        let options = SecureOptions { ciphers: Ciphers::only(cipher), ..SecureOptions::default() };
        let guard = |n: usize| Guard::new(&keys[n], options, [n as u8; 32], Duration::from_secs(1), now);
        let mut guards = [guard(0), guard(1)];
        let host = HostName::new("peer")?;
        let mut allow =
            |n: usize| guards[n].allow(host.clone(), keys[1 - n].public()).context("the key is refused");
        let peers = [allow(0)?, allow(1)?];
        Ok(Self { guards, peers, now })
    }

    fn agree(&mut self) -> Result<()> {
        let path = Path::Udp(SocketAddr::from((Ipv4Addr::LOCALHOST, 7700)));
        self.guards[0].greet(self.peers[0], path, &[], self.now)?;
        for to in [1, 0, 1] {
            let (_, mut packet) = self.guards[1 - to].poll_transmit().context("a message is missing")?;
            self.guards[to].open(path, &mut packet, self.now)?;
        }
        Ok(())
    }
}

/// How long it takes to seal and to open all messages.
fn run(cipher: Cipher, bytes: usize) -> Result<(Duration, Duration)> {
    let mut ends = Ends::new(cipher)?;
    ends.agree()?;
    let path = Path::Udp(SocketAddr::from((Ipv4Addr::LOCALHOST, 7700)));
    let mut packets = vec![vec![7_u8; SEAL_FRONT + bytes + SEAL_BACK]; BATCH];
    let (mut seal, mut open) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..MESSAGES / BATCH {
        let start = Instant::now();
        for packet in &mut packets {
            ends.guards[0].seal(ends.peers[0], packet)?;
        }
        let sealed = Instant::now();
        for packet in &mut packets {
            black_box(ends.guards[1].open(path, packet, ends.now)?);
        }
        open += sealed.elapsed();
        seal += sealed - start;
    }
    Ok((seal, open))
}

/// How long all handshakes take.
fn handshakes() -> Result<Duration> {
    let mut ends = Ends::new(Cipher::fastest())?;
    let start = Instant::now();
    for n in 0..HANDSHAKES {
        // So that the flood protection sees no flood.
        ends.now += Duration::from_millis(10) * n;
        ends.agree()?;
    }
    Ok(start.elapsed())
}
