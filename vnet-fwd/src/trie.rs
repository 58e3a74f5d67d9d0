//! A persistent hash map: a clone is one reference count, and changing a clone
//! copies only the path to the changed entry.
//!
//! It is a trie over the bits of the key's hash, 64 children to a branch
//! (Bagwell, "Ideal Hash Trees", 2001, with wide leaves in place of bitmaps).
//! A table of a million entries is three branches deep, and a change copies
//! those three and one leaf.

use std::sync::Arc;

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;
/// A leaf of more entries than this is split, unless the hash has no bits left.
const LEAF: usize = 16;

/// A key of a [`Trie`]: small, and with 64 bits of hash worth splitting on.
pub(crate) trait Key: Copy + Eq {
    fn hash(self) -> u64;
}

/// Spreads the bits of `value` over a 64-bit hash: a folded multiply, as in
/// wyhash. Good enough for keys that no stranger chooses.
pub(crate) fn mix(value: u128) -> u64 {
    let folded = (value as u64 ^ 0x9e37_79b9_7f4a_7c15) as u128
        * u128::from((value >> 64) as u64 ^ 0xd6e8_feb8_6659_fd93);
    let product = u128::from(folded as u64 ^ (folded >> 64) as u64) * 0xa076_1d64_78bd_642f;
    product as u64 ^ (product >> 64) as u64
}

type Child<K, V> = Option<Arc<Node<K, V>>>;

#[derive(Clone)]
enum Node<K, V> {
    Branch(Box<[Child<K, V>; FANOUT]>),
    Leaf(Vec<(K, V)>),
}

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Trie<K, V> {
    root: Child<K, V>,
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<K: Key, V: Clone> Trie<K, V> {
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        let mut node = self.root.as_deref()?;
        let mut hash = key.hash();
        loop {
            match node {
                Node::Branch(children) => {
                    node = children[slot(hash)].as_deref()?;
                    hash >>= BITS;
                }
                Node::Leaf(entries) => return entries.iter().find(|(k, _)| *k == key).map(|(_, v)| v),
            }
        }
    }

    /// The value of `key`, made by `default` where there is none, to change in
    /// place.
    pub(crate) fn entry(&mut self, key: K, default: impl FnOnce() -> V) -> &mut V {
        let root = self.root.get_or_insert_with(|| Arc::new(Node::Leaf(Vec::new())));
        entry(root, key.hash(), 0, key, default)
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let root = self.root.as_mut()?;
        // Looked up first, so that a miss copies nothing.
        find(root, key)?;
        let (removed, empty) = remove(root, key.hash(), key);
        if empty {
            self.root = None;
        }
        removed
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let mut stack: Vec<&Node<K, V>> = self.root.as_deref().into_iter().collect();
        std::iter::from_fn(move || {
            loop {
                match stack.pop()? {
                    Node::Leaf(entries) => return Some(entries),
                    Node::Branch(children) => stack.extend(children.iter().flatten().map(|c| &**c)),
                }
            }
        })
        .flatten()
        .map(|(k, v)| (*k, v))
    }
}

fn slot(hash: u64) -> usize {
    hash as usize % FANOUT
}

fn find<K: Key, V>(root: &Node<K, V>, key: K) -> Option<()> {
    let (mut node, mut hash) = (root, key.hash());
    loop {
        match node {
            Node::Branch(children) => {
                node = children[slot(hash)].as_deref()?;
                hash >>= BITS;
            }
            Node::Leaf(entries) => return entries.iter().any(|(k, _)| *k == key).then_some(()),
        }
    }
}

fn entry<K: Key, V: Clone>(
    node: &mut Arc<Node<K, V>>,
    hash: u64,
    depth: u32,
    key: K,
    default: impl FnOnce() -> V,
) -> &mut V {
    let node = Arc::make_mut(node);
    if let Node::Leaf(entries) = node
        && entries.len() >= LEAF
        && depth + BITS <= u64::BITS
        && !entries.iter().any(|(k, _)| *k == key)
    {
        *node = split(std::mem::take(entries), depth);
    }
    match node {
        Node::Branch(children) => {
            let child = children[slot(hash)].get_or_insert_with(|| Arc::new(Node::Leaf(Vec::new())));
            entry(child, hash >> BITS, depth + BITS, key, default)
        }
        Node::Leaf(entries) => match entries.iter().position(|(k, _)| *k == key) {
            Some(at) => &mut entries[at].1,
            None => {
                let at = entries.len();
                entries.reserve_exact(1);
                entries.push((key, default()));
                &mut entries[at].1
            }
        },
    }
}

fn split<K: Key, V: Clone>(entries: Vec<(K, V)>, depth: u32) -> Node<K, V> {
    let mut leaves: [Vec<(K, V)>; FANOUT] = std::array::from_fn(|_| Vec::new());
    for (key, value) in entries {
        leaves[slot(key.hash() >> depth)].push((key, value));
    }
    Node::Branch(Box::new(leaves.map(|leaf| (!leaf.is_empty()).then(|| Arc::new(Node::Leaf(leaf))))))
}

/// Also says whether the node is empty now.
fn remove<K: Key, V: Clone>(node: &mut Arc<Node<K, V>>, hash: u64, key: K) -> (Option<V>, bool) {
    match Arc::make_mut(node) {
        Node::Branch(children) => {
            let place = &mut children[slot(hash)];
            let Some(child) = place else { return (None, false) };
            let (removed, empty) = remove(child, hash >> BITS, key);
            if empty {
                *place = None;
            }
            (removed, empty && children.iter().all(Option::is_none))
        }
        Node::Leaf(entries) => {
            let removed = entries.iter().position(|(k, _)| *k == key).map(|at| entries.swap_remove(at).1);
            (removed, entries.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Few distinct hashes, so that leaves overflow down to the last bit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Colliding(u16);

    impl Key for Colliding {
        fn hash(self) -> u64 {
            if self.0.is_multiple_of(2) { 0 } else { mix(u128::from(self.0)) }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u16, u32),
        Remove(u16),
        Snapshot,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u16..400, any::<u32>()).prop_map(|(k, v)| Step::Set(k, v)),
            3 => (0_u16..400).prop_map(Step::Remove),
            1 => Just(Step::Snapshot),
        ]
    }

    fn same(trie: &Trie<Colliding, u32>, model: &HashMap<Colliding, u32>) {
        assert_eq!(trie.iter().count(), model.len());
        let all: HashMap<Colliding, u32> = trie.iter().map(|(k, v)| (k, *v)).collect();
        assert_eq!(all, *model);
        for key in (0..400).map(Colliding) {
            assert_eq!(trie.get(key), model.get(&key));
        }
    }

    proptest! {
        #[test]
        fn is_a_map_whose_clones_never_change(steps in proptest::collection::vec(step(), 0..600)) {
            let (mut trie, mut model) = (Trie::default(), HashMap::new());
            let mut snapshots = Vec::new();
            for step in steps {
                match step {
                    Step::Set(k, v) => {
                        *trie.entry(Colliding(k), || 0) = v;
                        model.insert(Colliding(k), v);
                    }
                    Step::Remove(k) => {
                        prop_assert_eq!(trie.remove(Colliding(k)), model.remove(&Colliding(k)));
                    }
                    Step::Snapshot => snapshots.push((trie.clone(), model.clone())),
                }
            }
            same(&trie, &model);
            for (trie, model) in &snapshots {
                same(trie, model);
            }
        }
    }

    #[test]
    fn the_hash_spreads_addresses_that_count_up() {
        let mut buckets = [0_u32; 64];
        for i in 0..64_000_u128 {
            buckets[slot(mix(i << 48))] += 1;
        }
        assert!(buckets.iter().all(|&n| (800..1200).contains(&n)), "{buckets:?}");
    }
}
