//! What others may know of a replica.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How far the replica is, and what is in its way.
#[derive(Debug)]
pub(crate) struct Status {
    primary_url: String,
    topic: String,
    events_behind: AtomicU64,
    duplicates: AtomicU64,
    problem: Mutex<Option<(String, Instant)>>,
}

impl Status {
    pub(super) fn new(primary_url: String, topic: String) -> Self {
        let (events_behind, duplicates) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { primary_url, topic, events_behind, duplicates, problem: Mutex::default() }
    }

    /// Where the server is that takes appends.
    pub(crate) fn primary_url(&self) -> &str {
        &self.primary_url
    }

    /// Where the events come from.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// How many messages the topic is known to have that the log does not have yet.
    pub(crate) fn events_behind(&self) -> u64 {
        self.events_behind.load(Ordering::Relaxed)
    }

    /// How many events have been met twice since the server was started.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// What is in the way at present, and for how long it has been.
    pub(crate) fn problem(&self) -> Option<String> {
        let noted = self.noted();
        noted.as_ref().map(|(problem, since)| format!("{problem} (for {} s)", since.elapsed().as_secs()))
    }

    pub(super) fn is_behind(&self, events: u64) {
        self.events_behind.store(events, Ordering::Relaxed);
    }

    pub(super) fn met_twice(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what is in the way, or that nothing is; whether that is news.
    pub(super) fn note(&self, problem: Option<String>) -> bool {
        let mut noted = self.noted();
        if noted.as_ref().map(|(problem, _)| problem) == problem.as_ref() {
            return false;
        }
        *noted = problem.map(|problem| (problem, Instant::now()));
        true
    }

    fn noted(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
