//! What an interface must be able to do.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use crate::offload::{OffloadHeader, Offloads};
use crate::stats::Drops;

/// Where frames enter and leave: implement this to give a
/// [`DataPlane`](super::DataPlane) a new kind of interface.
///
/// The first three methods are enough. The others have to do with super-frames
/// and frames without checksums ([`offload`](crate::offload)), for a port that
/// can give and take those.
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
    /// [`io::ErrorKind::NotConnected`]: the same, for the reason that [`Port::problem`] gives.
    /// Any other error drops the frame, too, and the interface's status tells it.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// What may be left undone in the frames that the port is given. By default
    /// nothing: the frames for [`Port::send`] are as they would be on a wire.
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    /// As [`Port::receive`], for frames that are not all as they would be on a
    /// wire: also says what is left to be done.
    fn receive_offloaded(&mut self, buffer: &mut [u8]) -> io::Result<(usize, OffloadHeader)> {
        self.receive(buffer).map(|length| (length, OffloadHeader::default()))
    }

    /// As [`Port::send`], for a frame that is given in parts and of which no more
    /// is left to be done than [`Port::offloads`] allows. By default it is put
    /// together and sent.
    fn send_offloaded(&mut self, _left: &OffloadHeader, parts: &[IoSlice<'_>]) -> io::Result<()> {
        match parts {
            [frame] => self.send(frame),
            parts => self.send(&parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<_>>()),
        }
    }

    /// The MTU of the port's device, if it is a thing that a data plane may set.
    fn mtu(&self) -> Option<u32> {
        None
    }

    /// Sets that.
    ///
    /// # Errors
    ///
    /// What the kernel said; the MTU stays as it is.
    fn set_mtu(&mut self, _mtu: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Why no frame gets through at present, though the port is open: nobody is connected to
    /// it, say. The interface's status tells it.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Moves what the port has dropped by itself, since it was last asked, over
    /// to `drops`.
    fn take_drops(&mut self, _drops: &mut Drops) {}
}
