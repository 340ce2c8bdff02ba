//! How the feed fares, in figures: counted without locks, read by whoever shows them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prost_types::Timestamp;
use tokio::time::Instant;

use crate::sync::lock;

/// The bounds of the latencies' classes.
pub const LATENCY_BOUNDS: [Duration; 12] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(300),
];

/// The figures of one feed.
#[derive(Debug, Default)]
pub struct Figures {
    updates: AtomicU64,
    known: AtomicU64,
    late: AtomicU64,
    rejected: AtomicU64,
    refused: AtomicU64,
    merged: AtomicU64,
    connections: AtomicU64,
    buffered: AtomicU64,
    newest_seconds: AtomicU64,
    latency: Latency,
}

/// What the figures were at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Updates received.
    pub updates: u64,
    /// Those of them that the log had already.
    pub known: u64,
    /// Those that came after newer ones of the same item; they are kept.
    pub late: u64,
    /// Those that made no sense.
    pub rejected: u64,
    /// Events that the log has refused.
    pub refused: u64,
    /// Events that gave way to newer ones of their signals because the log could not be reached.
    pub merged: u64,
    /// Sessions begun after the first.
    pub reconnects: u64,
    /// Events between session and log.
    pub buffered: u64,
    /// The time of the newest update, since 1970; 0 before the first.
    pub newest_seconds: u64,
    /// From an update's arrival to its event on disk, by class, and the sum; sampled.
    pub latencies: [u64; LATENCY_BOUNDS.len() + 1],
    /// The sum of these.
    pub latency_sum: Duration,
}

impl Figures {
    /// What they are now.
    pub fn snapshot(&self) -> Snapshot {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Snapshot {
            updates: of(&self.updates),
            known: of(&self.known),
            late: of(&self.late),
            rejected: of(&self.rejected),
            refused: of(&self.refused),
            merged: of(&self.merged),
            reconnects: of(&self.connections).saturating_sub(1),
            buffered: of(&self.buffered),
            newest_seconds: of(&self.newest_seconds),
            latencies: std::array::from_fn(|class| of(&self.latency.classes[class])),
            latency_sum: Duration::from_nanos(of(&self.latency.sum_nanos)),
        }
    }

    pub(super) fn updated(&self) {
        add(&self.updates, 1);
    }

    pub(super) fn known(&self) {
        add(&self.known, 1);
    }

    pub(super) fn came_late(&self) {
        add(&self.late, 1);
    }

    pub(super) fn rejected(&self) {
        add(&self.rejected, 1);
    }

    pub(super) fn refused(&self, count: u64) {
        add(&self.refused, count);
    }

    pub(super) fn merged(&self, count: u64) {
        add(&self.merged, count);
    }

    pub(super) fn connected(&self) {
        add(&self.connections, 1);
    }

    pub(super) fn buffered(&self, count: usize) {
        self.buffered.store(count as u64, Ordering::Relaxed);
    }

    pub(super) fn newest(&self, time: Option<Timestamp>) {
        let seconds = time.map_or(0, |time| u64::try_from(time.seconds).unwrap_or_default());
        self.newest_seconds.fetch_max(seconds, Ordering::Relaxed);
    }

    /// An event that came at some moment has been handed over, as the so-and-so-many-th.
    pub(super) fn handed_over(&self, number: u64, since: Instant) {
        let mut sample = lock(&self.latency.sample);
        if sample.is_none() {
            *sample = Some((number, since));
        }
    }

    /// So many of those handed over are settled.
    pub(super) fn settled(&self, count: u64, now: Instant) {
        let mut sample = lock(&self.latency.sample);
        if let Some((number, since)) = *sample
            && number <= count
        {
            *sample = None;
            self.latency.count(now.saturating_duration_since(since));
        }
    }

    /// Another appender begins to count.
    pub(super) fn begin(&self) {
        *lock(&self.latency.sample) = None;
    }
}

fn add(figure: &AtomicU64, count: u64) {
    figure.fetch_add(count, Ordering::Relaxed);
}

/// One event at a time is followed to the disk: enough to know, and nothing is kept for each.
#[derive(Debug, Default)]
struct Latency {
    sample: Mutex<Option<(u64, Instant)>>,
    classes: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Latency {
    fn count(&self, latency: Duration) {
        let class = LATENCY_BOUNDS.partition_point(|bound| *bound < latency);
        add(&self.classes[class], 1);
        add(&self.sum_nanos, u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl std::fmt::Display for Snapshot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { updates, known, late, rejected, refused, merged, reconnects, buffered, .. } = self;
        write!(
            out,
            "{updates} updates, {known} of them known, {late} late, {rejected} rejected; {refused} events refused by the log, \
             {merged} merged, {buffered} waiting, {reconnects} reconnects"
        )?;
        let samples = self.latencies.iter().sum::<u64>();
        if let Some(mean) = self.latency_sum.as_micros().checked_div(u128::from(samples)) {
            write!(out, "; {} ms to disk", mean as f64 / 1000.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_ends_when_the_event_is_on_disk() {
        let (figures, begin) = (Figures::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        figures.handed_over(5, begin);
        figures.handed_over(6, at(40));
        figures.settled(4, at(40));
        assert_eq!(figures.snapshot().latencies.iter().sum::<u64>(), 0);
        figures.settled(9, at(40));
        figures.settled(10, at(50));
        let snapshot = figures.snapshot();
        assert_eq!((snapshot.latencies[5], snapshot.latency_sum), (1, Duration::from_millis(40)));
        assert!(snapshot.to_string().ends_with("; 40 ms to disk"), "{snapshot}");
    }
}
