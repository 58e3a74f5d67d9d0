//! What a stretch of the new version is made of.
//!
//! | octets | field |
//! | --- | --- |
//! | 8 | where the stretch begins in the file |
//! | 4 | how many pieces there are |
//! | 4 | how long its data are, before compression |
//! | 13 each | pieces: kind (1), length (4), where in the old version (8; 0 unless moved) |
//! | rest | the data of all [`Piece::Data`], as one zstd frame |
//!
//! All little endian. A stretch is at most [`MAX_STRETCH`] bytes of file.

use super::error::DeltaError;

/// The most file that one stretch is of, in bytes.
pub const MAX_STRETCH: usize = super::STRETCH;

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As the old version at the same place.
    Keep(u32),
    /// Zeros.
    Zero(u32),
    /// As the old version at another place.
    Copy(u32, u64),
    /// What comes with it.
    Data(u32),
}

/// A stretch of the new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins.
    pub offset: u64,
    /// What it is made of, in order.
    pub pieces: Vec<Piece>,
    /// How long its data are.
    pub data_length: usize,
    /// Its data, compressed.
    pub compressed: Vec<u8>,
}

const HEAD: usize = 16;
const PIECE: usize = 13;

impl Piece {
    /// How long it is, in bytes.
    pub const fn length(self) -> u32 {
        match self {
            Self::Keep(length) | Self::Zero(length) | Self::Copy(length, _) | Self::Data(length) => length,
        }
    }
}

impl Stretch {
    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.pieces.len() * PIECE + self.compressed.len());
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend((self.pieces.len() as u32).to_le_bytes());
        bytes.extend((self.data_length as u32).to_le_bytes());
        for piece in &self.pieces {
            let (kind, from) = match piece {
                Piece::Keep(_) => (1, 0),
                Piece::Zero(_) => (2, 0),
                Piece::Copy(_, from) => (3, *from),
                Piece::Data(_) => (4, 0),
            };
            bytes.push(kind);
            bytes.extend(piece.length().to_le_bytes());
            bytes.extend(from.to_le_bytes());
        }
        bytes.extend(&self.compressed);
        bytes
    }

    /// Reads what [`Stretch::to_bytes`] has written.
    ///
    /// # Errors
    /// It is malformed, or longer than it may be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DeltaError> {
        let wrong = || DeltaError::protocol("a malformed stretch");
        let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(wrong)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
        let offset = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let count = u32::from_le_bytes([i, j, k, l]) as usize;
        let data_length = u32::from_le_bytes([m, n, o, p]) as usize;
        let (pieces, compressed) =
            count.checked_mul(PIECE).and_then(|length| rest.split_at_checked(length)).ok_or_else(wrong)?;
        let piece = |bytes: &[u8; PIECE]| {
            let [kind, a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
            let length = u32::from_le_bytes([a, b, c, d]);
            let from = u64::from_le_bytes([e, f, g, h, i, j, k, l]);
            match (kind, from) {
                (1, 0) => Ok(Piece::Keep(length)),
                (2, 0) => Ok(Piece::Zero(length)),
                (3, from) => Ok(Piece::Copy(length, from)),
                (4, 0) => Ok(Piece::Data(length)),
                _ => Err(wrong()),
            }
        };
        let pieces = pieces.as_chunks::<PIECE>().0.iter().map(piece).collect::<Result<Vec<_>, _>>()?;
        let stretch = Self { offset, pieces, data_length, compressed: compressed.to_vec() };
        let data = stretch.pieces.iter().filter(|piece| matches!(piece, Piece::Data(_)));
        let data: u64 = data.map(|piece| u64::from(piece.length())).sum();
        if stretch.length() > MAX_STRETCH as u64 || data != data_length as u64 {
            return Err(wrong());
        }
        Ok(stretch)
    }

    /// How much of the file it is of, in bytes.
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.length())).sum()
    }
}

/// Adds a piece, joined with the last one where both are one.
pub(crate) fn add(pieces: &mut Vec<Piece>, piece: Piece) {
    let joined = match (pieces.last_mut(), piece) {
        (Some(Piece::Keep(length)), Piece::Keep(more))
        | (Some(Piece::Zero(length)), Piece::Zero(more))
        | (Some(Piece::Data(length)), Piece::Data(more)) => Some((length, more)),
        (Some(Piece::Copy(length, from)), Piece::Copy(more, at)) if *from + u64::from(*length) == at => {
            Some((length, more))
        }
        _ => None,
    };
    match joined {
        Some((length, more)) => *length += more,
        None => pieces.push(piece),
    }
}
