//! The plain self-induced-congestion method, as the reference to compare with.
//!
//! Packets sent at a steady rate are a train. A train that is faster than the
//! available bandwidth builds up a queue, so that its one-way delays grow; a
//! slower one doesn't. The estimate is the rate that parts the two kinds of trains
//! best (M. Zangrilli and B. B. Lowekamp, "Using passive traces of application
//! traffic in a network monitoring system", HPDC 2004; trends are told by the
//! tests of M. Jain and C. Dovrolis, "Pathload", PAM 2002).

use crate::sample::Sample;

/// Trains have at least so many packets.
const SHORTEST: usize = 10;

/// And at most so many.
const LONGEST: usize = 50;

/// The packets of a train are apart by their mean gap times at most this.
const UNEVEN: u64 = 4;

/// Delays grow if more than this share of pairs of neighbours does (pairwise
/// comparison test).
const PCT: f64 = 0.55;

/// Delays grow if the whole growth is more than this share of all movement
/// (pairwise difference test).
const PDT: f64 = 0.4;

/// A train: its rate in bit/s, and whether its delays grew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Train {
    /// The rate that it was sent at.
    pub rate: f64,
    /// Did it congest the path?
    pub congested: bool,
}

/// The trains in a run of samples.
pub fn trains(run: &[Sample]) -> Vec<Train> {
    let mut found = Vec::new();
    let mut start = 0;
    for at in 1..=run.len() {
        let length = at - start;
        let broken = at == run.len()
            || length >= LONGEST
            || (length >= 2 && {
                let gap = run[at].sent_ns.saturating_sub(run[at - 1].sent_ns);
                let mean = run[at - 1].sent_ns.saturating_sub(run[start].sent_ns) / (length as u64 - 1);
                gap > mean.max(1_000).saturating_mul(UNEVEN)
            });
        if broken {
            found.extend(train(&run[start..at]));
            start = at;
        }
    }
    found
}

fn train(packets: &[Sample]) -> Option<Train> {
    if packets.len() < SHORTEST {
        return None;
    }
    let span = packets[packets.len() - 1].sent_ns.saturating_sub(packets[0].sent_ns);
    if span == 0 {
        return None;
    }
    let bits: f64 = packets[1..].iter().map(|sample| f64::from(sample.bytes) * 8.0).sum();
    let delays: Vec<f64> = packets.iter().map(|sample| sample.delay_ns() as f64).collect();
    let steps: Vec<f64> = delays.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let growing = steps.iter().filter(|step| **step > 0.0).count() as f64 / steps.len() as f64;
    let movement: f64 = steps.iter().map(|step| step.abs()).sum();
    let growth = (delays[delays.len() - 1] - delays[0]) / movement.max(1.0);
    Some(Train { rate: bits * 1e9 / span as f64, congested: growing > PCT && growth > PDT })
}

/// The rate that parts congested trains from others with the fewest exceptions;
/// `None` if all trains are of one kind.
pub fn available(trains: &[Train]) -> Option<f64> {
    let mut sorted = trains.to_vec();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let total = sorted.iter().filter(|train| train.congested).count();
    if total == 0 || total == sorted.len() {
        return None;
    }
    // Exceptions if the threshold is below all rates: every train that did not congest.
    let mut exceptions = sorted.len() - total;
    let mut best: Option<(usize, f64)> = None;
    for (at, train) in sorted.iter().enumerate() {
        if train.congested {
            exceptions += 1;
        } else {
            exceptions -= 1;
        }
        let next = sorted.get(at + 1).map_or(train.rate, |next| next.rate);
        if best.is_none_or(|(least, _)| exceptions < least) {
            best = Some((exceptions, (train.rate + next) / 2.0));
        }
    }
    best.map(|(_, rate)| rate)
}
