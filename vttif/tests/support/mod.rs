//! Daemons, VMs and a clock, all simulated.

// Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vnet_core::control::{TrafficEntry, TrafficReport};
use vnet_core::{HostName, MacAddr, NetworkId, Shape};
use vttif::{Aggregator, Change, Parameters};

pub const NETWORK: NetworkId = NetworkId(3);

const STEP: Duration = Duration::from_millis(5);

/// An undirected edge between VMs, the lesser first.
pub type Edge = (usize, usize);

/// What happens to reports on their way.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub lost: f64,
    pub duplicated: f64,
    /// Up to so much later, so that reports overtake each other.
    pub delay: Duration,
}

impl Faults {
    pub const NONE: Self = Self { lost: 0.0, duplicated: 0.0, delay: Duration::from_millis(2) };
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub aggregator: Aggregator,
    pub changes: Vec<(Duration, Change)>,
    pub faults: Faults,
    /// The share of frames that are lost between two daemons.
    pub frames_lost: f64,
    pub rng: StdRng,
    /// The host of each VM.
    pub placement: Vec<usize>,
    daemons: Vec<Daemon>,
    under_way: Vec<(Instant, TrafficReport)>,
    next_poll: Instant,
    /// What each VM has sent to each other, in truth.
    pub truth: BTreeMap<(usize, usize), u64>,
}

struct Daemon {
    host: HostName,
    incarnation: u64,
    sequence: u64,
    next_report: Instant,
    counters: BTreeMap<(MacAddr, MacAddr), TrafficEntry>,
    changed: BTreeSet<(MacAddr, MacAddr)>,
    is_up: bool,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "somewhere time must begin")]
    pub fn new(seed: u64, hosts: usize, vms: usize, parameters: Parameters) -> Self {
        println!("seed {seed}, {hosts} hosts, {vms} VMs");
        let start = Instant::now() + Duration::from_secs(1000);
        let mut rng = StdRng::seed_from_u64(seed);
        let daemons = (0..hosts)
            .map(|host| Daemon {
                host: HostName::new(&format!("host{host}")).unwrap(),
                incarnation: rng.random(),
                sequence: 0,
                next_report: start + Duration::from_millis(rng.random_range(0..50)),
                counters: BTreeMap::new(),
                changed: BTreeSet::new(),
                is_up: true,
            })
            .collect();
        Self {
            now: start,
            start,
            aggregator: Aggregator::new(NETWORK, parameters).unwrap(),
            changes: Vec::new(),
            faults: Faults::NONE,
            frames_lost: 0.0,
            placement: (0..vms).map(|vm| vm % hosts).collect(),
            daemons,
            under_way: Vec::new(),
            next_poll: start,
            truth: BTreeMap::new(),
            rng,
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Lets time pass; `traffic` sends what is sent in each step.
    pub fn run(&mut self, time: Duration, mut traffic: impl FnMut(&mut Self, Duration)) {
        let end = self.now + time;
        while self.now < end {
            traffic(self, STEP);
            self.now += STEP;
            self.report();
            self.deliver();
            if self.now >= self.next_poll {
                self.next_poll = self.now + self.aggregator.parameters().update_interval;
                if let Some(change) = self.aggregator.poll(self.now) {
                    println!(
                        "{:>6} ms: {:?} (+{} -{})",
                        self.elapsed().as_millis(),
                        change.classification.names().iter().map(ToString::to_string).collect::<Vec<_>>(),
                        change.added.len(),
                        change.removed.len()
                    );
                    self.changes.push((self.elapsed(), change));
                }
            }
        }
    }

    pub fn send(&mut self, source: usize, destination: usize, bytes: u64) {
        if bytes == 0 {
            return;
        }
        *self.truth.entry((source, destination)).or_default() += bytes;
        let (from, to) = (self.placement[source], self.placement[destination]);
        self.daemons[from].count(mac(source), mac(destination), |entry| {
            entry.sent_frames += 1;
            entry.sent_bytes += bytes;
        });
        if self.rng.random_bool(self.frames_lost) {
            return;
        }
        self.daemons[to].count(mac(source), mac(destination), |entry| {
            entry.received_frames += 1;
            entry.received_bytes += bytes;
        });
    }

    /// A TCP connection's worth of `bytes`: data one way, acknowledgements back.
    pub fn tcp(&mut self, source: usize, destination: usize, bytes: u64) {
        self.send(source, destination, bytes);
        self.send(destination, source, bytes / 33);
    }

    /// All edges of `edges` busy both ways at about `rate` bytes per second.
    pub fn exchange(&mut self, edges: &[Edge], rate: f64, step: Duration) {
        for (a, b) in edges {
            let mean = rate * step.as_secs_f64();
            for (from, to) in [(*a, *b), (*b, *a)] {
                let bytes = (mean * self.rng.random_range(0.5..1.5)) as u64;
                self.tcp(from, to, bytes);
            }
        }
    }

    /// The frames of an idle network: address resolution, keepalives.
    pub fn chatter(&mut self, step: Duration) {
        let vms = self.placement.len();
        if self.rng.random_bool((step.as_secs_f64() * 4.0).min(1.0)) {
            let (a, b) = (self.rng.random_range(0..vms), self.rng.random_range(0..vms));
            if a != b {
                self.send(a, b, 42);
                self.send(b, a, 42);
            }
        }
    }

    /// The daemon dies and comes back with its counters at zero.
    pub fn restart(&mut self, host: usize) {
        let incarnation = self.rng.random();
        let daemon = &mut self.daemons[host];
        daemon.incarnation = incarnation;
        daemon.sequence = 0;
        daemon.counters.clear();
        daemon.changed.clear();
        daemon.is_up = true;
    }

    /// The daemon's reports stop (or resume); it goes on counting.
    pub fn mute(&mut self, host: usize, muted: bool) {
        self.daemons[host].is_up = !muted;
    }

    /// Every daemon that is up sends its whole matrix, and it arrives.
    pub fn resynchronise(&mut self) {
        self.now += Duration::from_secs(60);
        self.deliver();
        for daemon in &mut self.daemons {
            if daemon.is_up {
                daemon.changed = daemon.counters.keys().copied().collect();
                self.aggregator.update(self.now, &daemon.report());
            }
        }
    }

    /// The edges last reported, by VM.
    pub fn reported(&self) -> BTreeSet<Edge> {
        let view = self.aggregator.view(self.now);
        let vm: HashMap<MacAddr, usize> = (0..self.placement.len()).map(|vm| (mac(vm), vm)).collect();
        let vm = |index: u32| vm[&view.vertices[index as usize]];
        view.edges.iter().map(|(a, b)| (vm(*a).min(vm(*b)), vm(*a).max(vm(*b)))).collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.aggregator.view(self.now).names
    }

    fn report(&mut self) {
        let interval = self.aggregator.parameters().update_interval;
        for daemon in &mut self.daemons {
            if self.now < daemon.next_report {
                continue;
            }
            daemon.next_report = self.now + interval;
            if !daemon.is_up {
                continue;
            }
            let report = daemon.report();
            if self.rng.random_bool(self.faults.lost) {
                continue;
            }
            let copies = 1 + usize::from(self.rng.random_bool(self.faults.duplicated));
            for _ in 0..copies {
                let delay = self.faults.delay.mul_f64(self.rng.random());
                self.under_way.push((self.now + delay, report.clone()));
            }
        }
    }

    fn deliver(&mut self) {
        self.under_way.sort_by_key(|(at, _)| *at);
        let due = self.under_way.partition_point(|(at, _)| *at <= self.now);
        for (at, report) in self.under_way.drain(..due) {
            self.aggregator.update(at, &report);
        }
    }
}

impl Daemon {
    fn count(&mut self, source: MacAddr, destination: MacAddr, count: impl Fn(&mut TrafficEntry)) {
        let key = (source, destination);
        let entry = self.counters.entry(key).or_insert(TrafficEntry {
            network: NETWORK,
            source,
            destination,
            sent_frames: 0,
            sent_bytes: 0,
            received_frames: 0,
            received_bytes: 0,
        });
        count(entry);
        self.changed.insert(key);
    }

    fn report(&mut self) -> TrafficReport {
        let entries = self.changed.iter().map(|key| self.counters[key]).collect();
        self.changed.clear();
        self.sequence += 1;
        let (host, incarnation) = (self.host.clone(), self.incarnation);
        TrafficReport { host, incarnation, sequence: self.sequence - 1, entries }
    }
}

pub fn mac(vm: usize) -> MacAddr {
    MacAddr::local(vm as u32 + 1)
}

pub fn edges(shape: &str, vms: usize) -> Vec<Edge> {
    shape.parse::<Shape>().unwrap().edges(vms).unwrap()
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
