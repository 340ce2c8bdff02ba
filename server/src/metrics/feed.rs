//! The feed in the server's process: what it says of itself when somebody looks.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::histogram::Bucket;
use super::page::Page;
use super::{FEED_AGE, FEED_BUFFERED, FEED_LATE, FEED_LATENCY, FEED_LEFT_OUT, FEED_RECONNECTS, FEED_UPDATES};

/// The figures of a feed at one moment.
#[derive(Clone, Debug, Default)]
pub struct FeedFigures {
    /// Updates received.
    pub updates: u64,
    /// Those of them that the log had.
    pub known: u64,
    /// Those that made no sense.
    pub rejected: u64,
    /// Events that the log has refused.
    pub refused: u64,
    /// Events that gave way to newer ones.
    pub merged: u64,
    /// Those that came after newer ones of the same item.
    pub late: u64,
    /// Sessions begun after the first.
    pub reconnects: u64,
    /// Events between source and log.
    pub buffered: u64,
    /// The time of the newest update; none before the first.
    pub newest: Option<SystemTime>,
    /// How many updates took so long to the disk: classes by their bounds, the last without one.
    pub latencies: Vec<(Option<Duration>, u64)>,
    /// The sum of these times.
    pub latency_sum: Duration,
}

type Figures = Box<dyn Fn() -> FeedFigures + Send + Sync>;

/// The feed, once there is one.
#[derive(Default)]
pub(super) struct Feed(OnceLock<(&'static str, Figures)>);

impl Feed {
    pub(super) fn begin(
        &self,
        name: &'static str,
        figures: impl Fn() -> FeedFigures + Send + Sync + 'static,
    ) {
        // A second feed would be told of under another name only.
        let _ = self.0.set((name, Box::new(figures)));
    }

    /// Tells of it.
    pub(super) fn tell(&self, page: &mut Page) {
        let Some((name, figures)) = self.0.get() else { return };
        let figures = figures();
        page.number(&FEED_UPDATES, &[name], figures.updates);
        let left_out = [
            ("known", figures.known),
            ("rejected", figures.rejected),
            ("refused", figures.refused),
            ("merged", figures.merged),
        ];
        for (reason, count) in left_out {
            page.number(&FEED_LEFT_OUT, &[name, reason], count);
        }
        page.number(&FEED_LATE, &[name], figures.late);
        page.number(&FEED_RECONNECTS, &[name], figures.reconnects);
        page.number(&FEED_BUFFERED, &[name], figures.buffered);
        if let Some(newest) = figures.newest {
            // The source's clock may be ahead.
            let age = SystemTime::now().duration_since(newest).unwrap_or_default();
            page.value(&FEED_AGE, &[name], age.as_secs_f64());
        }
        let mut count = 0;
        let buckets: Vec<_> = figures
            .latencies
            .iter()
            .map(|(bound, class)| {
                count += class;
                Bucket { bound: bound.map(|bound| bound.as_secs_f64()), count }
            })
            .collect();
        page.buckets(&FEED_LATENCY, &[name], &buckets, figures.latency_sum.as_secs_f64());
    }
}
