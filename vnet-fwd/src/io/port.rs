//! What an interface must be able to do.

use std::io;
use std::os::fd::BorrowedFd;

use crate::stats::Drops;

/// Where frames enter and leave: implement this to give a
/// [`DataPlane`](super::DataPlane) a new kind of interface.
///
/// A port is owned by one worker. It must never block: an operation that can't
/// go on fails with [`io::ErrorKind::WouldBlock`].
pub trait Port: Send {
    /// A descriptor that is readable while [`Port::receive`] has a frame
    /// (as `epoll` understands it, level-triggered), and that stays the same
    /// as long as the port lives.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Puts the next frame at the start of `buffer`, which has room for the
    /// longest ([`MAX_FRAME`](vnet_core::frame::MAX_FRAME)), and returns its length.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: there is none at present. Any other error
    /// takes the interface down.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Delivers one frame.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: no room; the frame is dropped and counted.
    /// Any other error drops the frame, too, and the interface's status tells it.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Moves what the port has dropped by itself, since it was last asked, over
    /// to `drops`.
    fn take_drops(&mut self, _drops: &mut Drops) {}
}
