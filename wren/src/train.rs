//! Which stretches of traffic tell something of the path.
//!
//! Between two packets of ours that the bottleneck's queue joined (it was never
//! empty from the arrival of the first to that of the second) the bottleneck
//! was busy with nothing but our bits and those of others:
//!
//! ```text
//! time between their departures = (our bits + others' bits) / capacity
//! ```
//!
//! and others sent theirs in the time between our two packets' arrivals at the
//! queue. Whether the queue holds until the next packet comes follows from how long
//! the first one waited, so the choice of stretches looks at the past alone and
//! does not favour busy or quiet moments of the others.

use crate::sample::Sample;

/// A stretch of packets that the queue joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// When it ended, by the receiver's clock.
    pub(crate) arrived_ns: u64,
    /// Bits of ours after the first packet, the last one included.
    pub(crate) bits: f64,
    /// From the first packet's sending to the last one's, in seconds.
    pub(crate) sent_s: f64,
    /// From the first packet's arrival to the last one's, in seconds.
    pub(crate) arrived_s: f64,
}

/// A packet with what is known of its wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) sample: Sample,
    /// How long it waited before the first of its bits went on, in nanoseconds.
    pub(crate) wait_ns: f64,
    /// Long enough that its wait is known.
    pub(crate) is_probe: bool,
}

/// How stretches are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// What the bottleneck takes for a byte, in nanoseconds; too little errs on
    /// the safe side.
    pub(crate) per_byte_ns: f64,
    /// Waits are wrong by this much at most, in nanoseconds.
    pub(crate) margin_ns: f64,
    /// A stretch between two packets that were first of those sent at once is
    /// cut when it is this long, in nanoseconds.
    pub(crate) length_ns: u64,
    /// Any other is cut, and kept, when it is this long.
    pub(crate) blurred_ns: u64,
}

/// A packet at which a stretch may begin or end.
#[derive(Clone, Copy, Debug)]
struct Mark {
    sample: Sample,
    /// Is it the first of those that were sent at once?
    is_first: bool,
    /// Bits of ours since the stretch began, its own included.
    bits: f64,
}

/// A stretch that goes on.
#[derive(Clone, Copy, Debug)]
struct Open {
    begin: Mark,
    last: Waited,
    /// The latest packet that was the first of those sent at once.
    first: Option<Mark>,
    bits: f64,
}

impl Open {
    fn new(packet: &Waited, is_first: bool) -> Self {
        let begin = Mark { sample: packet.sample, is_first, bits: 0.0 };
        Self { begin, last: *packet, first: None, bits: 0.0 }
    }
}

/// The stretches of a run of packets, in the order in which they were sent.
///
/// Packets that were sent at once leave their host one after the other, in a time
/// that nobody knows; the first of them leaves when it is stamped. So stretches are
/// from one such first packet to another, or so long that this makes no difference.
pub(crate) fn stretches(run: &[Waited], cut: Cut, out: &mut Vec<Stretch>) {
    let mut open: Option<Open> = None;
    let mut between = 0.0;
    let mut sent_ns = None;
    for packet in run {
        between += f64::from(packet.sample.bytes) * 8.0;
        let is_first = sent_ns != Some(packet.sample.sent_ns);
        sent_ns = Some(packet.sample.sent_ns);
        if !packet.is_probe {
            continue;
        }
        open = match open {
            Some(open) if joins(&open.last, packet, cut) => {
                let bits = open.bits + between;
                let mark = Mark { sample: packet.sample, is_first, bits };
                let first = if is_first { Some(mark) } else { open.first };
                let open = Open { last: *packet, bits, first, ..open };
                let length = packet.sample.arrived_ns.saturating_sub(open.begin.sample.arrived_ns);
                let is_sharp = open.begin.is_first && is_first;
                if length >= cut.blurred_ns || is_sharp && length >= cut.length_ns {
                    out.push(stretch(&open.begin, &mark));
                    Some(Open::new(packet, is_first))
                } else {
                    Some(open)
                }
            }
            other => {
                finish(other, out);
                Some(Open::new(packet, is_first))
            }
        };
        between = 0.0;
    }
    finish(open, out);
}

/// Was the queue never empty from `last` to `next`?
fn joins(last: &Waited, next: &Waited, cut: Cut) -> bool {
    let gap = next.sample.sent_ns.saturating_sub(last.sample.sent_ns) as f64;
    let work = last.wait_ns + f64::from(last.sample.bytes) * cut.per_byte_ns - cut.margin_ns;
    next.sample.sent_ns >= last.sample.sent_ns && gap <= work
}

/// What is left of a stretch that does not go on.
fn finish(open: Option<Open>, out: &mut Vec<Stretch>) {
    if let Some(Open { begin, first: Some(end), .. }) = open
        && begin.is_first
    {
        out.push(stretch(&begin, &end));
    }
}

fn stretch(begin: &Mark, end: &Mark) -> Stretch {
    Stretch {
        arrived_ns: end.sample.arrived_ns,
        bits: end.bits,
        sent_s: end.sample.sent_ns.saturating_sub(begin.sample.sent_ns) as f64 * 1e-9,
        arrived_s: end.sample.arrived_ns.saturating_sub(begin.sample.arrived_ns) as f64 * 1e-9,
    }
}
