//! What others may know of the mirror.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::kafka::Problem;

/// How far the mirror is, and what is in its way.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// The topic holds every event below this, as far as any session has come; 0 while that is not known.
    next_offset: AtomicU64,
    /// What keeps events from the topic at present.
    pub(super) problem: Problem,
    /// What keeps its schema from the registry.
    pub(super) schema_problem: Problem,
}

impl Status {
    /// Every event below this is in the topic; 0 while that is not known.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset.load(Ordering::Relaxed)
    }

    /// What keeps events from the topic at present, or else its schema from the registry, and for how long it has.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.text().or_else(|| self.schema_problem.text())
    }

    /// The topic holds every event below this, as far as the present session has seen; whether no session had come so far.
    pub(super) fn reached(&self, next_offset: u64) -> bool {
        self.next_offset.fetch_max(next_offset, Ordering::Relaxed) < next_offset
    }

    /// The topic has been made anew.
    pub(super) fn begins_again(&self, next_offset: u64) {
        self.next_offset.store(next_offset, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_session_had_reached_stands_until_the_topic_begins_again() {
        let status = Status::default();
        assert!(status.reached(5) && status.reached(9));
        assert!(!status.reached(3) && !status.reached(9), "it has been there");
        assert_eq!(status.next_offset(), 9);
        status.begins_again(1);
        assert_eq!(status.next_offset(), 1);
        assert!(status.reached(3));
    }
}
