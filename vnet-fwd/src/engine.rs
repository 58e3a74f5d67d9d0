//! The forwarding engine: a frame and where it came in go in, its outputs come
//! out, and everything is counted.

use std::sync::Arc;

use vnet_core::control::TrafficEntry;
use vnet_core::encap::Header;
use vnet_core::{Action, Frame, InterfaceName, LinkId, MacAddr, NetworkId, RuleVersion};

use crate::cache::{Cache, Counted, FlowKey, Outputs, Route};
use crate::port::{PortId, Ports};
use crate::publish::Reader;
use crate::stats::{DropReason, Drops};
use crate::table::{RuleSet, RuleTable};
use crate::traffic::{PairCounts, TrafficTable, Untracked};

/// What the engine needs to know of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Where it comes from.
    pub source: MacAddr,
    /// Where it goes.
    pub destination: MacAddr,
    /// Its length in bytes; of a super-frame, the lengths of its segments together.
    pub bytes: usize,
    /// How many frames it is on a wire: one, or the segments of a super-frame.
    pub frames: usize,
}

impl FrameInfo {
    /// Reads it from the frame; `None` if `frame` is no Ethernet frame.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let view = Frame::parse(frame).ok()?;
        Some(Self { source: view.source(), destination: view.destination(), bytes: frame.len(), frames: 1 })
    }
}

/// How a frame came in.
#[derive(Clone, Copy, Debug)]
pub enum Ingress {
    /// From a local interface.
    Interface(PortId),
    /// From a link, with this header.
    Link(PortId, Header),
}

/// What a frame goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its network.
    pub network: NetworkId,
    /// The rule set that it is forwarded by on its whole way.
    pub version: RuleVersion,
    /// How many more daemons it may pass.
    pub hop_limit: u8,
}

/// The engine of one worker: rules compiled by its
/// [`RuleBook`](crate::RuleBook), a private cache, and counters. It does no
/// I/O: the caller reads frames from ports and delivers them to ports.
pub struct Forwarder {
    rules: Reader<RuleTable>,
    ports: Ports,
    /// Counts changes of rules and ports, each; stamps cache entries.
    epoch: u64,
    /// The epoch in which ports changed last.
    ports_since: u64,
    cache: Cache,
    hop_limit: u8,
    drops: Drops,
    traffic: TrafficTable,
}

impl Forwarder {
    /// An engine without ports.
    ///
    /// `hop_limit` is what frames start with that enter here;
    /// `cache_capacity` and `traffic_capacity` bound the flows that are cached
    /// and the address pairs that are counted.
    pub fn new(
        rules: Reader<RuleTable>,
        hop_limit: u8,
        cache_capacity: usize,
        traffic_capacity: usize,
    ) -> Self {
        Self {
            rules,
            ports: Ports::default(),
            epoch: 0,
            ports_since: 0,
            cache: Cache::new(cache_capacity),
            hop_limit,
            drops: Drops::default(),
            traffic: TrafficTable::new(traffic_capacity),
        }
    }

    /// Adds an interface, or changes the network of the one of that name.
    pub fn add_interface(&mut self, name: InterfaceName, network: NetworkId) -> PortId {
        self.ports_change();
        self.ports.add_interface(name, network)
    }

    /// Adds a link; one that exists keeps its id.
    pub fn add_link(&mut self, link: LinkId) -> PortId {
        self.ports_change();
        self.ports.add_link(link)
    }

    /// Forgets a port. Its id may be given to a later one.
    pub fn remove_port(&mut self, port: PortId) {
        self.ports_change();
        self.ports.remove(port);
    }

    fn ports_change(&mut self) {
        self.epoch += 1;
        self.ports_since = self.epoch;
    }

    /// Takes the newest rules. To be called before each batch of frames, or after
    /// each frame is read, if rules are to apply to every frame read after they
    /// were published. Costs one atomic load while nothing has changed.
    #[inline]
    pub fn refresh(&mut self) {
        let before = self.rules.generation();
        if self.rules.refresh() {
            self.epoch += self.rules.generation() - before;
        }
    }

    /// Forwards one frame or super-frame: calls `deliver` for each of its outputs, with the
    /// label for those that are links.
    ///
    /// `deliver` returns why the output could not take the frame, if so; that
    /// is counted here, like every other drop.
    #[inline]
    pub fn forward(
        &mut self,
        ingress: Ingress,
        frame: FrameInfo,
        mut deliver: impl FnMut(PortId, &Label) -> Result<(), DropReason>,
    ) {
        let Some((key, hop_limit)) = self.classify(ingress, frame) else { return };
        let at = match self.cache.find(&key, self.epoch) {
            Some(at) => at,
            None => self.resolve(key),
        };
        let (frames, bytes) = (frame.frames as u64, frame.bytes as u64);
        let Some((version, outputs)) = self.cache.count(at, frames, bytes) else { return };
        let label = Label { network: key.network, version, hop_limit };
        let (drops, mut refused) = (&mut self.drops, 0);
        let mut deliver = |port: PortId, drops: &mut Drops| {
            if port.is_link() && hop_limit == 0 {
                drops.add(DropReason::HopLimit, frames);
            } else if let Err(reason) = deliver(port, &label) {
                drops.add(reason, frames);
                refused += u64::from(!port.is_link());
            }
        };
        match outputs {
            Outputs::One(port) => deliver(port, drops),
            Outputs::Route(route) => {
                route.lost.iter().for_each(|reason| drops.add(*reason, frames));
                route.outputs.iter().for_each(|port| deliver(*port, drops));
            }
        }
        if refused > 0 {
            self.cache.refused(at, frames * refused, bytes * refused);
        }
    }

    /// Counts a frame that never got as far as [`Forwarder::forward`].
    pub fn count_drop(&mut self, reason: DropReason) {
        self.drops.count(reason);
    }

    /// Counts what a port has dropped by itself.
    pub fn count_all(&mut self, drops: &Drops) {
        self.drops.merge(drops);
    }

    /// Frames dropped, by reason.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Hands the counts that the cache holds on to the rules and the traffic
    /// matrix, so that both are exact.
    pub fn flush_counts(&mut self) {
        let traffic = &mut self.traffic;
        self.cache.take_counts(|entry| give_counts(entry, traffic));
    }

    /// The local traffic matrix, cumulative, in no particular order.
    pub fn traffic(&mut self) -> Vec<TrafficEntry> {
        self.flush_counts();
        self.traffic.report()
    }

    /// Traffic of pairs that found the matrix full.
    pub fn untracked_traffic(&mut self) -> Untracked {
        self.flush_counts();
        self.traffic.untracked()
    }

    /// The frame's flow, and its hop limit when it goes on; `None` if it ends here.
    fn classify(&mut self, ingress: Ingress, frame: FrameInfo) -> Option<(FlowKey, u8)> {
        let (ingress, network, version, hop_limit) = match ingress {
            Ingress::Interface(port) => match self.ports.network_of(port) {
                Some(network) => (port, network, None, self.hop_limit),
                None => {
                    self.drops.add(DropReason::NoInterface, frame.frames as u64);
                    return None;
                }
            },
            Ingress::Link(port, header) => match header.hop_limit.checked_sub(1) {
                Some(left) => (port, header.network, Some(header.rule_version), left),
                None => {
                    self.drops.add(DropReason::HopLimit, frame.frames as u64);
                    return None;
                }
            },
        };
        let FrameInfo { source, destination, .. } = frame;
        Some((FlowKey { source, destination, network, ingress, version }, hop_limit))
    }

    /// The path of a frame whose flow is not in the cache.
    #[cold]
    fn resolve(&mut self, key: FlowKey) -> usize {
        // Of rules that change by the thousand, few are about a given flow.
        let (table, epoch, ports_since) = (self.rules.get(), self.epoch, self.ports_since);
        let unchanged = |route: &Route, resolved: u64| {
            // Since ports changed, epochs have counted nothing but changes of rules.
            if resolved < ports_since {
                return false;
            }
            if table.is_unchanged_for(key.network, key.source, key.destination, epoch - resolved) {
                return true;
            }
            let version = key.version.unwrap_or_else(|| table.current(key.network));
            let same = |set: &RuleSet| {
                let rules = set.lookup(key.source, key.destination);
                rules.map(Arc::as_ptr).eq(route.rules.iter().map(Arc::as_ptr))
            };
            route.version == version
                && table.rule_set(key.network, version).map_or(route.rules.is_empty(), same)
        };
        if let Some(at) = self.cache.revive(&key, epoch, unchanged) {
            return at;
        }
        let route = self.route(&key);
        let traffic = &mut self.traffic;
        self.cache.insert(key, self.epoch, route, |entry| give_counts(entry, traffic))
    }

    fn route(&self, key: &FlowKey) -> Route {
        let table = self.rules.get();
        let version = key.version.unwrap_or_else(|| table.current(key.network));
        let rules: Box<[_]> = match table.rule_set(key.network, version) {
            Some(set) => set.lookup(key.source, key.destination).cloned().collect(),
            None => Box::default(),
        };
        let mut outputs = smallvec::SmallVec::new();
        let mut missing: Vec<(&Action, DropReason)> = Vec::new();
        for rule in &rules {
            let action = &rule.rule().action;
            match self.output(action, key.network) {
                Ok(port) if port == key.ingress => {}
                Ok(port) if outputs.contains(&port) => {}
                Ok(port) => outputs.push(port),
                Err(_) if missing.iter().any(|(other, _)| *other == action) => {}
                Err(reason) => missing.push((action, reason)),
            }
        }
        outputs.sort_unstable(); // interfaces first
        let interfaces = outputs.iter().filter(|port| !port.is_link()).count();
        let mut lost: Vec<DropReason> = missing.into_iter().map(|(_, reason)| reason).collect();
        if rules.is_empty() {
            lost.push(DropReason::NoRule);
        } else if outputs.is_empty() && lost.is_empty() {
            lost.push(DropReason::OnlyBack);
        }
        Route { outputs, interfaces, lost: lost.into(), version, rules }
    }

    fn output(&self, action: &Action, network: NetworkId) -> Result<PortId, DropReason> {
        match action {
            Action::Edge(edge) => {
                self.ports.link(&LinkId::new(&edge.from, &edge.to)).ok_or(DropReason::NoLink)
            }
            Action::Interface(name) => match self.ports.interface(name) {
                None => Err(DropReason::NoInterface),
                Some((_, other)) if other != network => Err(DropReason::WrongNetwork),
                Some((port, _)) => Ok(port),
            },
        }
    }
}

fn give_counts(Counted { key, route, counts, row }: Counted<'_>, traffic: &mut TrafficTable) {
    if counts.frames == 0 {
        return;
    }
    for rule in &route.rules {
        rule.count(counts.frames, counts.bytes);
    }
    let from_here = !key.ingress.is_link();
    let pair = PairCounts {
        sent_frames: if from_here { counts.frames } else { 0 },
        sent_bytes: if from_here { counts.bytes } else { 0 },
        received_frames: counts.delivered_frames,
        received_bytes: counts.delivered_bytes,
    };
    if pair == PairCounts::default() {
        return; // in transit between two links
    }
    *row = row.or_else(|| traffic.row(key.network, key.source, key.destination));
    traffic.add(*row, &pair);
}
