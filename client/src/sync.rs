//! What threads tell each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is behind a mutex. A thread that has panicked leaves nothing half done behind it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
