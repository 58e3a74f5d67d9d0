//! What workers wait for together.

use std::sync::{Condvar, Mutex, PoisonError};

/// Something that is asked for once and awaited by many.
pub(super) struct Awaited<T> {
    value: Mutex<(bool, Option<T>)>,
    changed: Condvar,
}

impl<T> Default for Awaited<T> {
    fn default() -> Self {
        Self { value: Mutex::new((false, None)), changed: Condvar::new() }
    }
}

impl<T> Awaited<T> {
    /// Is the caller the first that asks?
    pub(super) fn is_first(&self) -> bool {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut value.0, true) && value.1.is_none()
    }

    /// What is set first stays.
    pub(super) fn set(&self, value: T) {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).1.get_or_insert(value);
        self.changed.notify_all();
    }

    pub(super) fn with(&self, work: impl FnOnce(&T)) {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        while value.1.is_none() {
            value = self.changed.wait(value).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(value) = &value.1 {
            work(value);
        }
    }
}
