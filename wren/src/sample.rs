//! What estimates are made of.

/// A packet that came over a path.
///
/// The two clocks need not agree: only differences of times of the same clock
/// count, and a steady drift between the two is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The sender's count of the packets on this path.
    pub sequence: u64,
    /// When it was sent, in nanoseconds of the sender's clock.
    pub sent_ns: u64,
    /// When it arrived, in nanoseconds of the receiver's clock.
    pub arrived_ns: u64,
    /// Its length on the wire in bytes, all headers included.
    pub bytes: u32,
}

impl Sample {
    /// The difference of the two clocks' readings: the one-way delay and the
    /// offset of the clocks.
    pub(crate) fn delay_ns(&self) -> i64 {
        self.arrived_ns.wrapping_sub(self.sent_ns) as i64
    }
}
