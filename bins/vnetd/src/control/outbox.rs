//! What waits for a connection to take it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::record::Record;

/// The queue between the daemon, which never waits, and a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    closing: bool,
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

    pub(crate) fn length(&self) -> usize {
        self.queue().bytes.len()
    }

    /// Moves everything that waits to the end of `bytes`; `true` if nothing
    /// will follow.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> bool {
        let mut queue = self.queue();
        if bytes.is_empty() {
            std::mem::swap(bytes, &mut queue.bytes);
        } else {
            bytes.append(&mut queue.bytes);
        }
        queue.bytes.shrink_to(4096);
        queue.closing
    }

    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change is a single step; a panic elsewhere leaves the queue whole.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
