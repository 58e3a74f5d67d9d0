//! The method `DELTA`: only what the destination doesn't have crosses the wire.
//!
//! | what | how it is found | what crosses |
//! | --- | --- | --- |
//! | unchanged since the last visit | the file's identity (size, time, inode) | nothing |
//! | unchanged blocks | [`table`]: BLAKE3 of segments of 64 KiB, and of blocks of 4 KiB where one differs | nothing |
//! | what has moved | [`chunks`]: content-defined chunks (FastCDC) named by BLAKE3 | where it is |
//! | zeros | by looking; holes by asking the file system | their number |
//! | the rest | | zstd, as strong as the wire is slow |
//!
//! The sender reads, hashes and compresses on all cores while it sends. The receiver
//! writes in place behind an undo log when the old version is as long as the new one and
//! nothing has moved, else to a temporary file; either way the old version stays usable
//! until the new one is there, whole and checked ([`receive::recover`]).
//!
//! Everything goes through an encrypted and authenticated [`Channel`](crate::io::channel::Channel).

mod awaited;
pub mod chunks;
pub mod error;
mod moved;
pub mod piece;
pub mod receive;
pub mod send;
pub mod table;
mod undo;

pub use error::DeltaError;
pub use receive::receive;
pub use send::send;

/// What one transfer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The file, in bytes.
    pub file_bytes: u64,
    /// What has crossed the wire, in both directions.
    pub wire_bytes: u64,
    /// What crossed as data, before compression.
    pub data_bytes: u64,
    /// Was it known to be the same without reading it?
    pub was_identical: bool,
}

/// What a transfer tells whoever watches it, each time that it gets further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Further {
    /// How much of the file is there, in bytes.
    pub done: u64,
    /// What has crossed the connection so far, in both directions.
    pub wire_bytes: u64,
}

/// How much is worked on at a time, in bytes; a multiple of [`table::SEGMENT`].
pub(crate) const STRETCH: usize = 4 << 20;

mod kind {
    pub(super) const OFFER: u8 = 1;
    pub(super) const PLAN: u8 = 2;
    pub(super) const WANT_CHUNKS: u8 = 3;
    pub(super) const STRETCH: u8 = 4;
    pub(super) const CHUNKS: u8 = 5;
    pub(super) const END: u8 = 6;
    pub(super) const DONE: u8 = 7;
}
