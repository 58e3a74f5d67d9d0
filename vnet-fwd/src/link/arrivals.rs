//! What is kept of the messages that arrive, for whoever measures the path.

use vnet_core::HostName;
use vnet_core::encap::Header;

/// A message that came over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The sender's count of the link's messages.
    pub sequence: u64,
    /// When it was sent, in nanoseconds of the sender's clock.
    pub sent_ns: u64,
    /// When the kernel took it in, in nanoseconds of this host's clock: the one
    /// that its own messages are stamped by.
    pub arrived_ns: u64,
    /// Its length, with the encapsulation header and what encryption adds, without
    /// the headers of IP and UDP.
    pub bytes: u32,
}

/// What came over one link since it was asked for last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// Who sent it.
    pub peer: HostName,
    /// How many times the link had come up: the peer may be another run of its
    /// daemon, with another clock, when this has changed.
    pub times_up: u64,
    /// The messages, in the order of their arrival. None is missing between two
    /// of them, but more may have come after the last.
    pub entries: Vec<Arrival>,
}

/// How many arrivals one link keeps until somebody asks: a train that is long
/// enough for any path, and no more work for a fast one than for a slow one.
const CAPACITY: usize = 1024;

/// This many arrivals that no log has room for are enough to think of a pause.
const MANY: u64 = 2048;

/// For how many times of asking a pause goes on.
const PAUSE: u32 = 9;

/// What it takes to stamp an arrival is wasted on those that no log has room for.
/// A fast link fills its log in a moment; then a sample now and then tells as much,
/// and starting and ending to stamp has its price, too.
#[derive(Debug, Default)]
pub(super) struct Balance {
    kept: u64,
    wasted: u64,
    pause: u32,
}

impl Balance {
    #[inline]
    pub(super) fn count(&mut self, kept: bool) {
        *(if kept { &mut self.kept } else { &mut self.wasted }) += 1;
    }

    /// Is next to nothing of what still comes kept, or is it the time of a pause?
    pub(super) fn is_wasteful(&self) -> bool {
        self.pause > 0 || self.wasted >= MANY && self.wasted >= self.kept
    }

    /// Somebody asks for what has come.
    pub(super) fn begin_anew(&mut self) {
        let pause = match self.pause {
            0 if self.is_wasteful() => PAUSE,
            pause => pause.saturating_sub(1),
        };
        *self = Self { pause, ..Self::default() };
    }
}

/// The arrivals of one link.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<Arrival>,
}

impl Log {
    #[inline]
    pub(super) fn add(&mut self, header: &Header, bytes: usize, arrived_ns: u64) -> bool {
        let has_room = self.entries.len() < CAPACITY;
        if has_room {
            let Header { sequence, timestamp: sent_ns, .. } = *header;
            self.entries.push(Arrival { sequence, sent_ns, arrived_ns, bytes: bytes as u32 });
        }
        has_room
    }

    /// Everything so far, with the times of arrival put back by `shift_ns`; begins anew.
    pub(super) fn take(&mut self, shift_ns: u64) -> Vec<Arrival> {
        // As much room as was needed this time, so that a busy link grows it once.
        let room = self.entries.len();
        let mut entries = std::mem::replace(&mut self.entries, Vec::with_capacity(room));
        for entry in &mut entries {
            entry.arrived_ns = entry.arrived_ns.wrapping_sub(shift_ns);
        }
        entries
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
