//! The rule cache: flows that were resolved before.
//!
//! It is set-associative: a flow's hash names a set of eight places, and a small
//! tag of the hash finds the flow among them. Every entry carries the epoch in
//! which it was resolved; an entry of an earlier epoch counts as absent and is
//! looked at again in place. So a change of rules costs nothing until a flow is
//! next seen, and little then if the change was about others.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowKey {
    pub(crate) source: MacAddr,
    pub(crate) destination: MacAddr,
    pub(crate) network: NetworkId,
    pub(crate) ingress: PortId,
    /// The version that a frame came with; `None` for a frame that enters here.
    pub(crate) version: Option<RuleVersion>,
}

impl FlowKey {
    fn hash(&self) -> u64 {
        let version = self.version.map_or(0x100, |v| u64::from(v.0));
        let place = u64::from(self.network.0) << 32 | u64::from(self.ingress.to_bits());
        let low = self.destination.to_u64() | version << 48;
        let high = self.source.to_u64() ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mix(u128::from(high) << 64 | u128::from(low))
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
    pub(crate) delivered_frames: u64,
    pub(crate) delivered_bytes: u64,
}

/// A flow and its route.
pub(crate) struct Entry {
    pub(crate) key: FlowKey,
    epoch: u64,
    used: u64,
    /// Is its place in the list of those that have counted?
    listed: bool,
    /// Where its address pair is counted, once that is known.
    pub(crate) row: Option<u32>,
    pub(crate) counts: FlowCounts,
    pub(crate) route: Route,
}

pub(crate) struct Cache {
    /// For each set, the tags of its places; 0 marks a free one.
    tags: Vec<[u32; WAYS]>,
    /// The entries of the sets, in the order of the tags.
    entries: Vec<Option<Entry>>,
    /// Places that have counted since counts were last taken, each once. Has
    /// room for all places.
    counted: Vec<u32>,
    in_use: usize,
    most_sets: usize,
    tick: u64,
}

impl Cache {
    /// A cache of up to `capacity` flows (rounded up to a power of two). It
    /// starts small.
    pub(crate) fn new(capacity: usize) -> Self {
        let most_sets = capacity.div_ceil(WAYS).next_power_of_two();
        let mut cache = Self {
            tags: Vec::new(),
            entries: Vec::new(),
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
        let (set, tag) = self.place(key.hash());
        for (way, candidate) in self.tags[set].iter().enumerate() {
            if *candidate != tag {
                continue;
            }
            let at = set * WAYS + way;
            if let Some(entry) = &mut self.entries[at]
                && entry.key == *key
                && entry.epoch == epoch
            {
                self.tick += 1;
                entry.used = self.tick;
                return Some(at);
            }
        }
        None
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
        let (set, _) = self.place(key.hash());
        let places = set * WAYS..(set + 1) * WAYS;
        let at = places.into_iter().find(|at| self.entries[*at].as_ref().is_some_and(|e| e.key == *key))?;
        let entry = self.entries[at].as_mut().filter(|entry| unchanged(&entry.route, entry.epoch))?;
        self.tick += 1;
        (entry.epoch, entry.used) = (epoch, self.tick);
        Some(at)
    }

    /// Counts frames at a place that [`Cache::find`] or [`Cache::insert`] gave.
    #[inline]
    pub(crate) fn count(&mut self, at: usize, frames: u64, bytes: u64) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(at)?.as_mut()?;
        if !entry.listed {
            entry.listed = true;
            self.counted.push(at as u32);
        }
        entry.counts.frames += frames;
        entry.counts.bytes += bytes;
        Some(entry)
    }

    /// Keeps a route, and says where. `give_up` gets the entry that it
    /// displaces, with the counts of that.
    pub(crate) fn insert(
        &mut self,
        key: FlowKey,
        epoch: u64,
        route: Route,
        mut give_up: impl FnMut(&mut Entry),
    ) -> usize {
        let at = loop {
            let (set, _) = self.place(key.hash());
            let places = &self.entries[set * WAYS..][..WAYS];
            let same = |e: &Option<Entry>| e.as_ref().is_some_and(|e| e.key == key);
            let free = || places.iter().position(Option::is_none);
            if let Some(way) = places.iter().position(same).or_else(free) {
                break set * WAYS + way;
            }
            if self.in_use > self.entries.len() / 4 && self.tags.len() < self.most_sets {
                self.take_counts(&mut give_up);
                self.resize(self.tags.len() * 2);
                continue;
            }
            let used = |way: &usize| places[*way].as_ref().map_or(0, |e| e.used);
            break set * WAYS + (0..WAYS).min_by_key(used).unwrap_or(0);
        };
        let listed = match self.entries[at].take() {
            Some(mut old) => {
                give_up(&mut old);
                old.listed
            }
            None => {
                self.in_use += 1;
                false
            }
        };
        self.tick += 1;
        let counts = FlowCounts::default();
        let entry = Entry { key, epoch, used: self.tick, listed, row: None, counts, route };
        self.put(at, entry);
        at
    }

    /// Hands over every entry that has counted anything, and zeroes it.
    pub(crate) fn take_counts(&mut self, mut take: impl FnMut(&mut Entry)) {
        for at in self.counted.drain(..) {
            if let Some(entry) = &mut self.entries[at as usize] {
                take(entry);
                entry.counts = FlowCounts::default();
                entry.listed = false;
            }
        }
    }

    fn place(&self, hash: u64) -> (usize, u32) {
        // The set takes the low bits, so that doubling splits each set in two.
        (hash as usize & (self.tags.len() - 1), (hash >> 32) as u32 | 1)
    }

    fn put(&mut self, at: usize, entry: Entry) {
        let (set, tag) = self.place(entry.key.hash());
        self.tags[set][at % WAYS] = tag;
        self.entries[at] = Some(entry);
    }

    fn resize(&mut self, sets: usize) {
        let old = std::mem::take(&mut self.entries);
        self.tags = vec![[0; WAYS]; sets];
        self.entries.resize_with(sets * WAYS, || None);
        self.counted.reserve_exact(sets * WAYS);
        for entry in old.into_iter().flatten() {
            let (set, _) = self.place(entry.key.hash());
            let free = self.entries[set * WAYS..][..WAYS].iter().position(Option::is_none);
            // A set's entries all come from the one set that was split.
            let way = free.expect("a set that is split has at most as many entries as places");
            self.put(set * WAYS + way, entry);
        }
    }

    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.entries.len()
    }
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

    fn route(n: u32) -> Route {
        Route { interfaces: n as usize, ..Route::default() }
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
            let (mut counted, mut taken) = (HashMap::<u32, u64>::new(), HashMap::<u32, u64>::new());
            let mut take = |e: &mut Entry| *taken.entry(e.route.interfaces as u32).or_default() += e.counts.frames;
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
                        let entry = cache.count(at, 1, 1).unwrap();
                        prop_assert_eq!(entry.key, key(n));
                        prop_assert_eq!(entry.route.interfaces as u32, n);
                        *counted.entry(n).or_default() += 1;
                    }
                }
                prop_assert!(cache.capacity() <= capacity.next_power_of_two().max(WAYS));
            }
            cache.take_counts(&mut take);
            taken.retain(|_, frames| *frames > 0);
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
