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
    /// A stretch that is this long is cut, in nanoseconds.
    pub(crate) length_ns: u64,
}

/// The stretches of a run of packets, in the order in which they were sent.
pub(crate) fn stretches(run: &[Waited], cut: Cut, out: &mut Vec<Stretch>) {
    // The first and the latest packet of the stretch, and our bits since the first.
    let mut open: Option<(Sample, Waited, f64)> = None;
    let mut between = 0.0;
    for packet in run {
        let bits = f64::from(packet.sample.bytes) * 8.0;
        between += bits;
        if !packet.is_probe {
            continue;
        }
        open = match open {
            Some((first, last, sum)) if joins(&last, packet, cut) => {
                let sum = sum + between;
                let sample = packet.sample;
                if sample.arrived_ns.saturating_sub(first.arrived_ns) >= cut.length_ns {
                    out.push(stretch(first, sample, sum));
                    Some((sample, *packet, 0.0))
                } else {
                    Some((first, *packet, sum))
                }
            }
            other => {
                finish(other, out);
                Some((packet.sample, *packet, 0.0))
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

fn finish(open: Option<(Sample, Waited, f64)>, out: &mut Vec<Stretch>) {
    if let Some((first, last, sum)) = open
        && sum > 0.0
    {
        out.push(stretch(first, last.sample, sum));
    }
}

fn stretch(first: Sample, last: Sample, bits: f64) -> Stretch {
    Stretch {
        arrived_ns: last.arrived_ns,
        bits,
        sent_s: last.sent_ns.saturating_sub(first.sent_ns) as f64 * 1e-9,
        arrived_s: last.arrived_ns.saturating_sub(first.arrived_ns) as f64 * 1e-9,
    }
}
