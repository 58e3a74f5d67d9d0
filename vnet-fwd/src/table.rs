//! Rules compiled for lookup.
//!
//! There are twelve strengths of match (four of the destination times three of
//! the source), and for one frame at most one bucket of rules at each: the
//! bucket is named by the strength, by the destination where that is matched
//! exactly, and by the source where that is. A lookup probes the strengths that
//! any rule has, strongest first, and stops at the first bucket with a rule
//! that matches. So its cost does not grow with the number of rules, and a
//! change touches one bucket. The exception is rules with `not`, which share a
//! bucket whatever address they exclude: with n of them, a lookup that reaches
//! them and a change of one cost O(n).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vnet_core::{Destination, MacAddr, NetworkId, Rule, RuleVersion, Source};

use crate::trie::{self, Trie, mix};

const CLASSES: usize = 12;

/// A rule in a rule set, with its counters.
#[derive(Debug)]
pub struct RuleCell {
    rule: Rule,
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl RuleCell {
    fn new(rule: Rule) -> Self {
        Self { rule, frames: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Frames that it applied to, as far as workers have reported them.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Bytes of those frames.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, frames: u64, bytes: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The strength of a match, and the addresses that the match fixes (0 where
/// it fixes none).
#[derive(Clone, Copy, PartialEq, Eq)]
struct BucketKey {
    class: u8,
    destination: u64,
    source: u64,
}

impl BucketKey {
    fn of(rule: &Rule) -> Self {
        let (d, destination) = match rule.destination {
            Destination::Exact(mac) => (3, mac.to_u64()),
            Destination::Not(_) => (2, 0),
            Destination::Any => (1, 0),
            Destination::Default => (0, 0),
        };
        let (s, source) = match rule.source {
            Source::Exact(mac) => (2, mac.to_u64()),
            Source::Not(_) => (1, 0),
            Source::Any => (0, 0),
        };
        Self { class: d * 3 + s, destination, source }
    }

    /// The bucket that has the rules of `class` for a frame.
    fn for_frame(class: u8, source: MacAddr, destination: MacAddr) -> Self {
        Self {
            class,
            destination: if class / 3 == 3 { destination.to_u64() } else { 0 },
            source: if class % 3 == 2 { source.to_u64() } else { 0 },
        }
    }
}

impl trie::Key for BucketKey {
    fn hash(self) -> u64 {
        mix(u128::from(self.class) << 96 | u128::from(self.destination) << 48 | u128::from(self.source))
    }
}

/// The rules of one network in one version. Cheap to clone; a clone shares the
/// counters.
#[derive(Clone, Default)]
pub struct RuleSet {
    buckets: Trie<BucketKey, Arc<Vec<Arc<RuleCell>>>>,
    /// How many rules there are of each strength.
    counts: [usize; CLASSES],
}

impl RuleSet {
    /// How many rules it has.
    pub fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Has it no rules?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a rule; `false` if it was there already.
    pub fn insert(&mut self, rule: Rule) -> bool {
        let key = BucketKey::of(&rule);
        if self.find(key, &rule).is_some() {
            return false;
        }
        let bucket = Arc::make_mut(self.buckets.entry(key, Arc::default));
        if bucket.len() < 4 {
            bucket.reserve_exact(1); // most buckets stay this small
        }
        bucket.push(Arc::new(RuleCell::new(rule)));
        self.counts[usize::from(key.class)] += 1;
        true
    }

    /// Removes a rule; `false` if it wasn't there.
    pub fn remove(&mut self, rule: &Rule) -> bool {
        let key = BucketKey::of(rule);
        let Some((at, length)) = self.find(key, rule) else { return false };
        if length == 1 {
            self.buckets.remove(key);
        } else {
            Arc::make_mut(self.buckets.entry(key, Arc::default)).swap_remove(at);
        }
        self.counts[usize::from(key.class)] -= 1;
        true
    }

    /// Is this rule there?
    pub fn contains(&self, rule: &Rule) -> bool {
        self.find(BucketKey::of(rule), rule).is_some()
    }

    pub(crate) fn same_rules(&self, other: &Self) -> bool {
        self.len() == other.len() && self.rules().all(|cell| other.contains(cell.rule()))
    }

    /// All rules, in no particular order.
    pub fn rules(&self) -> impl Iterator<Item = &RuleCell> {
        self.buckets.iter().flat_map(|(_, bucket)| bucket.iter()).map(|cell| &**cell)
    }

    /// The rules that apply to a frame: those tied for the highest strength.
    pub fn lookup(&self, source: MacAddr, destination: MacAddr) -> impl Iterator<Item = &Arc<RuleCell>> {
        let matches = move |cell: &&Arc<RuleCell>| cell.rule.strength(source, destination).is_some();
        let bucket = (0..CLASSES as u8)
            .rev()
            .filter(|&class| self.counts[usize::from(class)] > 0)
            .filter_map(|class| self.buckets.get(BucketKey::for_frame(class, source, destination)))
            .find(|bucket| bucket.iter().any(|cell| matches(&cell)));
        bucket.into_iter().flat_map(|bucket| bucket.iter()).filter(matches)
    }

    /// Where the rule is in its bucket, and the bucket's length.
    fn find(&self, key: BucketKey, rule: &Rule) -> Option<(usize, usize)> {
        let bucket = self.buckets.get(key)?;
        Some((bucket.iter().position(|cell| cell.rule == *rule)?, bucket.len()))
    }
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut set = Self::default();
        for rule in rules {
            set.insert(rule);
        }
        set
    }
}

/// The rule sets of one network.
#[derive(Clone, Default)]
pub(crate) struct NetworkRules {
    /// The version that frames get which enter here.
    pub(crate) current: RuleVersion,
    /// All versions on hand, the current one among them.
    pub(crate) sets: Vec<(RuleVersion, Arc<RuleSet>)>,
}

impl NetworkRules {
    pub(crate) fn set(&self, version: RuleVersion) -> Option<&Arc<RuleSet>> {
        self.sets.iter().find(|(v, _)| *v == version).map(|(_, set)| set)
    }
}

impl trie::Key for NetworkId {
    fn hash(self) -> u64 {
        mix(u128::from(self.0))
    }
}

/// How many changes a table remembers.
const REMEMBERED: usize = 32;

/// What a change of a table may touch.
#[derive(Clone, Copy)]
enum Change {
    /// The frames of a network whose rules would be in this bucket.
    Bucket(NetworkId, BucketKey),
    /// All frames of a network.
    Network(NetworkId),
}

/// The rules of all networks, as published to workers. A clone costs one
/// reference count, and the copy of the last changes.
#[derive(Clone, Default)]
pub struct RuleTable {
    pub(crate) networks: Trie<NetworkId, Arc<NetworkRules>>,
    /// The last changes, one for each publication; the first is overwritten next.
    changes: [Option<Change>; REMEMBERED],
    next_change: usize,
}

impl RuleTable {
    /// Notes that a rule was added to a rule set of `network` or removed from it. To be called once, or
    /// [`RuleTable::network_changes`], for each publication.
    pub(crate) fn rule_changes(&mut self, network: NetworkId, rule: &Rule) {
        self.note(Change::Bucket(network, BucketKey::of(rule)));
    }

    /// Notes that rule sets of `network` are others now.
    pub(crate) fn network_changes(&mut self, network: NetworkId) {
        self.note(Change::Network(network));
    }

    fn note(&mut self, change: Change) {
        self.changes[self.next_change] = Some(change);
        self.next_change = (self.next_change + 1) % REMEMBERED;
    }

    /// Do the same rules apply to a frame as did before the last `publications`? `false` also if
    /// that is not remembered.
    pub(crate) fn is_unchanged_for(
        &self,
        network: NetworkId,
        source: MacAddr,
        destination: MacAddr,
        publications: u64,
    ) -> bool {
        let others = |change: &Option<Change>| match change {
            Some(Change::Bucket(changed, key)) => {
                *changed != network || BucketKey::for_frame(key.class, source, destination) != *key
            }
            Some(Change::Network(changed)) => *changed != network,
            None => false,
        };
        let last = |n: usize| &self.changes[(self.next_change + REMEMBERED - n) % REMEMBERED];
        publications <= REMEMBERED as u64 && (1..=publications as usize).all(|n| others(last(n)))
    }

    /// The version that frames get which enter `network` here.
    pub fn current(&self, network: NetworkId) -> RuleVersion {
        self.networks.get(network).map_or(RuleVersion::default(), |n| n.current)
    }

    /// The rule set that forwards frames of this version: that of the version
    /// itself, or else the current one.
    pub fn rule_set(&self, network: NetworkId, version: RuleVersion) -> Option<&RuleSet> {
        let rules = self.networks.get(network)?;
        rules.set(version).or_else(|| rules.set(rules.current)).map(|set| &**set)
    }

    /// Every rule set, with its network and version.
    pub fn rule_sets(&self) -> impl Iterator<Item = (NetworkId, RuleVersion, &RuleSet)> {
        self.networks.iter().flat_map(|(network, rules)| {
            rules.sets.iter().map(move |(version, set)| (network, *version, &**set))
        })
    }

    /// How many rules the current rule sets have together.
    pub fn current_rules(&self) -> usize {
        self.networks.iter().filter_map(|(_, n)| n.set(n.current)).map(|set| set.len()).sum()
    }

    /// The networks that have rules, with their current version.
    pub fn versions(&self) -> impl Iterator<Item = (NetworkId, RuleVersion)> {
        self.networks.iter().map(|(network, rules)| (network, rules.current))
    }
}
