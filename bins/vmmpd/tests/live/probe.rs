//! What goes on into the guest while it moves: pings, and a TCP stream that comes back.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};
use vlab::Machine;

use crate::common;
use crate::scene::{CLIENT, Scene};

const INTERVAL: Duration = Duration::from_millis(10);

/// 100 pings a second.
pub(crate) struct Pings {
    begun: Instant,
    /// When answers came.
    answers: Arc<Mutex<Vec<Duration>>>,
    go_on: Arc<AtomicBool>,
}

impl Pings {
    pub(crate) fn start(scene: &Scene) -> Result<Self, Box<dyn std::error::Error>> {
        let socket: OwnedFd =
            scene.bed.lab().vm(&CLIENT.parse()?)?.run_in(|| {
                rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))
            })??;
        let pings =
            Self { begun: Instant::now(), answers: Arc::default(), go_on: Arc::new(AtomicBool::new(true)) };
        let socket = Arc::new(socket);
        let to: SocketAddr = (scene.guest_address, 0).into();
        let (sender, go_on) = (Arc::clone(&socket), Arc::clone(&pings.go_on));
        thread::spawn(move || {
            let mut sequence = 0_u16;
            while go_on.load(Relaxed) {
                // No way there in this moment is what is measured.
                let _ = rustix::net::sendto(&*sender, &request(sequence), SendFlags::empty(), &to);
                sequence = sequence.wrapping_add(1);
                thread::sleep(INTERVAL);
            }
        });
        let (answers, begun, go_on) = (Arc::clone(&pings.answers), pings.begun, Arc::clone(&pings.go_on));
        thread::spawn(move || {
            let mut packet = [0; 256];
            while go_on.load(Relaxed) {
                let Ok((_, length)) = rustix::net::recv(&*socket, &mut packet, RecvFlags::empty()) else {
                    return;
                };
                // An echo reply behind an IPv4 header of 20 octets.
                if length >= 28 && packet[20] == 0 {
                    answers.lock().expect("nobody panics with it").push(begun.elapsed());
                }
            }
        });
        Ok(pings)
    }

    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn answers(&self) -> usize {
        self.answers.lock().expect("nobody panics with it").len()
    }

    pub(crate) fn wait_for_answers(&self) {
        common::wait("the guest answers pings", || self.answers() > 50);
    }

    /// The longest time without an answer between these moments.
    pub(crate) fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let answers = self.answers.lock().expect("nobody panics with it");
        let inside = answers.iter().copied().filter(|at| *at >= from && *at <= to);
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in inside {
            longest = longest.max(at.saturating_sub(last));
            last = at;
        }
        longest
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.go_on.store(false, Relaxed);
    }
}

/// An echo request (RFC 792) of 16 octets.
fn request(sequence: u16) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = 8;
    packet[4..6].copy_from_slice(&0x5649_u16.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum: u32 = packet.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet
}

/// Numbered lines to the guest's echo, and what comes back.
pub(crate) struct Echo {
    lines: Arc<AtomicU64>,
    go_on: Arc<AtomicBool>,
    hearing: JoinHandle<Result<u64, String>>,
    saying: JoinHandle<Result<u64, String>>,
}

impl Echo {
    pub(crate) fn start(scene: &Scene) -> Result<Self, Box<dyn std::error::Error>> {
        let address: SocketAddr = (scene.guest_address, 7).into();
        let client = scene.bed.lab().vm(&CLIENT.parse()?)?;
        let mut stream = None;
        common::wait("the guest takes connections", || {
            let connected = client.run_in(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)));
            stream = connected.ok().and_then(Result::ok);
            stream.is_some()
        });
        let mut stream = stream.expect("it was waited for");
        stream.set_nodelay(true)?;
        let lines = Arc::new(AtomicU64::new(0));
        let go_on = Arc::new(AtomicBool::new(true));
        let (heard, reader) = (Arc::clone(&lines), BufReader::new(stream.try_clone()?));
        let hearing = thread::spawn(move || {
            for (number, line) in reader.lines().enumerate() {
                let line = line.map_err(|error| error.to_string())?;
                if line != format!("line {number} of a stream that goes on") {
                    return Err(format!("line {number} came back as {line:?}"));
                }
                heard.fetch_add(1, Relaxed);
            }
            Ok(heard.load(Relaxed))
        });
        let goes_on = Arc::clone(&go_on);
        let saying = thread::spawn(move || {
            let mut said = 0;
            while goes_on.load(Relaxed) {
                writeln!(stream, "line {said} of a stream that goes on")
                    .map_err(|error| error.to_string())?;
                said += 1;
                thread::sleep(Duration::from_millis(5));
            }
            stream.shutdown(std::net::Shutdown::Write).map_err(|error| error.to_string())?;
            Ok(said)
        });
        Ok(Self { lines, go_on, hearing, saying })
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    pub(crate) fn wait_for_lines(&self, count: u64) {
        common::wait("lines come back", || self.lines() >= count);
    }

    /// Ends the stream; every line must have come back.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.go_on.store(false, Relaxed);
        let said = self.saying.join().expect("it doesn't panic")?;
        common::wait("every line comes back", || {
            self.lines.load(Relaxed) >= said || self.hearing.is_finished()
        });
        if self.lines.load(Relaxed) < said {
            let why = self.hearing.join().expect("it doesn't panic");
            return Err(format!("{} of {said} lines came back: {why:?}", self.lines.load(Relaxed)));
        }
        Ok(())
    }
}
