//! What threads tell each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is behind a mutex. A thread that has panicked leaves nothing half done behind it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, taken away.
pub(crate) fn take<T: Default>(mutex: &Mutex<T>) -> T {
    std::mem::take(&mut *lock(mutex))
}

/// Whether something has come since it was waited for last.
#[derive(Debug, Default)]
pub(crate) struct News {
    has_come: Mutex<bool>,
    coming: Condvar,
}

impl News {
    /// Something has come: whoever waits goes on.
    pub(crate) fn come(&self) {
        *lock(&self.has_come) = true;
        self.coming.notify_one();
    }

    /// Waits until something comes, but no longer than this.
    pub(crate) fn wait(&self, most: Duration) {
        let waited = self.coming.wait_timeout_while(lock(&self.has_come), most, |has_come| !*has_come);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
