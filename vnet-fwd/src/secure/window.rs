//! Which message numbers have been seen: RFC 6479's sliding window.

/// Blocks of the bitmap: a power of two.
const BLOCKS: usize = 64;

/// How far behind the newest message one may be and still be taken. One block
/// of the bitmap is always being cleared for what is to come.
pub(super) const WINDOW: u64 = (BLOCKS as u64 - 1) * 64;

/// A bitmap of the last [`WINDOW`] numbers, in a ring of words, so that moving
/// it on means clearing words and never shifting them.
pub(super) struct Window {
    /// The least number that is greater than all seen.
    next: u64,
    bits: [u64; BLOCKS],
}

impl Window {
    pub(super) fn new() -> Self {
        Self { next: 0, bits: [0; BLOCKS] }
    }

    /// May a message of this number be taken? To be asked before the message
    /// is known to be authentic.
    #[inline]
    pub(super) fn admits(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        self.next - number <= WINDOW && self.bits[block(number)] & bit(number) == 0
    }

    /// Notes that the message of this number was authentic; `true` if it is the
    /// newest.
    #[inline]
    pub(super) fn take(&mut self, number: u64) -> bool {
        let newest = number >= self.next;
        if newest {
            let (from, to) = (self.next.div_ceil(64), number / 64);
            // Words that are new in the window; all of them after a great jump.
            for word in from..=to.min(from + BLOCKS as u64 - 1) {
                self.bits[block(word * 64)] = 0;
            }
            self.next = number + 1;
        }
        self.bits[block(number)] |= bit(number);
        newest
    }
}

#[inline]
fn block(number: u64) -> usize {
    (number / 64) as usize % BLOCKS
}

#[inline]
fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// All numbers that were taken, and the greatest.
    #[derive(Default)]
    struct Naive {
        taken: HashSet<u64>,
        greatest: Option<u64>,
    }

    impl Naive {
        fn admits(&self, number: u64) -> bool {
            let fresh = self.greatest.is_none_or(|greatest| number + WINDOW > greatest);
            fresh && !self.taken.contains(&number)
        }
    }

    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![
            20 => 0..4_u64,
            4 => 0..200_u64,
            2 => WINDOW - 70..WINDOW + 70,
            1 => 0..100_000_u64,
        ];
        let back = prop_oneof![10 => 0..3_u64, 5 => 0..200_u64, 3 => WINDOW - 70..WINDOW + 70];
        proptest::collection::vec((step, back), 1..600).prop_map(|steps| {
            let mut at = 0;
            let number = |(step, back)| {
                at += step;
                if back % 2 == 0 { at } else { u64::saturating_sub(at, back) }
            };
            steps.into_iter().map(number).collect()
        })
    }

    proptest! {
        #[test]
        fn it_is_the_set_of_the_last_numbers(numbers in numbers()) {
            let (mut window, mut naive) = (Window::new(), Naive::default());
            for number in numbers {
                prop_assert_eq!(window.admits(number), naive.admits(number), "{}", number);
                if window.admits(number) {
                    let newest = naive.greatest.is_none_or(|greatest| number > greatest);
                    prop_assert_eq!(window.take(number), newest);
                    naive.taken.insert(number);
                    naive.greatest = naive.greatest.max(Some(number));
                }
            }
        }
    }

    #[test]
    fn it_is_wide_enough_for_bursts() {
        let width = WINDOW;
        assert!(width >= 2048);
        let mut window = Window::new();
        for number in (0..width).rev() {
            assert!(window.admits(number));
            window.take(number);
        }
        assert!((0..width).all(|number| !window.admits(number)));
    }
}
