//! Room for datagrams that come.

use std::io;

use super::sys::{Incoming, MOST_DATAGRAMS};
use super::udp::canonical;

/// Room for a run of datagrams.
const RUN: usize = 1 << 16;

/// Room for a datagram as most paths have them. Many of them side by side stay in the
/// processor's cache, which slots for whole runs would not.
const DATAGRAM: usize = 2048;

/// How many small slots there are: the frames of two long trains.
const SLOTS: usize = 2 * MOST_DATAGRAMS;

/// Two sorts of slots in one buffer: small ones, in the order of arrival, and for each
/// message of a call a large one, for what does not fit a small one.
pub(crate) struct Arrivals {
    pub(crate) buffer: Box<[u8]>,
    /// What the last call has given.
    pub(crate) messages: Vec<Incoming>,
    /// The small slots that are in use.
    used: usize,
    /// A large slot is in use.
    has_long: bool,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        // (The kernel gives the pages of large slots when they are used for the first time.)
        let buffer = vec![0; SLOTS * DATAGRAM + MOST_DATAGRAMS * RUN].into();
        Self { buffer, messages: Vec::new(), used: 0, has_long: false }
    }

    /// Would the next call overwrite what the earlier ones have given?
    pub(crate) fn is_full(&self, alone: bool) -> bool {
        self.has_long || alone || self.used + MOST_DATAGRAMS > SLOTS
    }

    /// Everything so far may be overwritten.
    pub(crate) fn clear(&mut self) {
        (self.used, self.has_long) = (0, false);
    }

    /// Has `receive` fill the next slots; a single large one if it is to be `alone`.
    pub(crate) fn fill(
        &mut self,
        alone: bool,
        receive: impl FnOnce(Slots<'_>, &mut Vec<Incoming>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (small, large) = self.buffer.split_at_mut(SLOTS * DATAGRAM);
        let (first, small) = match alone {
            true => (self.used, &mut [][..]),
            false => (self.used, &mut small[self.used * DATAGRAM..]),
        };
        let small_size = if alone { 0 } else { DATAGRAM };
        receive(Slots { small, large, small_size, alone }, &mut self.messages)?;
        for (n, message) in self.messages.iter_mut().enumerate() {
            message.from = canonical(message.from);
            let (small, large) = ((first + n) * DATAGRAM, SLOTS * DATAGRAM + n * RUN);
            if message.length <= small_size {
                message.start = small;
            } else {
                // In one piece: the second part has room in front of it for the first.
                self.buffer.copy_within(small..small + small_size, large);
                message.start = large;
                self.has_long = true;
            }
        }
        if !alone {
            self.used += self.messages.len();
        }
        Ok(())
    }
}

/// The slots for one call.
pub(crate) struct Slots<'a> {
    small: &'a mut [u8],
    large: &'a mut [u8],
    small_size: usize,
    alone: bool,
}

impl<'a> Iterator for Slots<'a> {
    type Item = [&'a mut [u8]; 2];

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.alone) {
            let large = std::mem::take(&mut self.large);
            return large.split_at_mut_checked(RUN).map(|(first, _)| [&mut [][..], first]);
        }
        let (first, small) = std::mem::take(&mut self.small).split_at_mut_checked(self.small_size)?;
        let (second, large) = std::mem::take(&mut self.large).split_at_mut_checked(RUN)?;
        (self.small, self.large) = (small, large);
        (!first.is_empty()).then(|| [first, &mut second[DATAGRAM..]])
    }
}
