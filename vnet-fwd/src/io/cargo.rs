//! What is forwarded: a frame, a super-frame, or frames that came one after the
//! other.

use std::io::IoSlice;
use std::ops::Range;

use smallvec::SmallVec;

use crate::engine::FrameInfo;
use crate::offload::{Checksum, Group, Layout, Work};

/// A frame on its way through a worker.
pub(crate) enum Cargo<'a> {
    /// As a port or a TCP link gave it.
    Whole {
        /// What is left to be done to it.
        work: Work,
        /// The frame.
        frame: &'a [u8],
    },
    /// Frames that can be delivered as one, or a single one.
    Train {
        /// What they are together.
        group: &'a Group,
        /// Where they are in the buffer.
        pieces: &'a [Range<usize>],
        /// The buffer.
        buffer: &'a [u8],
    },
}

impl Cargo<'_> {
    /// What the engine needs to know; `None`: it is no Ethernet frame.
    pub(crate) fn info(&self) -> Option<FrameInfo> {
        let first = match self {
            Self::Whole { frame, .. } => frame,
            Self::Train { pieces, buffer, .. } => {
                pieces.first().and_then(|piece| buffer.get(piece.clone()))?
            }
        };
        let (frames, bytes) = self.frames_and_bytes();
        FrameInfo::of(first).map(|info| FrameInfo { frames, bytes, ..info })
    }

    /// How many frames it is on a wire, and their lengths together.
    pub(crate) fn frames_and_bytes(&self) -> (usize, usize) {
        match self {
            Self::Whole { work, frame } => work.frames_and_bytes(frame.len()),
            Self::Train { group, .. } => (group.frames(), group.bytes()),
        }
    }

    /// What would be left to do for a port that takes it as one.
    pub(crate) fn work(&self) -> Work {
        match self {
            Self::Whole { work, .. } => *work,
            Self::Train { group, .. } => group.work(),
        }
    }

    /// It as one frame, in parts.
    pub(crate) fn parts<'b>(
        &'b self,
        headers: &'b mut [u8; Layout::MAX_HEADERS],
    ) -> SmallVec<[IoSlice<'b>; 96]> {
        match self {
            Self::Whole { frame, .. } => SmallVec::from_iter([IoSlice::new(frame)]),
            Self::Train { group, pieces, buffer } => {
                let length = group.merged_headers(headers);
                let payloads =
                    pieces.iter().map(|piece| IoSlice::new(&buffer[piece.start + length..piece.end]));
                let headers = (length > 0).then(|| IoSlice::new(&headers[..length]));
                headers.into_iter().chain(payloads).collect()
            }
        }
    }

    /// Calls `each` with the length of each frame as it would be on a wire, what
    /// is known of its checksum, and a function that writes it to where it is to
    /// go, until `each` fails.
    #[inline]
    pub(crate) fn each_frame<E>(
        &self,
        mut each: impl FnMut(usize, Checksum, &dyn Fn(&mut [u8])) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Whole { work: Work::Segments(segments), frame } => {
                (0..segments.count()).try_for_each(|n| {
                    each(segments.length(n), Checksum::Partial, &|out| segments.write(n, frame, out))
                })
            }
            Self::Whole { work, frame } => {
                let checksum = if *work == Work::Nothing { Checksum::Complete } else { Checksum::Partial };
                each(frame.len(), checksum, &|out| out.copy_from_slice(frame))
            }
            Self::Train { group, pieces, buffer } => pieces.iter().try_for_each(|piece| {
                let frame = &buffer[piece.clone()];
                each(frame.len(), group.checksum(), &|out| out.copy_from_slice(frame))
            }),
        }
    }
}

/// Fills in the checksum of a frame that leaves as it would be on a wire.
#[inline]
pub(crate) fn complete(frame: &mut [u8], checksum: Checksum) {
    if checksum == Checksum::Partial
        && let Some(layout) = Layout::of(frame)
    {
        layout.complete_checksum(frame);
    }
}
