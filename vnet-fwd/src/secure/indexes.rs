//! What this end calls its sessions: 24 bits that lead to the peer at once.

use super::guard::PeerId;
use super::wire::Index;

/// Bits of an index that are a place in the table.
const PLACE: u32 = 16;

/// The table behind indexes. A place that is used again gets another index, so
/// that what is left of an old session doesn't meet a new one.
pub(super) struct Indexes {
    places: Vec<(Index, Option<PeerId>)>,
    free: Vec<u32>,
    /// The upper bits of a new place's first index.
    first: u32,
}

impl Indexes {
    pub(super) fn new(random: u32) -> Self {
        Self { places: Vec::new(), free: Vec::new(), first: random }
    }

    /// An index for `peer`; `None`: there are 65,536 in use.
    pub(super) fn take(&mut self, peer: PeerId) -> Option<Index> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < 1 << PLACE => {
                let place = self.places.len() as u32;
                self.places.push((Index::new((self.first << PLACE) | place), None));
                place
            }
            None => return None,
        };
        let (index, owner) = &mut self.places[place as usize];
        *index = Index::new(index.get() + (1 << PLACE));
        *owner = Some(peer);
        Some(*index)
    }

    pub(super) fn free(&mut self, index: Index) {
        let place = index.get() & ((1 << PLACE) - 1);
        if let Some((known, owner)) = self.places.get_mut(place as usize)
            && *known == index
            && owner.take().is_some()
        {
            self.free.push(place);
        }
    }

    #[inline]
    pub(super) fn owner(&self, index: Index) -> Option<PeerId> {
        let (known, owner) = self.places.get((index.get() & ((1 << PLACE) - 1)) as usize)?;
        owner.filter(|_| *known == index)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_index_leads_to_its_owner_until_it_is_freed(
            random: u32, steps in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..400),
        ) {
            let mut indexes = Indexes::new(random);
            let mut owners: HashMap<Index, u32> = HashMap::new();
            let mut last = None;
            for (n, (free, which)) in steps.into_iter().enumerate() {
                if free && !owners.is_empty() {
                    let index = *owners.keys().nth(which.index(owners.len())).unwrap();
                    indexes.free(index);
                    indexes.free(index);
                    owners.remove(&index);
                    prop_assert_eq!(indexes.owner(index), None);
                    last = Some(index);
                } else {
                    let index = indexes.take(PeerId(n as u32)).unwrap();
                    prop_assert_ne!(Some(index), last);
                    prop_assert!(owners.insert(index, n as u32).is_none());
                }
                for (index, owner) in &owners {
                    prop_assert_eq!(indexes.owner(*index), Some(PeerId(*owner)));
                }
                prop_assert_eq!(indexes.used(), owners.len());
            }
        }
    }

    #[test]
    fn they_run_out_and_come_back() {
        let mut indexes = Indexes::new(0);
        let all: Vec<_> = (0..1 << PLACE).map(|_| indexes.take(PeerId(1)).unwrap()).collect();
        assert_eq!(indexes.take(PeerId(1)), None);
        indexes.free(all[77]);
        assert!(indexes.take(PeerId(2)).is_some_and(|index| index != all[77]));
    }
}
