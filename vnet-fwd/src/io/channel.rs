//! In-memory ports, for embedding and for tests.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError, TrySendError};
use std::time::Duration;

use super::port::Port;
use super::sys::EventFd;

/// Two ends of an Ethernet cable that holds up to `capacity` frames in each
/// direction: a port for the data plane, and the embedder's end.
///
/// # Errors
///
/// The kernel has no event counter left to give.
pub fn pair(capacity: usize) -> io::Result<(ChannelPort, ChannelEnd)> {
    let (to_plane, from_end) = mpsc::sync_channel(capacity);
    let (to_end, from_plane) = mpsc::sync_channel(capacity);
    let ready = Arc::new(EventFd::new()?);
    let port = ChannelPort { incoming: from_end, outgoing: to_end, ready: Arc::clone(&ready) };
    Ok((port, ChannelEnd { incoming: from_plane, outgoing: to_plane, ready: Waker(ready) }))
}

/// The data plane's end.
pub struct ChannelPort {
    incoming: mpsc::Receiver<Vec<u8>>,
    outgoing: mpsc::SyncSender<Vec<u8>>,
    ready: Arc<EventFd>,
}

impl Port for ChannelPort {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut next = self.incoming.try_recv();
        if next == Err(TryRecvError::Empty) {
            // Cleared before the second look, so that no frame goes unnoticed.
            self.ready.clear();
            next = self.incoming.try_recv();
            if next.is_ok() {
                self.ready.notify();
            }
        }
        match next {
            Ok(frame) => {
                let place = buffer.get_mut(..frame.len()).ok_or(io::ErrorKind::InvalidInput)?;
                place.copy_from_slice(&frame);
                Ok(frame.len())
            }
            Err(TryRecvError::Empty) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryRecvError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.outgoing.try_send(frame.to_vec()).map_err(|error| match error {
            TrySendError::Full(_) => io::ErrorKind::WouldBlock.into(),
            TrySendError::Disconnected(_) => io::ErrorKind::BrokenPipe.into(),
        })
    }
}

/// The embedder's end; dropping it takes the interface down.
pub struct ChannelEnd {
    incoming: mpsc::Receiver<Vec<u8>>,
    outgoing: mpsc::SyncSender<Vec<u8>>,
    // Dropped last: the port that it wakes is to find the channel closed.
    ready: Waker,
}

/// Wakes the data plane, and does so once more when it is dropped.
struct Waker(Arc<EventFd>);

impl ChannelEnd {
    /// Hands a frame to the data plane. `false`: the cable is full, or the other
    /// end is gone.
    #[must_use]
    pub fn send(&self, frame: &[u8]) -> bool {
        let sent = self.outgoing.try_send(frame.to_vec()).is_ok();
        self.ready.0.notify();
        sent
    }

    /// The next frame from the data plane, if there is one.
    pub fn receive(&self) -> Option<Vec<u8>> {
        self.incoming.try_recv().ok()
    }

    /// The next frame from the data plane; waits for it up to `timeout`.
    pub fn receive_within(&self, timeout: Duration) -> Option<Vec<u8>> {
        self.incoming.recv_timeout(timeout).ok()
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.0.notify();
    }
}
