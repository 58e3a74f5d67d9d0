//! Frames that are longer than the path's datagrams: split here, rejoined by the peer.
//!
//! A [`Kind::Fragment`] has behind the encapsulation header:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | kind of the frame: 1 `Frame` or 8 `PartialFrame` |
//! | 1 | 1 | which piece, from 0 |
//! | 2 | 1 | how many pieces, 2 to 64 |
//! | 3 | 1 | 0 |
//! | 4 | 4 | number of the frame: counts the link's split frames |
//! | 8 | 4 | length of the frame |
//! | 12 | | the piece; all are of the same length, the last one padded with zeros |
//!
//! Pieces of the same length let successive frames leave as one run of datagrams.
//! Integers are big-endian.

use vnet_core::encap::{Header, Kind};
use vnet_core::frame::MAX_FRAME;

use crate::stats::DropReason;

/// Length of a fragment's own header.
pub const FRAGMENT_HEADER: usize = 12;

/// The most pieces of a frame.
const MAX_PIECES: usize = 64;

/// How many frames of a link are being rejoined at a time; a frame whose pieces have
/// not come when so many further ones have begun is given up.
const UNDER_WAY: usize = 32;

/// How a frame is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Length of the frame.
    length: usize,
    /// How many there are.
    count: usize,
}

impl Pieces {
    /// A frame of `length` bytes in pieces of at most `room` bytes, with their
    /// [`FRAGMENT_HEADER`]. `None`: it would be too many.
    pub fn new(length: usize, room: usize) -> Option<Self> {
        let piece = room.checked_sub(FRAGMENT_HEADER).filter(|piece| *piece > 0)?;
        let count = length.div_ceil(piece).max(2);
        (count <= MAX_PIECES && (count..=MAX_FRAME).contains(&length)).then_some(Self { length, count })
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Length of each, with its [`FRAGMENT_HEADER`].
    pub fn size(self) -> usize {
        FRAGMENT_HEADER + self.piece()
    }

    /// Writes the piece `n` of the frame `number`, whose kind is `kind`; `out` has
    /// [`Pieces::size`] bytes.
    pub fn write(self, n: usize, number: u32, kind: Kind, frame: &[u8], out: &mut [u8]) {
        let (head, body) = out.split_at_mut(FRAGMENT_HEADER);
        head[..4].copy_from_slice(&[kind as u8, n as u8, self.count as u8, 0]);
        head[4..8].copy_from_slice(&number.to_be_bytes());
        head[8..].copy_from_slice(&(self.length as u32).to_be_bytes());
        let start = (n * self.piece()).min(frame.len());
        let piece = &frame[start..frame.len().min(start + self.piece())];
        body[..piece.len()].copy_from_slice(piece);
        body[piece.len()..].fill(0);
    }

    fn piece(self) -> usize {
        self.length.div_ceil(self.count)
    }
}

/// A fragment that has been read.
struct Fragment<'a> {
    kind: Kind,
    index: usize,
    number: u32,
    pieces: Pieces,
    piece: &'a [u8],
}

impl<'a> Fragment<'a> {
    fn decode(payload: &'a [u8]) -> Option<Self> {
        let (head, piece) = payload.split_first_chunk::<FRAGMENT_HEADER>()?;
        let [kind, index, count, _, n0, n1, n2, n3, l0, l1, l2, l3] = *head;
        let kind =
            Kind::try_from(kind).ok().filter(|kind| matches!(kind, Kind::Frame | Kind::PartialFrame))?;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let pieces = Pieces { length, count: count.into() };
        let sound = (2..=MAX_PIECES).contains(&pieces.count)
            && (pieces.count..=MAX_FRAME).contains(&length)
            && usize::from(index) < pieces.count
            && piece.len() == pieces.piece();
        let number = u32::from_be_bytes([n0, n1, n2, n3]);
        sound.then_some(Self { kind, index: index.into(), number, pieces, piece })
    }
}

/// The frames of one link that are being rejoined.
#[derive(Debug, Default)]
pub(super) struct Rejoiner {
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    number: u32,
    /// `None`: free, or the frame is whole and has been given away.
    under_way: Option<UnderWay>,
    /// Kept, so that a busy link allocates no more.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct UnderWay {
    kind: Kind,
    header: Header,
    pieces: Pieces,
    /// Which pieces are here, a bit for each.
    here: u64,
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejoined {
    /// More pieces are needed. `given_up`: another frame, whose pieces are missing
    /// for too long, was forgotten for this one.
    Waiting {
        /// See there.
        given_up: bool,
    },
    /// The frame is whole; give the buffer back by [`LinkSet::recycle`](super::LinkSet::recycle).
    Whole {
        /// What it is.
        kind: Kind,
        /// The frame.
        frame: Vec<u8>,
    },
}

impl Rejoiner {
    /// Takes a fragment that came behind `header`.
    pub(super) fn add(&mut self, header: &Header, payload: &[u8]) -> Result<Rejoined, DropReason> {
        let fragment = Fragment::decode(payload).ok_or(DropReason::BadMessage)?;
        if self.slots.is_empty() {
            self.slots.resize_with(UNDER_WAY, Slot::default);
        }
        let Fragment { kind, index, number, pieces, piece } = fragment;
        let slot = &mut self.slots[number as usize % UNDER_WAY];
        let label = |header: &Header| (header.hop_limit, header.rule_version, header.network);
        let mut given_up = false;
        if slot.number != number || slot.under_way.is_none() {
            let older = number.wrapping_sub(slot.number) as i32;
            if slot.under_way.is_some() && older < 0 {
                // A straggler of a frame that was given up.
                return Err(DropReason::Incomplete);
            }
            given_up = slot.under_way.is_some();
            slot.number = number;
            slot.under_way = Some(UnderWay { kind, header: *header, pieces, here: 0 });
            slot.buffer.clear();
            slot.buffer.resize(pieces.piece() * pieces.count, 0);
        }
        let Some(under_way) = slot.under_way.as_mut().filter(|other| {
            (other.kind, other.pieces, label(&other.header)) == (kind, pieces, label(header))
        }) else {
            return Err(DropReason::BadMessage);
        };
        let start = index * pieces.piece();
        slot.buffer[start..start + piece.len()].copy_from_slice(piece);
        under_way.here |= 1 << index;
        if under_way.here.count_ones() as usize != pieces.count {
            return Ok(Rejoined::Waiting { given_up });
        }
        slot.under_way = None;
        slot.buffer.truncate(pieces.length);
        Ok(Rejoined::Whole { kind, frame: std::mem::take(&mut slot.buffer) })
    }

    /// Takes back the buffer of a frame.
    pub(super) fn recycle(&mut self, frame: Vec<u8>) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.buffer.capacity() == 0) {
            slot.buffer = frame;
        }
    }

    /// Forgets everything: the link has gone down. How many frames were waiting.
    pub(super) fn clear(&mut self) -> usize {
        let waiting = self.slots.iter().filter(|slot| slot.under_way.is_some()).count();
        self.slots = Vec::new();
        waiting
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use vnet_core::{NetworkId, RuleVersion};

    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Fragment,
            hop_limit: 3,
            rule_version: RuleVersion(1),
            network: NetworkId(7),
            sequence: 0,
            timestamp: 0,
        }
    }

    fn split(number: u32, frame: &[u8], room: usize) -> Vec<Vec<u8>> {
        let pieces = Pieces::new(frame.len(), room).unwrap();
        let piece = |n| {
            let mut out = vec![0xaa; pieces.size()];
            pieces.write(n, number, Kind::Frame, frame, &mut out);
            out
        };
        (0..pieces.count()).map(piece).collect()
    }

    fn whole(rejoined: Result<Rejoined, DropReason>) -> Option<Vec<u8>> {
        match rejoined {
            Ok(Rejoined::Whole { kind: Kind::Frame, frame }) => Some(frame),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn frames_are_rejoined_in_whatever_order_their_pieces_come(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 60..9000), 1..6),
            room in 300_usize..1500, first: u32, seed in any::<[u16; 24]>(),
        ) {
            let mut pieces: Vec<Vec<u8>> = frames
                .iter()
                .enumerate()
                .flat_map(|(n, frame)| split(first.wrapping_add(n as u32), frame, room))
                .collect();
            prop_assert!(pieces.iter().all(|piece| piece.len() <= room));
            for (n, swap) in seed.into_iter().enumerate() {
                let length = pieces.len();
                pieces.swap(n % length, usize::from(swap) % length);
            }
            let mut rejoiner = Rejoiner::default();
            let mut out: Vec<_> =
                pieces.iter().filter_map(|piece| whole(rejoiner.add(&header(), piece))).collect();
            let mut frames = frames;
            out.sort();
            frames.sort();
            prop_assert_eq!(out, frames);
        }

        #[test]
        fn any_bytes_are_taken_or_refused_without_panic(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..50),
        ) {
            let mut rejoiner = Rejoiner::default();
            for payload in payloads {
                let _ = rejoiner.add(&header(), &payload);
            }
        }
    }

    #[test]
    fn a_frame_with_a_piece_missing_is_given_up_and_counted() {
        let mut rejoiner = Rejoiner::default();
        let frame = vec![1; 1514];
        assert_eq!(
            rejoiner.add(&header(), &split(0, &frame, 1000)[0]),
            Ok(Rejoined::Waiting { given_up: false })
        );
        let mut given_up = 0;
        for number in 1..=UNDER_WAY as u32 {
            let [first, second] = &split(number, &frame, 1000)[..] else { panic!("two pieces") };
            if rejoiner.add(&header(), first) == Ok(Rejoined::Waiting { given_up: true }) {
                given_up += 1;
            }
            assert_eq!(whole(rejoiner.add(&header(), second)), Some(frame.clone()));
        }
        assert_eq!(given_up, 1);
    }

    #[test]
    fn a_piece_of_another_split_of_the_same_number_is_refused() {
        let mut rejoiner = Rejoiner::default();
        rejoiner.add(&header(), &split(5, &[1; 1514], 1000)[0]).unwrap();
        let other = &split(5, &[1; 1200], 1000)[1];
        assert_eq!(rejoiner.add(&header(), other), Err(DropReason::BadMessage));
    }
}
