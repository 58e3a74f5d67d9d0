//! Which of many are marked, in constant time, and all of them at a glance.

use crate::network::NONE;

/// A set of small numbers.
#[derive(Debug, Default)]
pub(super) struct Marked {
    all: Vec<u32>,
    /// Where each number stands in `all`, or [`NONE`].
    at: Vec<u32>,
}

impl Marked {
    /// None of `count` numbers.
    pub(super) fn new(count: usize) -> Self {
        Self { all: Vec::new(), at: vec![NONE; count] }
    }

    pub(super) fn all(&self) -> &[u32] {
        &self.all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn clear(&mut self) {
        for number in self.all.drain(..) {
            self.at[number as usize] = NONE;
        }
    }

    /// Marks `number`, or takes its mark away.
    pub(super) fn set(&mut self, number: u32, marked: bool) {
        let at = self.at[number as usize];
        if marked && at == NONE {
            self.at[number as usize] = self.all.len() as u32;
            self.all.push(number);
        } else if !marked && at != NONE {
            self.all.swap_remove(at as usize);
            if let Some(moved) = self.all.get(at as usize) {
                self.at[*moved as usize] = at;
            }
            self.at[number as usize] = NONE;
        }
    }
}
