//! What waits for a connection to take it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::record::Record;

/// The queue between the daemon, which never waits, and a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    aborted: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    closing: bool,
    trusted: bool,
}

/// What a connection is to do besides sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// Nothing more will come: close once everything is sent.
    pub(super) close: bool,
    /// Go on reading however much waits to be sent.
    pub(super) trusted: bool,
}

impl Outbox {
    pub(crate) fn push(&self, record: &Record) {
        self.queue().bytes.extend_from_slice(record.bytes());
        self.0.changed.notify_one();
    }

    /// Has the connection closed once everything is sent.
    pub(crate) fn close(&self) {
        self.queue().closing = true;
        self.0.changed.notify_one();
    }

    /// Has the connection closed now, whatever waits.
    pub(crate) fn abort(&self) {
        let mut queue = self.queue();
        queue.bytes = Vec::new();
        queue.closing = true;
        self.0.aborted.store(true, Ordering::Release);
        self.0.changed.notify_one();
    }

    /// Makes it a session between daemons. If both ends of one waited for the
    /// other to read before they read themselves, it would stand still for ever.
    pub(crate) fn trust(&self) {
        self.queue().trusted = true;
        self.0.changed.notify_one();
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.0.aborted.load(Ordering::Acquire)
    }

    pub(crate) fn length(&self) -> usize {
        self.queue().bytes.len()
    }

    /// Moves everything that waits to the end of `bytes`.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> Orders {
        let mut queue = self.queue();
        if bytes.is_empty() {
            std::mem::swap(bytes, &mut queue.bytes);
        } else {
            bytes.append(&mut queue.bytes);
        }
        queue.bytes.shrink_to(4096);
        Orders { close: queue.closing, trusted: queue.trusted }
    }

    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change is a single step; a panic elsewhere leaves the queue whole.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
