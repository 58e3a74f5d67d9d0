//! The thread that brings the journal to the disk, so that the control
//! thread never waits for the disk.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

// Changes come in bursts; one sync serves a burst.
const GATHER: Duration = Duration::from_millis(200);
const STACK: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    work: Option<Sender<Arc<File>>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The thread knows that there is something to sync.
    dirty: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl Syncer {
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (work, queue) = channel();
        let theirs = shared.clone();
        let thread =
            Builder::new().name("journal".into()).stack_size(STACK).spawn(move || run(&theirs, &queue))?;
        Ok(Self { shared, work: Some(work), thread: Some(thread) })
    }

    /// `file` has changed: sync it within a second.
    pub(super) fn changed(&self, file: &Arc<File>) {
        if !self.shared.dirty.swap(true, Ordering::AcqRel) {
            self.replaced(file);
        }
    }

    /// `file` takes the place of the one before.
    pub(super) fn replaced(&self, file: &Arc<File>) {
        if let Some(work) = &self.work {
            // The thread lives as long as the sender.
            let _ = work.send(file.clone());
        }
    }

    /// Why the last sync failed, if it did.
    pub(super) fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, queue: &Receiver<Arc<File>>) {
    while let Ok(mut file) = queue.recv() {
        let mut stop = false;
        loop {
            match queue.recv_timeout(GATHER) {
                Ok(newer) => file = newer,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    stop = true;
                    break;
                }
            }
        }
        // Cleared first: a change during the sync asks for another one.
        shared.dirty.store(false, Ordering::Release);
        let result = file.sync_data();
        *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
            result.err().map(|error| error.to_string());
        if stop {
            return;
        }
    }
}
