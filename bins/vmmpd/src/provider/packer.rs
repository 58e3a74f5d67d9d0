//! Whether a monitor's stream is compressed on its way: where the wire is the slower.

use std::time::{Duration, Instant};

use vmmp::io::channel::Writer;

use super::files::said;
use super::method::kind;

/// The lightest of zstd's ordinary levels: 300 MB/s and more on one core.
const LEVEL: i32 = 1;

/// Pieces shorter than this are sent as they are: questions and answers, for which time
/// counts and room doesn't.
const SHORT: usize = 4 << 10;

/// So often the way that is not taken is tried.
const TRY: u32 = 64;

/// How much the last measurement counts.
const WEIGHT: f64 = 0.1;

/// Sends a stream's pieces, compressed or as they are, whichever has been the faster.
#[derive(Default)]
pub(super) struct Packer {
    count: u32,
    plain: Option<Rate>,
    packed: Option<Rate>,
}

/// What a byte of the stream takes, in nanoseconds, all included.
#[derive(Clone, Copy)]
struct Rate(f64);

impl Packer {
    pub(super) fn send(&mut self, piece: &[u8], writer: &mut Writer) -> Result<(), String> {
        if piece.len() < SHORT {
            return writer.send(kind::STREAM, piece).map_err(said);
        }
        let begun = Instant::now();
        if !self.packs_next() {
            writer.send(kind::STREAM, piece).map_err(said)?;
            learn(&mut self.plain, begun.elapsed(), piece.len());
            return Ok(());
        }
        let packed = zstd::bulk::compress(piece, LEVEL).map_err(said)?;
        let (kind, body) = match packed.len() < piece.len() {
            true => (kind::STREAM_PACKED, packed.as_slice()),
            false => (kind::STREAM, piece),
        };
        writer.send(kind, body).map_err(said)?;
        learn(&mut self.packed, begun.elapsed(), piece.len());
        Ok(())
    }

    fn packs_next(&mut self) -> bool {
        self.count = self.count.wrapping_add(1);
        let is_faster = match (self.plain, self.packed) {
            (Some(plain), Some(packed)) => packed.0 < plain.0,
            (plain, _) => plain.is_some(),
        };
        is_faster != self.count.is_multiple_of(TRY)
    }
}

/// Takes a measurement in. One piece alone says little: the kernel takes some for nothing,
/// and then one waits for all of them.
fn learn(rate: &mut Option<Rate>, took: Duration, bytes: usize) {
    let new = took.as_nanos() as f64 / bytes as f64;
    let old = rate.map_or(new, |rate| rate.0);
    *rate = Some(Rate(old + WEIGHT * (new - old)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chooses(plain_ns: f64, packed_ns: f64) -> usize {
        let mut packer = Packer { count: 0, plain: Some(Rate(plain_ns)), packed: Some(Rate(packed_ns)) };
        (0..TRY).filter(|_| packer.packs_next()).count()
    }

    #[test]
    fn the_faster_way_is_taken_and_the_other_is_tried() {
        assert_eq!(chooses(80.0, 40.0), TRY as usize - 1);
        assert_eq!(chooses(1.0, 4.0), 1);
    }

    #[test]
    fn a_measurement_counts_a_little() {
        let mut rate = None;
        learn(&mut rate, Duration::from_nanos(1000), 100);
        learn(&mut rate, Duration::from_nanos(2000), 100);
        assert!(rate.is_some_and(|rate| (rate.0 - 11.0).abs() < 1e-9));
    }
}
