//! The rule cache: flows that were resolved before.
//!
//! It is set-associative: a flow's hash names a set of eight places, and a small
//! tag of the hash finds the flow among them. Every entry carries the epoch in
//! which it was resolved; an entry of an earlier epoch counts as absent and is
//! looked at again in place. So a change of rules costs nothing until a flow is
//! next seen, and little then if the change was about others. What a hit needs of
//! an entry is in one line of the processor's cache.
//!
//! **Policy when full.** A new flow takes a free place of its set. If there is
//! none and more than a quarter of the cache is in use, the cache doubles, up to
//! its capacity. Otherwise the least recently used flow of the set makes room.
//! (At a quarter, one set in 4,000 has more flows than places by chance.)
//!
//! A hit takes no lock, allocates nothing and does no atomic operation. Frames
//! are counted in the entry; the counts move on to rules and address pairs when
//! somebody asks for them or the entry is given up.

use std::sync::Arc;

use smallvec::SmallVec;
use vnet_core::{MacAddr, NetworkId, RuleVersion};

use crate::port::PortId;
use crate::stats::DropReason;
use crate::table::RuleCell;
use crate::trie::mix;

const WAYS: usize = 8;
const FIRST_SETS: usize = 8;

/// What decides where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    pub(crate) source: MacAddr,
    pub(crate) destination: MacAddr,
    pub(crate) network: NetworkId,
    pub(crate) ingress: PortId,
    /// The version that a frame came with; `None` for a frame that enters here.
    pub(crate) version: Option<RuleVersion>,
}

impl FlowKey {
    #[inline]
    fn words(&self) -> Words {
        let version = self.version.map_or(0x100, |v| u64::from(v.0));
        let place = u64::from(self.network.0) << 32 | u64::from(self.ingress.to_bits());
        Words { destination: self.destination.to_u64() | version << 48, source: self.source.to_u64(), place }
    }
}

/// A flow's key, as it is compared and hashed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Words {
    /// With the version in the upper bits.
    destination: u64,
    source: u64,
    /// Network and ingress.
    place: u64,
}

impl Words {
    #[inline]
    fn hash(self) -> u64 {
        let high = self.source ^ self.place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mix(u128::from(high) << 64 | u128::from(self.destination))
    }
}

/// Where the frames of a flow go.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// Interfaces first, then links; each once.
    pub(crate) outputs: SmallVec<[PortId; 4]>,
    /// How many of the outputs are interfaces.
    pub(crate) interfaces: usize,
    /// Why outputs are missing, one reason for each.
    pub(crate) lost: Box<[DropReason]>,
    /// The version that its frames go on with.
    pub(crate) version: RuleVersion,
    /// The rules that apply.
    pub(crate) rules: Box<[Arc<RuleCell>]>,
}

/// Frames of a flow since its counts were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlowCounts {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// To interfaces, by each of them.
    pub(crate) delivered_frames: u64,
    pub(crate) delivered_bytes: u64,
}

/// What a hit reads and writes: one line of the processor's cache.
#[derive(Clone, Default)]
#[repr(align(64))]
struct Hot {
    words: Words,
    epoch: u64,
    frames: u64,
    bytes: u64,
    used: u32,
    /// The only output of the route, if it has one and none is missing.
    only: Option<PortId>,
    version: RuleVersion,
    /// Is its place in the list of those that have counted?
    listed: bool,
}

/// The rest of a flow.
struct Cold {
    key: FlowKey,
    route: Route,
    /// Frames and bytes that interfaces did not take.
    refused: (u64, u64),
    /// Where its address pair is counted, once that is known.
    row: Option<u32>,
}

/// A flow that was counted.
pub(crate) struct Counted<'a> {
    pub(crate) key: &'a FlowKey,
    pub(crate) route: &'a Route,
    pub(crate) counts: FlowCounts,
    /// Where its address pair is counted, to be filled in.
    pub(crate) row: &'a mut Option<u32>,
}

/// Where a frame is to go, of a flow that is in the cache.
pub(crate) enum Outputs<'a> {
    /// To one port.
    One(PortId),
    /// As the route says.
    Route(&'a Route),
}

/// The tags of a set's places; 0 marks a free one.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Tags([u32; WAYS]);

impl Tags {
    /// The places that have this tag, as bits. (Without branches: which place it is
    /// can't be predicted.)
    #[inline]
    fn places(&self, tag: u32) -> u32 {
        self.0.iter().enumerate().fold(0, |found, (way, other)| found | u32::from(*other == tag) << way)
    }
}

pub(crate) struct Cache {
    tags: Vec<Tags>,
    /// The entries of the sets, in the order of the tags.
    hot: Vec<Hot>,
    cold: Vec<Option<Cold>>,
    /// Places that have counted since counts were last taken, each once. Has
    /// room for all places.
    counted: Vec<u32>,
    in_use: usize,
    most_sets: usize,
    tick: u32,
}

impl Cache {
    /// A cache of up to `capacity` flows (rounded up to a power of two). It
    /// starts small.
    pub(crate) fn new(capacity: usize) -> Self {
        let most_sets = capacity.div_ceil(WAYS).next_power_of_two();
        let mut cache = Self {
            tags: Vec::new(),
            hot: Vec::new(),
            cold: Vec::new(),
            counted: Vec::new(),
            in_use: 0,
            most_sets,
            tick: 0,
        };
        cache.resize(FIRST_SETS.min(most_sets));
        cache
    }

    /// The place of a flow that was resolved in `epoch`.
    #[inline]
    pub(crate) fn find(&mut self, key: &FlowKey, epoch: u64) -> Option<usize> {
        let at = self.search(key.words())?;
        let hot = self.hot.get_mut(at).filter(|hot| hot.epoch == epoch)?;
        self.tick = self.tick.wrapping_add(1);
        hot.used = self.tick;
        Some(at)
    }

    /// The place of a flow that was resolved in an earlier epoch, if its route is
    /// `unchanged`, which is asked with the route and its epoch. It then counts as resolved
    /// in `epoch`.
    pub(crate) fn revive(
        &mut self,
        key: &FlowKey,
        epoch: u64,
        unchanged: impl FnOnce(&Route, u64) -> bool,
    ) -> Option<usize> {
        let at = self.search(key.words())?;
        let (hot, cold) = (self.hot.get_mut(at)?, self.cold.get(at)?.as_ref()?);
        if !unchanged(&cold.route, hot.epoch) {
            return None;
        }
        self.tick = self.tick.wrapping_add(1);
        (hot.epoch, hot.used) = (epoch, self.tick);
        Some(at)
    }

    /// Counts frames at a place that [`Cache::find`], [`Cache::revive`] or [`Cache::insert`] gave. The
    /// version that they go on with, and where they go.
    #[inline]
    pub(crate) fn count(&mut self, at: usize, frames: u64, bytes: u64) -> Option<(RuleVersion, Outputs<'_>)> {
        let hot = self.hot.get_mut(at)?;
        if !hot.listed {
            hot.listed = true;
            self.counted.push(at as u32);
        }
        hot.frames += frames;
        hot.bytes += bytes;
        let outputs = match hot.only {
            Some(port) => Outputs::One(port),
            None => Outputs::Route(&self.cold.get(at)?.as_ref()?.route),
        };
        Some((hot.version, outputs))
    }

    /// Notes that an interface did not take frames which [`Cache::count`] has counted.
    #[cold]
    pub(crate) fn refused(&mut self, at: usize, frames: u64, bytes: u64) {
        if let Some(Some(Cold { refused, .. })) = self.cold.get_mut(at) {
            *refused = (refused.0 + frames, refused.1 + bytes);
        }
    }

    /// Keeps a route, and says where. `give_up` gets the entry that it
    /// displaces, with the counts of that.
    pub(crate) fn insert(
        &mut self,
        key: FlowKey,
        epoch: u64,
        route: Route,
        mut give_up: impl FnMut(Counted<'_>),
    ) -> usize {
        let words = key.words();
        let at = loop {
            if let Some(at) = self.search(words) {
                break at;
            }
            let (set, _) = self.place(words.hash());
            let free = self.tags[set].places(0);
            if free != 0 {
                break set * WAYS + free.trailing_zeros() as usize;
            }
            if self.in_use > self.hot.len() / 4 && self.tags.len() < self.most_sets {
                self.resize(self.tags.len() * 2);
                continue;
            }
            // By age, since ticks begin again after the last one.
            let age = |at: &usize| self.tick.wrapping_sub(self.hot[*at].used);
            break (set * WAYS..(set + 1) * WAYS).max_by_key(age).unwrap_or(set * WAYS);
        };
        let listed = self.hot[at].listed;
        match &mut self.cold[at] {
            Some(cold) => give_up(counted(&self.hot[at], cold)),
            None => self.in_use += 1,
        }
        self.tick = self.tick.wrapping_add(1);
        let only = match route.outputs[..] {
            [port] if route.lost.is_empty() => Some(port),
            _ => None,
        };
        let (version, used) = (route.version, self.tick);
        let hot = Hot { words, epoch, frames: 0, bytes: 0, used, only, version, listed };
        self.put(at, hot, Cold { key, route, refused: (0, 0), row: None });
        at
    }

    /// Hands over every entry that has counted anything, and zeroes it.
    pub(crate) fn take_counts(&mut self, mut take: impl FnMut(Counted<'_>)) {
        for at in self.counted.drain(..) {
            let (hot, cold) = (&mut self.hot[at as usize], &mut self.cold[at as usize]);
            if let Some(cold) = cold {
                take(counted(hot, cold));
                cold.refused = (0, 0);
            }
            (hot.frames, hot.bytes, hot.listed) = (0, 0, false);
        }
    }

    /// The place of a flow.
    #[inline]
    fn search(&self, words: Words) -> Option<usize> {
        let (set, tag) = self.place(words.hash());
        let mut found = self.tags.get(set)?.places(tag);
        while found != 0 {
            let at = set * WAYS + found.trailing_zeros() as usize;
            if self.hot.get(at)?.words == words {
                return Some(at);
            }
            found &= found - 1;
        }
        None
    }

    #[inline]
    fn place(&self, hash: u64) -> (usize, u32) {
        // The set takes the low bits, so that doubling splits each set in two.
        (hash as usize & (self.tags.len() - 1), (hash >> 32) as u32 | 1)
    }

    fn put(&mut self, at: usize, hot: Hot, cold: Cold) {
        let (set, tag) = self.place(hot.words.hash());
        self.tags[set].0[at % WAYS] = tag;
        self.hot[at] = hot;
        self.cold[at] = Some(cold);
    }

    fn resize(&mut self, sets: usize) {
        let hot = std::mem::replace(&mut self.hot, vec![Hot::default(); sets * WAYS]);
        let cold = std::mem::take(&mut self.cold);
        self.cold.resize_with(sets * WAYS, || None);
        self.tags = vec![Tags::default(); sets];
        self.counted.clear();
        self.counted.reserve_exact(sets * WAYS);
        for (hot, cold) in hot.into_iter().zip(cold) {
            let Some(cold) = cold else { continue };
            let (set, _) = self.place(hot.words.hash());
            let free = self.tags[set].places(0);
            // A set's entries all come from the one set that was split.
            debug_assert!(free != 0, "a set that is split has at most as many entries as places");
            let at = set * WAYS + free.trailing_zeros() as usize;
            if hot.listed {
                self.counted.push(at as u32);
            }
            self.put(at, hot, cold);
        }
    }

    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.hot.len()
    }
}

fn counted<'a>(hot: &Hot, Cold { key, route, refused, row }: &'a mut Cold) -> Counted<'a> {
    let Hot { frames, bytes, .. } = *hot;
    let interfaces = route.interfaces as u64;
    let (delivered_frames, delivered_bytes) =
        (frames * interfaces - refused.0, bytes * interfaces - refused.1);
    let counts = FlowCounts { frames, bytes, delivered_frames, delivered_bytes };
    Counted { key, route, counts, row }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u32) -> FlowKey {
        FlowKey {
            source: MacAddr::local(n / 7),
            destination: MacAddr::local(n),
            network: NetworkId(n % 3),
            ingress: if n.is_multiple_of(2) { PortId::interface(1) } else { PortId::link(1) },
            version: (n.is_multiple_of(5)).then_some(RuleVersion(n as u8)),
        }
    }

    /// One that is known by its version, over one port or to several interfaces.
    fn route(n: u32) -> Route {
        let (outputs, interfaces) = match n % 4 {
            0 => (SmallVec::from_slice(&[PortId::link(2)]), 0),
            1 => (SmallVec::from_slice(&[PortId::interface(2)]), 1),
            _ => ((0..n as usize % 5).map(PortId::interface).collect(), n as usize % 5),
        };
        Route { outputs, interfaces, version: RuleVersion(n as u8), ..Route::default() }
    }

    proptest! {
        /// Whatever is found is what was last inserted in this epoch, and no
        /// counted frame is ever lost, neither by eviction nor by growth.
        #[test]
        fn finds_what_was_inserted_and_loses_no_count(
            capacity in 1_usize..300,
            steps in proptest::collection::vec((0_u32..400, 0_u8..40), 0..2000),
        ) {
            let mut cache = Cache::new(capacity);
            let (mut epoch, mut inserted) = (0, HashMap::new());
            let (mut counted, mut taken) = (HashMap::<FlowKey, FlowCounts>::new(), HashMap::new());
            let mut take = |e: Counted<'_>| {
                let total: &mut FlowCounts = taken.entry(*e.key).or_default();
                total.frames += e.counts.frames;
                total.bytes += e.counts.bytes;
                total.delivered_frames += e.counts.delivered_frames;
                total.delivered_bytes += e.counts.delivered_bytes;
            };
            for (n, what) in steps {
                match what {
                    0 => epoch += 1,
                    1 => cache.take_counts(&mut take),
                    _ => {
                        let at = match cache.find(&key(n), epoch) {
                            Some(at) => {
                                prop_assert_eq!(inserted.get(&n), Some(&epoch));
                                at
                            }
                            None => {
                                inserted.insert(n, epoch);
                                cache.insert(key(n), epoch, route(n), &mut take)
                            }
                        };
                        let (version, outputs) = cache.count(at, 2, 100).unwrap();
                        prop_assert_eq!(version, route(n).version);
                        match outputs {
                            Outputs::One(port) => prop_assert_eq!(&route(n).outputs[..], &[port]),
                            Outputs::Route(found) => prop_assert_eq!(&found.outputs, &route(n).outputs),
                        }
                        let interfaces = route(n).interfaces as u64;
                        let refused = u64::from(what % 2) * interfaces.min(1);
                        if refused > 0 {
                            cache.refused(at, 2, 100);
                        }
                        let total = counted.entry(key(n)).or_default();
                        total.frames += 2;
                        total.bytes += 100;
                        total.delivered_frames += 2 * (interfaces - refused);
                        total.delivered_bytes += 100 * (interfaces - refused);
                    }
                }
                prop_assert!(cache.capacity() <= capacity.next_power_of_two().max(WAYS));
            }
            cache.take_counts(&mut take);
            taken.retain(|_, counts| counts.frames > 0);
            prop_assert_eq!(counted, taken);
        }
    }

    #[test]
    fn grows_until_its_flows_fit() {
        let mut cache = Cache::new(1 << 12);
        for _ in 0..8 {
            for n in 0..1000 {
                if cache.find(&key(n), 0).is_none() {
                    cache.insert(key(n), 0, route(n), |_| {});
                }
            }
        }
        let hits = (0..1000).filter(|&n| cache.find(&key(n), 0).is_some()).count();
        assert!(hits > 995, "{hits} of 1000 flows fit in {} places", cache.capacity());
    }
}
