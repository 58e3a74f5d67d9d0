//! Work on frames that their sender has left to the device: filling in
//! checksums, and cutting a *super-frame* of up to 64 KiB into segments.
//!
//! A guest's kernel that finds a device willing hands over what a whole round of
//! TCP produced as one frame, with a [`OffloadHeader`] that says what is still to
//! be done. The overlay carries that as far as it can without doing it:
//!
//! - over UDP, as one datagram for each segment ([`Segments`]): each is a frame
//!   of its own with all headers, so that a lost datagram costs one segment. Only
//!   the checksum of TCP or UDP stays undone.
//! - over TCP, whole, behind its offload header.
//! - into a port that takes super-frames, whole; segments that came one by one
//!   are put together first ([`Group`]).
//! - into any other port, as segments with all checksums.
//!
//! Nothing here does I/O.

mod group;
mod header;
mod layout;
mod segment;

pub use group::{Checksum, Group};
pub use header::{OFFLOAD_HEADER, OffloadError, OffloadHeader, Offloads, Work};
pub use layout::{Layout, Transport};
pub use segment::Segments;

#[cfg(test)]
mod tests;
