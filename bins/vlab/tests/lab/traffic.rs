//! Traffic between machines, and what becomes of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vlab::{Host, Machine, VmPort};

use crate::scenarios::{MS, SOON};

/// Sockets in two machines, the second of which answers.
pub(crate) struct UdpPair {
    pub(crate) a: UdpSocket,
    pub(crate) b: UdpSocket,
    /// Where `b` is.
    pub(crate) to: SocketAddr,
}

impl UdpPair {
    pub(crate) fn new(a: &impl Machine, b: &impl Machine) -> Self {
        let bind = |machine_ip| UdpSocket::bind((machine_ip, 0)).unwrap();
        let (a, b) = (a.run_in(|| bind(a.ip())).unwrap(), b.run_in(|| bind(b.ip())).unwrap());
        for socket in [&a, &b] {
            socket.set_read_timeout(Some(500 * MS)).unwrap();
        }
        let to = b.local_addr().unwrap();
        Self { a, b, to }
    }

    pub(crate) fn answers(&self) -> bool {
        (100..110).any(|mark| self.round_trip(mark).is_some())
    }

    pub(crate) fn round_trip_within(&self, mark: u8, time: Duration) -> bool {
        self.b.set_read_timeout(Some(time)).unwrap();
        let came = self.round_trip(mark).is_some();
        self.b.set_read_timeout(Some(500 * MS)).unwrap();
        came
    }

    /// There and back, or nothing.
    pub(crate) fn round_trip(&self, mark: u8) -> Option<Duration> {
        let start = Instant::now();
        // Without a route for the moment, this is an error.
        self.a.send_to(&[mark; 100], self.to).ok()?;
        let back = receive_marked(&self.b, mark)?;
        self.b.send_to(&[mark; 100], back).ok()?;
        receive_marked(&self.a, mark)?;
        Some(start.elapsed())
    }
}

fn receive_marked(socket: &UdpSocket, mark: u8) -> Option<SocketAddr> {
    let mut buffer = [0; 200];
    loop {
        let (_, from) = socket.recv_from(&mut buffer).ok()?;
        if buffer[0] == mark {
            return Some(from);
        }
    }
}

pub(crate) fn tcp_pair(a: &impl Machine, b: &impl Machine) -> (TcpStream, TcpStream) {
    let listener = b.run_in(|| TcpListener::bind((b.ip(), 0)).unwrap()).unwrap();
    let to = listener.local_addr().unwrap();
    let client = a.run_in(|| TcpStream::connect_timeout(&to, SOON).unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
    }
    (client, server)
}

/// What arrives of UDP datagrams that are sent at `offered`, once the queue is
/// full: bits of Ethernet frames per second.
pub(crate) fn udp_mbit(from: &Host, to: &Host, offered: f64, time: Duration) -> f64 {
    const PAYLOAD: usize = 1000;
    const FRAME: usize = PAYLOAD + 8 + 20 + 14;
    let UdpPair { a, b, to } = UdpPair::new(from, to);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| {
            let start = Instant::now();
            let mut sent = 0.0;
            while !stop.load(Ordering::Relaxed) {
                while sent * FRAME as f64 * 8e-6 < start.elapsed().as_secs_f64() * offered {
                    a.send_to(&[0; PAYLOAD], to).unwrap();
                    sent += 1.0;
                }
                std::thread::sleep(MS);
            }
        });
        let count = |time: Duration| {
            let start = Instant::now();
            let mut frames = 0;
            while start.elapsed() < time {
                b.recv(&mut [0; PAYLOAD]).unwrap();
                frames += 1;
            }
            (frames * FRAME) as f64 * 8e-6 / start.elapsed().as_secs_f64()
        };
        count(500 * MS);
        count(time)
    })
}

/// What TCP carries in `time`, after a while to get going.
pub(crate) fn tcp_mbit(from: &Host, to: &Host, time: Duration) -> f64 {
    let (mut client, mut server) = tcp_pair(from, to);
    std::thread::scope(|scope| {
        // Until the other end closes.
        scope.spawn(move || while client.write_all(&[0; 16 * 1024]).is_ok() {});
        let mut buffer = vec![0; 64 * 1024];
        let mut count = |time: Duration| {
            let start = Instant::now();
            let mut bytes = 0;
            while start.elapsed() < time {
                bytes += server.read(&mut buffer).unwrap();
            }
            bytes as f64 * 8e-6 / start.elapsed().as_secs_f64()
        };
        count(500 * MS);
        let rate = count(time);
        drop(server);
        rate
    })
}

/// Plays the overlay: carries every frame of each port to all others while
/// `work` runs.
pub(crate) fn with_hub<T>(ports: &[VmPort], work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 2000];
            while !stop.load(Ordering::Relaxed) {
                for (n, from) in ports.iter().enumerate() {
                    while let Some(length) = from.receive(&mut buffer).unwrap() {
                        for (m, to) in ports.iter().enumerate() {
                            if n != m {
                                to.send(&buffer[..length]);
                            }
                        }
                    }
                }
                std::thread::sleep(MS);
            }
        });
        // Stops the hub also when `work` panics.
        let _stop = StopAtEnd(&stop);
        work()
    })
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
