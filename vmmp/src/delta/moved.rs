//! Finding what of a stretch stands elsewhere in the old version.

use super::chunks::{Chunks, cut};
use super::piece::{Piece, add};
use super::send::is_zero;
use super::table::hash_block;

/// Where a stretch stands: in the file, and in the window that is cut into chunks.
pub(super) struct Place {
    /// Of the stretch, in the file.
    pub(super) offset: u64,
    /// How much of the window stands before it.
    pub(super) lead: usize,
    /// How long it is.
    pub(super) length: usize,
}

/// Looks for what has changed elsewhere in the old version: what a stretch is made of, where
/// `pieces` is what comparing it with the same place has given.
pub(super) fn moved(place: &Place, window: &[u8], chunks: &Chunks, pieces: Vec<Piece>) -> Vec<Piece> {
    let mut result = Vec::with_capacity(pieces.len());
    let mut old = pieces.into_iter();
    let mut current = old.next();
    // What the blocks say of the next `length` bytes.
    let mut take = |mut length: usize, result: Option<&mut Vec<Piece>>| {
        let mut taken = Vec::new();
        while length > 0 {
            let Some(piece) = current else { break };
            let count = piece.length().min(length as u32);
            let (front, rest) = split(piece, count);
            taken.push(front);
            current = rest.or_else(|| old.next());
            length -= count as usize;
        }
        if let Some(result) = result {
            taken.into_iter().for_each(|piece| add(result, piece));
        }
    };
    let end = place.lead + place.length;
    for chunk in cut(window) {
        // What of the chunk is in the stretch.
        let (from, to) = (chunk.start.max(place.lead), chunk.end.min(end));
        if from >= to {
            continue;
        }
        let length = to - from;
        match chunks.find(&hash_block(&window[chunk.clone()])) {
            Some((there, long)) if long as usize == chunk.len() => {
                let there = there + (from - chunk.start) as u64;
                let piece = match there == place.offset + (from - place.lead) as u64 {
                    true => Piece::Keep(length as u32),
                    false if is_zero(&window[from..to]) => Piece::Zero(length as u32),
                    false => Piece::Copy(length as u32, there),
                };
                add(&mut result, piece);
                take(length, None);
            }
            _ => take(length, Some(&mut result)),
        }
    }
    result
}

/// The first `count` bytes of a piece, and what is left of it.
fn split(piece: Piece, count: u32) -> (Piece, Option<Piece>) {
    let of = |length: u32, skipped: u32| match piece {
        Piece::Keep(_) => Piece::Keep(length),
        Piece::Zero(_) => Piece::Zero(length),
        Piece::Copy(_, from) => Piece::Copy(length, from + u64::from(skipped)),
        Piece::Data(_) => Piece::Data(length),
    };
    let left = piece.length() - count;
    (of(count, 0), (left > 0).then(|| of(left, count)))
}
