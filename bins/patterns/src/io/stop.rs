//! Telling a run to stop, from another thread or by a signal.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Tells a run to stop. Clones tell the same run.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<UnixStream>);

/// What a run watches to learn that it should stop.
#[derive(Debug)]
pub struct StopSignal {
    signal: UnixStream,
    // Keeps the other end open, so that `signal` is readable when told alone.
    _stopper: Stopper,
}

/// A stopper and the signal that it gives.
///
/// # Errors
///
/// The system has no file descriptor left.
pub fn stop_pair() -> io::Result<(Stopper, StopSignal)> {
    let (stopper, signal) = UnixStream::pair()?;
    stopper.set_nonblocking(true)?;
    signal.set_nonblocking(true)?;
    let stopper = Stopper(Arc::new(stopper));
    Ok((stopper.clone(), StopSignal { signal, _stopper: stopper }))
}

impl Stopper {
    /// Tells the run to stop: it says goodbye to its peers, which stop too, and returns.
    pub fn stop(&self) {
        // A full buffer holds a byte already, and a run that has ended needs none.
        let _ = (&*self.0).write(&[0]);
    }

    /// Stops the run on SIGTERM and SIGINT too. For the rest of the process's
    /// life these signals do nothing else.
    ///
    /// # Errors
    ///
    /// The system refuses the handlers.
    pub fn on_signals(&self) -> io::Result<()> {
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::low_level::pipe::register(signal, self.0.try_clone()?)?;
        }
        Ok(())
    }
}

impl StopSignal {
    /// Was the run told to stop since the last call?
    pub(super) fn take(&self) -> bool {
        let mut told = false;
        let mut bytes = [0; 16];
        while matches!((&self.signal).read(&mut bytes), Ok(1..)) {
            told = true;
        }
        told
    }
}

impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}
