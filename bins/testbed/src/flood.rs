//! A flood of numbered datagrams between all VMs, which tells what was lost,
//! duplicated or late.
//!
//! One process per VM. It binds its socket, prints `ready`, and then obeys
//! lines on its standard input: `go` (start sending), `stop` (stop sending).
//! When the input ends it prints a [`FloodReport`] as one line of JSON.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const MAGIC: u32 = 0x666c_6f64;
const DATAGRAM: usize = 64;

/// What one VM sent and received.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FloodReport {
    /// This VM: its index among all.
    pub index: u32,
    /// Datagrams sent to each other VM.
    pub sent: Vec<(u32, u64)>,
    /// What came from each other VM.
    pub received: Vec<Received>,
}

/// What came from one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Received {
    /// Which VM.
    pub from: u32,
    /// Different datagrams.
    pub datagrams: u64,
    /// Datagrams that had come before.
    pub duplicates: u64,
    /// The longest time between two of them while it was sending, in milliseconds.
    pub longest_gap_ms: u64,
}

/// How a flood runs.
#[derive(Clone, Debug)]
pub struct Flood {
    /// This VM: its index in `peers`.
    pub index: u32,
    /// The addresses of all VMs.
    pub peers: Vec<SocketAddr>,
    /// Datagrams per second that this VM sends, to the others in turn.
    pub rate: u32,
}

impl Flood {
    /// The arguments that [`Flood::parse`] reads.
    pub fn arguments(&self) -> Vec<String> {
        let peers = self.peers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        vec![self.index.to_string(), self.rate.to_string(), peers]
    }

    /// Reads what [`Flood::arguments`] wrote.
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let [index, rate, peers] = arguments else { return None };
        let peers: Result<Vec<_>, _> = peers.split(',').map(str::parse).collect();
        let flood = Self { index: index.parse().ok()?, rate: rate.parse().ok()?, peers: peers.ok()? };
        (flood.rate > 0 && (flood.index as usize) < flood.peers.len()).then_some(flood)
    }

    /// Runs it, obeying the standard input.
    pub fn run(&self) -> io::Result<()> {
        let socket = Arc::new(UdpSocket::bind(self.peers[self.index as usize])?);
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let switches = Arc::new(Switches::default());
        let receiver = {
            let (socket, switches) = (Arc::clone(&socket), Arc::clone(&switches));
            thread::spawn(move || receive(&socket, &switches))
        };
        let sender = {
            let (flood, switches) = (self.clone(), Arc::clone(&switches));
            thread::spawn(move || flood.send(&socket, &switches))
        };
        println!("ready");
        for line in io::stdin().lock().lines() {
            match line?.as_str() {
                "go" => switches.sending.store(true, Relaxed),
                "stop" => switches.sending.store(false, Relaxed),
                other => return Err(io::Error::other(format!("`{other}` is neither `go` nor `stop`"))),
            }
        }
        switches.over.store(true, Relaxed);
        let lost_thread = |_| io::Error::other("a thread of the flood panicked");
        let sent = sender.join().map_err(lost_thread)?;
        let received = receiver.join().map_err(lost_thread)?;
        let report = FloodReport { index: self.index, sent, received };
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        out.flush()
    }

    fn send(&self, socket: &UdpSocket, switches: &Switches) -> Vec<(u32, u64)> {
        let others: Vec<u32> = (0..self.peers.len() as u32).filter(|i| *i != self.index).collect();
        let mut sent: Vec<(u32, u64)> = others.iter().map(|i| (*i, 0)).collect();
        let gap = Duration::from_secs(1) / self.rate;
        let mut next = 0;
        let mut due = Instant::now();
        while !switches.over.load(Relaxed) {
            if !switches.sending.load(Relaxed) || others.is_empty() {
                thread::sleep(Duration::from_millis(1));
                due = Instant::now();
                continue;
            }
            let now = Instant::now();
            if now < due {
                thread::sleep(due - now);
            }
            due += gap;
            let (to, count) = &mut sent[next];
            let mut datagram = [0; DATAGRAM];
            datagram[..4].copy_from_slice(&MAGIC.to_be_bytes());
            datagram[4..8].copy_from_slice(&self.index.to_be_bytes());
            datagram[8..16].copy_from_slice(&count.to_be_bytes());
            // A send that the kernel refuses was not sent, and is tried again in turn.
            if socket.send_to(&datagram, self.peers[*to as usize]).is_ok() {
                *count += 1;
            }
            next = (next + 1) % others.len();
        }
        sent
    }
}

#[derive(Default)]
struct Switches {
    sending: AtomicBool,
    over: AtomicBool,
}

fn receive(socket: &UdpSocket, switches: &Switches) -> Vec<Received> {
    let mut seen: HashMap<u32, (Vec<u64>, Received, Instant)> = HashMap::new();
    let mut buffer = [0; 2 * DATAGRAM];
    loop {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(_) if switches.over.load(Relaxed) => break,
            // A time-out, or an ICMP answer to something sent before.
            Err(_) => continue,
        };
        if length != DATAGRAM || buffer[..4] != MAGIC.to_be_bytes() {
            continue;
        }
        let word =
            |at: usize| u32::from_be_bytes([buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]]);
        let from = word(4);
        let number = (u64::from(word(8)) << 32 | u64::from(word(12))) as usize;
        let now = Instant::now();
        let (bits, received, last) =
            seen.entry(from).or_insert_with(|| (Vec::new(), Received { from, ..Received::default() }, now));
        if bits.len() <= number / 64 {
            bits.resize(number / 64 + 1, 0);
        }
        let mask = 1_u64 << (number % 64);
        if bits[number / 64] & mask == 0 {
            bits[number / 64] |= mask;
            received.datagrams += 1;
        } else {
            received.duplicates += 1;
        }
        let gap = now.saturating_duration_since(*last).as_millis() as u64;
        received.longest_gap_ms = received.longest_gap_ms.max(gap);
        *last = now;
    }
    let mut received: Vec<_> = seen.into_values().map(|(_, received, _)| received).collect();
    received.sort_by_key(|r| r.from);
    received
}

/// What a whole flood came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FloodTotal {
    /// Datagrams sent.
    pub sent: u64,
    /// Different datagrams received.
    pub received: u64,
    /// Datagrams received more than once.
    pub duplicates: u64,
    /// The longest time without a datagram between two VMs, in milliseconds.
    pub longest_gap_ms: u64,
}

impl FloodTotal {
    /// Adds the reports of all VMs up.
    pub fn of(reports: &[FloodReport]) -> Self {
        let received = || reports.iter().flat_map(|r| &r.received);
        Self {
            sent: reports.iter().flat_map(|r| &r.sent).map(|(_, count)| count).sum(),
            received: received().map(|r| r.datagrams).sum(),
            duplicates: received().map(|r| r.duplicates).sum(),
            longest_gap_ms: received().map(|r| r.longest_gap_ms).max().unwrap_or(0),
        }
    }

    /// Datagrams that were sent and never came.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}
