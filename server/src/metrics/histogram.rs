//! Counts by size, without a lock: many threads count at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NANOS: f64 = 1e9;

/// From 10 µs to half a minute.
const DURATIONS: &[u64] = &[
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// From one of a thing to more than any bound allows.
const SIZES: &[u64] = &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304];

/// How many values there were up to each bound.
pub(super) struct Histogram {
    bounds: &'static [u64],
    /// What a unit is of what is counted.
    per_unit: f64,
    /// One for each bound, and one for what is above all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A bucket of it: the bound, and how many values there were up to it.
pub(super) struct Bucket {
    /// `None`: all of them.
    pub(super) bound: Option<f64>,
    /// How many.
    pub(super) count: u64,
}

impl Histogram {
    /// Of durations.
    pub(super) fn of_durations() -> Self {
        Self::new(DURATIONS, NANOS)
    }

    /// Of numbers of things.
    pub(super) fn of_sizes() -> Self {
        Self::new(SIZES, 1.0)
    }

    fn new(bounds: &'static [u64], per_unit: f64) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, per_unit, buckets, sum: AtomicU64::new(0) }
    }

    /// Counts a duration.
    pub(super) fn took(&self, duration: Duration) {
        self.count(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a value.
    pub(super) fn count(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The buckets, the last one of which has all, and the sum of the values.
    pub(super) fn read(&self) -> (Vec<Bucket>, f64) {
        let mut count = 0;
        let bounds = self.bounds.iter().map(|bound| Some(*bound as f64 / self.per_unit)).chain([None]);
        let buckets = bounds
            .zip(&self.buckets)
            .map(|(bound, bucket)| {
                count += bucket.load(Ordering::Relaxed);
                Bucket { bound, count }
            })
            .collect();
        (buckets, self.sum.load(Ordering::Relaxed) as f64 / self.per_unit)
    }
}
