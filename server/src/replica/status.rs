//! What others may know of a replica.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::kafka::Problem;

/// How far the replica is, and what is in its way.
#[derive(Debug)]
pub(crate) struct Status {
    primary_url: String,
    topic: String,
    events_behind: AtomicU64,
    duplicates: AtomicU64,
    /// What is in the way at present.
    pub(super) problem: Problem,
}

impl Status {
    pub(super) fn new(primary_url: String, topic: String) -> Self {
        let (events_behind, duplicates) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { primary_url, topic, events_behind, duplicates, problem: Problem::default() }
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
        self.problem.text()
    }

    pub(super) fn is_behind(&self, events: u64) {
        self.events_behind.store(events, Ordering::Relaxed);
    }

    pub(super) fn met_twice(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }
}
