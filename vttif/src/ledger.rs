//! Turns the cumulative counters of many daemons into bytes per address pair,
//! each byte counted once.
//!
//! Counters only grow within a run of a daemon, so merging a report is taking
//! the maximum: late, duplicated and overtaken reports change nothing, and the
//! report after a lost one makes up for it.
//!
//! What the daemons say of the same pair is put together in its [`Flow`].

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use vnet_core::control::{TrafficEntry, TrafficReport};
use vnet_core::{HostName, MacAddr, NetworkId};

use crate::flow::{Arrival, Counters, Flow};
use crate::parameters::Parameters;

/// A directed pair of vertices.
pub(crate) type FlowKey = (u32, u32);

/// How a report was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It follows the last one of its daemon, or is the first of its run.
    InOrder,
    /// It is a duplicate or was overtaken by a later one; what it adds is counted.
    Late,
    /// Reports before it are missing. Entries that changed only in those stay
    /// behind until they change again; the daemon's whole matrix
    /// (`Request::Traffic`) would bring them up to date at once.
    Gap {
        /// How many.
        missing: u64,
    },
    /// It is from a run of the daemon that has ended, and was ignored.
    Stale,
    /// There are too many daemons already; it was ignored.
    Refused,
}

/// How many former runs of a daemon are told apart from new ones.
const FORMER_RUNS: usize = 8;

#[derive(Debug)]
pub(crate) struct Ledger {
    network: NetworkId,
    daemon_ids: HashMap<HostName, usize>,
    daemons: Vec<Daemon>,
    vertex_ids: HashMap<MacAddr, u32>,
    vertices: Vec<Option<Vertex>>,
    free: Vec<u32>,
    flows: HashMap<FlowKey, Flow>,
    due: Vec<FlowKey>,
    other: u64,
    /// How many times all daemons have reported.
    rounds: u64,
}

#[derive(Debug)]
struct Daemon {
    incarnation: u64,
    former: VecDeque<u64>,
    next_sequence: u64,
    /// Are all pairs that `counters` lacks known to have started at zero?
    whole: bool,
    heard: Instant,
    /// Has it reported in this interval?
    reported: bool,
    /// Has it reported in this round?
    is_in_round: bool,
    counters: HashMap<(MacAddr, MacAddr), Counters>,
}

#[derive(Debug)]
struct Vertex {
    mac: MacAddr,
    /// The daemon that last took frames of it from a port.
    home: Option<usize>,
    active: Instant,
}

impl Ledger {
    pub(crate) fn new(network: NetworkId) -> Self {
        Self {
            network,
            daemon_ids: HashMap::new(),
            daemons: Vec::new(),
            vertex_ids: HashMap::new(),
            vertices: Vec::new(),
            free: Vec::new(),
            flows: HashMap::new(),
            due: Vec::new(),
            other: 0,
            rounds: 0,
        }
    }

    pub(crate) const fn network(&self) -> NetworkId {
        self.network
    }

    pub(crate) fn merge(&mut self, now: Instant, report: &TrafficReport, parameters: &Parameters) -> Receipt {
        let (id, first) = match self.daemon_ids.get(&report.host) {
            Some(&id) if self.daemons[id].former.contains(&report.incarnation) => return Receipt::Stale,
            Some(&id) => (id, self.daemons[id].incarnation != report.incarnation),
            None if self.daemons.len() >= parameters.max_daemons => return Receipt::Refused,
            None => (self.add_daemon(now, report), true),
        };
        if first {
            self.daemons[id].restart(report);
        }
        let daemon = &mut self.daemons[id];
        let receipt = daemon.receive(report.sequence);
        let before = daemon.heard;
        daemon.heard = before.max(now);
        (daemon.reported, daemon.is_in_round) = (true, true);

        let arrival = Arrival { now, daemon: id, before, first };
        if first {
            daemon.whole = report.sequence == 0;
        }
        let network = self.network;
        for entry in report.entries.iter().filter(|entry| entry.network == network) {
            self.merge_entry(entry, &arrival, parameters);
        }
        if first {
            self.daemons[id].whole = true;
        }
        receipt
    }

    /// Takes the bytes that have come in since the last call, pair by pair.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (FlowKey, f64)> {
        self.due.drain(..).filter_map(|key| {
            let flow = self.flows.get_mut(&key)?;
            Some((key, std::mem::take(&mut flow.due)))
        })
    }

    /// Begins the next interval.
    pub(crate) fn end_interval(&mut self, now: Instant, parameters: &Parameters) {
        let is_heard = |daemon: &Daemon| daemon.is_in_round || daemon.is_silent(now, parameters);
        let is_round = self.daemons.iter().all(is_heard);
        self.rounds += u64::from(is_round);
        for daemon in &mut self.daemons {
            daemon.reported = false;
            daemon.is_in_round &= !is_round;
        }
    }

    /// How many times all daemons have reported, but those that are silent. On hosts
    /// with more to do than they can, that takes longer than an interval.
    pub(crate) const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Is the daemon of this vertex still to report for this interval?
    pub(crate) fn awaits(&self, now: Instant, vertex: u32, parameters: &Parameters) -> bool {
        self.home(vertex).is_some_and(|daemon| !daemon.reported && !daemon.is_silent(now, parameters))
    }

    /// Has no daemon reported for long?
    pub(crate) fn is_deaf(&self, now: Instant, parameters: &Parameters) -> bool {
        self.daemons.iter().all(|daemon| daemon.is_silent(now, parameters))
    }

    /// Forgets pairs and addresses without traffic for long; sooner where room
    /// for new ones is short. `forgotten` is told of
    /// the pairs that neither way is left of.
    pub(crate) fn forget(
        &mut self,
        now: Instant,
        parameters: &Parameters,
        mut forgotten: impl FnMut(FlowKey),
    ) {
        let short =
            self.flows.len() >= parameters.max_pairs || self.vertex_ids.len() >= parameters.max_vertices;
        let after = if short { parameters.idle_after } else { parameters.forget_after };
        let is_old = |active: Instant| now.saturating_duration_since(active) > after;
        let old: Vec<FlowKey> =
            self.flows.iter().filter(|(_, flow)| is_old(flow.active)).map(|(key, _)| *key).collect();
        for key in &old {
            self.flows.remove(key);
        }
        for key in old {
            if !self.flows.contains_key(&(key.1, key.0)) {
                forgotten(key);
            }
            let (Some(source), Some(destination)) = (self.address(key.0), self.address(key.1)) else {
                continue;
            };
            for daemon in &mut self.daemons {
                // Should the pair come back, its counters have a past.
                if daemon.counters.remove(&(source, destination)).is_some() {
                    daemon.whole = false;
                }
            }
        }
        let mut used = vec![false; self.vertices.len()];
        for (source, destination) in self.flows.keys() {
            used[*source as usize] = true;
            used[*destination as usize] = true;
        }
        for (id, slot) in self.vertices.iter_mut().enumerate() {
            if let Some(vertex) = slot.take_if(|vertex| !used[id] && is_old(vertex.active)) {
                self.vertex_ids.remove(&vertex.mac);
                self.free.push(id as u32);
            }
        }
    }

    pub(crate) fn address(&self, vertex: u32) -> Option<MacAddr> {
        self.vertices.get(vertex as usize)?.as_ref().map(|vertex| vertex.mac)
    }

    /// The vertices, in the order of their addresses.
    pub(crate) fn addresses(&self) -> Vec<(MacAddr, u32)> {
        let mut all: Vec<_> = self.vertex_ids.iter().map(|(mac, id)| (*mac, *id)).collect();
        all.sort_unstable();
        all
    }

    pub(crate) fn bytes(&self, source: MacAddr, destination: MacAddr) -> u64 {
        let id = |mac| self.vertex_ids.get(&mac).copied();
        let key = id(source).zip(id(destination));
        key.and_then(|key| self.flows.get(&key)).map_or(0, |flow| flow.sent.max(flow.received))
    }

    pub(crate) const fn other(&self) -> u64 {
        self.other
    }

    fn add_daemon(&mut self, now: Instant, report: &TrafficReport) -> usize {
        let id = self.daemons.len();
        self.daemons.push(Daemon {
            incarnation: report.incarnation,
            former: VecDeque::new(),
            next_sequence: 0,
            whole: false,
            heard: now,
            reported: true,
            is_in_round: true,
            counters: HashMap::new(),
        });
        self.daemon_ids.insert(report.host.clone(), id);
        id
    }

    fn merge_entry(&mut self, entry: &TrafficEntry, arrival: &Arrival, parameters: &Parameters) {
        let TrafficEntry { source, destination, .. } = *entry;
        let is_station = |mac: MacAddr| !mac.is_multicast() && mac != MacAddr::ZERO;
        if !is_station(source) || !is_station(destination) || source == destination {
            return;
        }
        let daemon = &mut self.daemons[arrival.daemon];
        let room = daemon.counters.len() < parameters.max_pairs;
        let known = daemon.counters.get_mut(&(source, destination));
        let has_past = known.is_none() && !daemon.whole;
        let fresh = if let Some(known) = known {
            known.advance(entry)
        } else if room {
            let mut counters = Counters::default();
            let fresh = counters.advance(entry);
            daemon.counters.insert((source, destination), counters);
            fresh
        } else {
            daemon.whole = false;
            self.other = self.other.saturating_add(entry.sent_bytes);
            return;
        };
        if fresh.sent == 0 && fresh.received == 0 {
            return;
        }
        let Some(key) = self.flow(source, destination, arrival, parameters) else {
            self.other = self.other.saturating_add(if has_past { 0 } else { fresh.sent });
            return;
        };
        if fresh.sent > 0
            && let Some(vertex) = &mut self.vertices[key.0 as usize]
        {
            vertex.home = Some(arrival.daemon);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if has_past {
            flow.align();
            return;
        }
        if flow.advance(&fresh, arrival, parameters) {
            self.due.push(key);
        }
    }

    /// The key of a pair, which is watched from now on if there is room.
    fn flow(
        &mut self,
        source: MacAddr,
        destination: MacAddr,
        arrival: &Arrival,
        parameters: &Parameters,
    ) -> Option<FlowKey> {
        let id = |mac| self.vertex_ids.get(&mac).copied();
        let known = id(source).zip(id(destination));
        if known.is_none_or(|key| !self.flows.contains_key(&key)) {
            let new = usize::from(id(source).is_none()) + usize::from(id(destination).is_none());
            if self.flows.len() >= parameters.max_pairs
                || self.vertex_ids.len() + new > parameters.max_vertices
            {
                return None;
            }
        }
        let key = (self.vertex(source, arrival.now), self.vertex(destination, arrival.now));
        self.flows.entry(key).or_insert_with(|| Flow::new(arrival.now));
        Some(key)
    }

    fn vertex(&mut self, mac: MacAddr, now: Instant) -> u32 {
        let id = *self.vertex_ids.entry(mac).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.vertices.push(None);
                (self.vertices.len() - 1) as u32
            })
        });
        let slot = &mut self.vertices[id as usize];
        slot.get_or_insert(Vertex { mac, home: None, active: now }).active = now;
        id
    }

    fn home(&self, vertex: u32) -> Option<&Daemon> {
        let home = self.vertices.get(vertex as usize)?.as_ref()?.home?;
        self.daemons.get(home)
    }
}

impl Daemon {
    fn restart(&mut self, report: &TrafficReport) {
        if self.incarnation != report.incarnation {
            self.former.push_back(self.incarnation);
            if self.former.len() > FORMER_RUNS {
                self.former.pop_front();
            }
        }
        self.incarnation = report.incarnation;
        self.next_sequence = report.sequence;
        self.counters.clear();
    }

    fn receive(&mut self, sequence: u64) -> Receipt {
        if sequence < self.next_sequence {
            return Receipt::Late;
        }
        let missing = sequence - self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        if missing == 0 { Receipt::InOrder } else { Receipt::Gap { missing } }
    }

    fn is_silent(&self, now: Instant, parameters: &Parameters) -> bool {
        now.saturating_duration_since(self.heard) > parameters.daemon_timeout
    }
}
