//! A path with a queue, cross traffic, clocks that disagree, and an application
//! over TCP, all simulated.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wren::Sample;

/// How the packets of others arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cross {
    Poisson,
    /// Times between packets are Pareto-distributed with this shape.
    Pareto(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// bit/s
    pub capacity: f64,
    /// One way, in seconds.
    pub latency: f64,
    /// Share of the capacity that others use.
    pub load: f64,
    pub cross: Cross,
    /// Bytes that the application sends in each iteration.
    pub message: u64,
    /// Seconds between the end of an iteration and the start of the next.
    pub compute: f64,
    /// Seconds.
    pub length: f64,
    pub offset: f64,
    pub skew: f64,
    /// Mean of the exponentially distributed error of times of arrival, in seconds.
    pub noise: f64,
    /// The least time between two packets of ours, in seconds.
    pub gap: f64,
}

impl Setup {
    pub fn new(capacity: f64, latency: f64, load: f64) -> Self {
        Self {
            capacity,
            latency,
            load,
            cross: Cross::Poisson,
            message: 256 << 10,
            compute: 0.03,
            length: 30.0,
            offset: 1.0,
            skew: 50e-6,
            noise: 8e-6,
            gap: 5e-6,
        }
    }
}

pub struct Outcome {
    pub forth: Vec<Sample>,
    pub back: Vec<Sample>,
    /// What others sent, in bit/s.
    pub cross: f64,
    /// What we sent.
    pub own: f64,
    pub now_ns: u64,
}

const PACKET: u32 = 1466;
pub const ACK: u32 = 122;
const THEIRS: f64 = 1514.0;

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Event {
    /// The application has a message.
    Message,
    /// The sender may go on.
    Send,
    /// An acknowledgement arrives for so many packets.
    Ack(u32),
    /// The sender learns that a packet was lost.
    Lost,
}

struct Path {
    capacity: f64,
    limit: f64,
    free_at: f64,
    next_cross: f64,
    load: f64,
    cross: Cross,
    carried: f64,
    rng: StdRng,
}

impl Path {
    fn gap(&mut self) -> f64 {
        if self.load <= 0.0 {
            return f64::INFINITY;
        }
        let mean = THEIRS * 8.0 / (self.capacity * self.load);
        let u: f64 = 1.0 - self.rng.random::<f64>();
        match self.cross {
            Cross::Poisson => -mean * u.ln(),
            Cross::Pareto(shape) => mean * (shape - 1.0) / shape * u.powf(-1.0 / shape),
        }
    }

    fn others_until(&mut self, now: f64) {
        while self.next_cross <= now {
            let at = self.next_cross;
            if let Some(_sent) = self.enqueue(at, THEIRS) {
                self.carried += THEIRS * 8.0;
            }
            self.next_cross = at + self.gap();
        }
    }

    fn enqueue(&mut self, at: f64, bytes: f64) -> Option<f64> {
        let waiting = (self.free_at - at).max(0.0) * self.capacity / 8.0;
        if waiting > 0.0 && waiting + bytes > self.limit {
            return None;
        }
        self.free_at = self.free_at.max(at) + bytes * 8.0 / self.capacity;
        Some(self.free_at)
    }
}

struct Key(f64, u64, Event);
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Key {}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

pub fn simulate(setup: &Setup, seed: u64) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let limit = (setup.capacity / 8.0 * 0.05).max(32.0 * 1514.0);
    let mut path = Path {
        capacity: setup.capacity,
        limit,
        free_at: 0.0,
        next_cross: 0.0,
        load: setup.load,
        cross: setup.cross,
        carried: 0.0,
        rng: StdRng::seed_from_u64(seed ^ 0x5eed),
    };
    path.next_cross = path.gap();
    let mut events: BinaryHeap<Reverse<Key>> = BinaryHeap::new();
    let mut count = 0;
    let mut at = |events: &mut BinaryHeap<Reverse<Key>>, time: f64, event: Event| {
        count += 1;
        events.push(Reverse(Key(time, count, event)));
    };
    at(&mut events, 0.1, Event::Message);

    let per_message = setup.message.div_ceil(1348).max(1);
    let (mut cwnd, mut ssthresh, mut in_flight, mut to_send, mut unacked) =
        (10.0_f64, 1e9_f64, 0_u64, 0_u64, 0_u64);
    let (mut cpu_at, mut recovered_at, mut last_send, mut acked_pending) = (0.0_f64, 0.0, -1e9_f64, 0_u32);
    let mut scheduled = false;
    let (mut forth, mut back) = (Vec::new(), Vec::new());
    let (mut sequence, mut back_sequence) = (0, 0);
    let mut last_arrival = 0.0_f64;
    let mut last_back = 0.0_f64;
    let mut own = 0.0;
    // A message's last packets are acknowledged one by one.
    let mut recent: VecDeque<f64> = VecDeque::new();
    let clock = |t: f64| ((t + setup.offset) * (1.0 + setup.skew) * 1e9) as u64 + 5_000_000_000;
    let here = |t: f64| (t * 1e9) as u64 + 1_000_000_000;

    while let Some(Reverse(Key(now, _, event))) = events.pop() {
        if now > setup.length {
            break;
        }
        match event {
            Event::Message => {
                to_send += per_message;
                unacked += per_message;
                if now - last_send > (0.2_f64).max(3.0 * setup.latency) {
                    ssthresh = ssthresh.min(cwnd.max(10.0));
                    cwnd = cwnd.min(10.0);
                }
                if !scheduled {
                    scheduled = true;
                    at(&mut events, now.max(cpu_at), Event::Send);
                }
            }
            Event::Send => {
                scheduled = false;
                if to_send == 0 || in_flight as f64 >= cwnd {
                    continue;
                }
                let jitter = -setup.gap * 0.2 * (1.0 - rng.random::<f64>()).ln();
                let hiccup = if rng.random::<f64>() < 2e-4 { rng.random::<f64>() * 1e-3 } else { 0.0 };
                cpu_at = now + setup.gap + jitter + hiccup;
                last_send = now;
                to_send -= 1;
                in_flight += 1;
                sequence += 1;
                let enters = now + setup.noise * -(1.0 - rng.random::<f64>()).ln() * 0.5;
                path.others_until(enters);
                match path.enqueue(enters, f64::from(PACKET)) {
                    None => {
                        let rtt = 2.0 * setup.latency + limit * 8.0 / setup.capacity;
                        at(&mut events, now + rtt + 1e-3, Event::Lost);
                    }
                    Some(departs) => {
                        own += f64::from(PACKET) * 8.0;
                        let noise = -setup.noise * (1.0 - rng.random::<f64>()).ln();
                        let hiccup =
                            if rng.random::<f64>() < 1e-4 { rng.random::<f64>() * 1e-3 } else { 0.0 };
                        last_arrival = last_arrival.max(departs + setup.latency + noise + hiccup);
                        forth.push(Sample {
                            sequence,
                            sent_ns: here(now),
                            arrived_ns: clock(last_arrival),
                            bytes: PACKET,
                        });
                        acked_pending += 1;
                        if acked_pending >= 2 || to_send == 0 {
                            let acks = acked_pending;
                            acked_pending = 0;
                            let sent = last_arrival + 5e-6;
                            let noise = -setup.noise * (1.0 - rng.random::<f64>()).ln();
                            last_back = last_back
                                .max(sent + setup.latency + noise + f64::from(ACK) * 8.0 / setup.capacity);
                            back_sequence += 1;
                            back.push(Sample {
                                sequence: back_sequence,
                                sent_ns: clock(sent),
                                arrived_ns: here(last_back),
                                bytes: ACK,
                            });
                            at(&mut events, last_back, Event::Ack(acks));
                        }
                    }
                }
                recent.push_back(now);
                if to_send > 0 && (in_flight as f64) < cwnd {
                    scheduled = true;
                    at(&mut events, cpu_at, Event::Send);
                }
            }
            Event::Ack(acks) => {
                in_flight = in_flight.saturating_sub(u64::from(acks));
                unacked = unacked.saturating_sub(u64::from(acks));
                for _ in 0..acks {
                    cwnd += if cwnd < ssthresh { 1.0 } else { 1.0 / cwnd };
                }
                cwnd = cwnd.min(2000.0);
                if unacked == 0 && to_send == 0 {
                    at(&mut events, now + setup.compute + setup.latency, Event::Message);
                } else if to_send > 0 && !scheduled {
                    scheduled = true;
                    at(&mut events, now.max(cpu_at), Event::Send);
                }
            }
            Event::Lost => {
                in_flight = in_flight.saturating_sub(1);
                to_send += 1;
                if now >= recovered_at {
                    ssthresh = (cwnd / 2.0).max(2.0);
                    cwnd = ssthresh;
                    recovered_at = now + 2.0 * setup.latency + 0.05;
                }
                if !scheduled {
                    scheduled = true;
                    at(&mut events, now.max(cpu_at), Event::Send);
                }
            }
        }
    }
    let cross = path.carried / setup.length;
    Outcome { forth, back, cross, own: own / setup.length, now_ns: clock(setup.length) }
}
