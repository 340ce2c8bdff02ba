//! What others may know of the mirror.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How far the mirror is, and what is in its way.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// The topic holds every event below this; 0 while that is not known.
    next_offset: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Status {
    /// Every event below this is in the topic; 0 while that is not known.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset.load(Ordering::Relaxed)
    }

    /// What keeps events from the topic at present.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reached(&self, next_offset: u64) {
        self.next_offset.store(next_offset, Ordering::Relaxed);
    }

    /// Notes what is in the way, or that nothing is; whether that is news.
    pub(super) fn note(&self, problem: Option<String>) -> bool {
        let mut noted = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *noted != problem;
        *noted = problem;
        is_news
    }
}
