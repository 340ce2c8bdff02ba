//! Commits and seals, as the log reports them.

use std::sync::atomic::{AtomicU64, Ordering};

use downlink_storage::{CommitReport, Observer, SealOutcome, SealReport};

use super::histogram::Histogram;
use super::page::Page;
use super::{
    COMMIT_APPENDS, COMMIT_DURATION, COMMIT_EVENTS, COMMIT_FAILURES, COMMIT_PART_DURATION, COMMIT_SIZE,
    COMMITS, SEAL_DURATION, SEALED_EVENTS, SEALS,
};

/// The parts of a commit, in their order.
const PARTS: [&str; 5] = ["gather", "encode", "store", "sync", "publish"];

/// All of them, since the log was opened.
pub(crate) struct Commits {
    failures: AtomicU64,
    duration: Histogram,
    parts: [Histogram; PARTS.len()],
    appends: Histogram,
    events: Histogram,
    bytes: Histogram,
    sealed: AtomicU64,
    postponed: AtomicU64,
    left_alone: AtomicU64,
    sealed_events: AtomicU64,
    seal_duration: Histogram,
}

impl Commits {
    pub(super) fn new() -> Self {
        Self {
            failures: AtomicU64::new(0),
            duration: Histogram::of_durations(),
            parts: std::array::from_fn(|_| Histogram::of_durations()),
            appends: Histogram::of_sizes(),
            events: Histogram::of_sizes(),
            bytes: Histogram::of_sizes(),
            sealed: AtomicU64::new(0),
            postponed: AtomicU64::new(0),
            left_alone: AtomicU64::new(0),
            sealed_events: AtomicU64::new(0),
            seal_duration: Histogram::of_durations(),
        }
    }

    pub(super) fn tell(&self, page: &mut Page) {
        page.number(&COMMIT_FAILURES, &[], self.failures.load(Ordering::Relaxed));
        page.histogram(&COMMIT_DURATION, &[], &self.duration);
        for (part, duration) in PARTS.iter().zip(&self.parts) {
            page.histogram(&COMMIT_PART_DURATION, &[part], duration);
        }
        page.histogram(&COMMIT_APPENDS, &[], &self.appends);
        page.histogram(&COMMIT_EVENTS, &[], &self.events);
        page.histogram(&COMMIT_SIZE, &[], &self.bytes);
        let outcomes =
            [("sealed", &self.sealed), ("postponed", &self.postponed), ("left_alone", &self.left_alone)];
        for (outcome, count) in outcomes {
            page.number(&SEALS, &[outcome], count.load(Ordering::Relaxed));
        }
        page.number(&SEALED_EVENTS, &[], self.sealed_events.load(Ordering::Relaxed));
        page.histogram(&SEAL_DURATION, &[], &self.seal_duration);
    }

    /// The log counts its commits itself.
    pub(super) fn tell_commits(page: &mut Page, commits: u64) {
        page.number(&COMMITS, &[], commits);
    }
}

impl Observer for Commits {
    fn committed(&self, report: &CommitReport<'_>) {
        if report.error.is_some() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let parts = &report.parts;
        self.duration.took(parts.total());
        let durations = [parts.gather, parts.encode, parts.store, parts.sync, parts.publish];
        for (histogram, duration) in self.parts.iter().zip(durations) {
            histogram.took(duration);
        }
        self.appends.count(report.appends);
        self.events.count(report.block.len() as u64);
        self.bytes.count(report.stored_bytes);
    }

    fn sealed(&self, report: &SealReport<'_>) {
        let count = match report.outcome {
            SealOutcome::Sealed => {
                self.sealed_events.fetch_add(report.events, Ordering::Relaxed);
                self.seal_duration.took(report.took);
                &self.sealed
            }
            SealOutcome::Postponed(_) => &self.postponed,
            SealOutcome::LeftAlone(_) => &self.left_alone,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
