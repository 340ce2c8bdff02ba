//! What readers ask the log: pieces, moments, aggregates, and what is known of the signals.

use std::sync::{Arc, PoisonError, RwLockReadGuard};

use super::Log;
use crate::aggregate::{self, AggregateQuery, Aggregation};
use crate::block::Block;
use crate::error::Error;
use crate::event::{Offset, SignalId, Timestamp};
use crate::ingest_time;
use crate::projection::{Latest, Projection, SignalInfo};
use crate::read::{self, Chunk, Seek};

impl Log {
    /// A block that contains `from`, if it is among the newest. Never blocks.
    #[must_use]
    pub fn read_cached(&self, from: Offset) -> Option<Arc<Block>> {
        self.inner.shared.cached(from)
    }

    /// The piece of the log at `from`; with `signals`, the next piece that may matter to who wants only those.
    /// Blocks on the disk.
    pub fn read(&self, from: Offset, signals: Option<&[SignalId]>) -> Result<Chunk, Error> {
        read::read(&self.inner.shared, from, signals)
    }

    /// The piece of the log that ends at `before`, which must lie above the oldest offset; with `signals`, the last
    /// piece before it that may matter to who wants only those. Blocks on the disk.
    pub fn read_back(&self, before: Offset, signals: Option<&[SignalId]>) -> Result<Chunk, Error> {
        read::read_back(&self.inner.shared, before, signals)
    }

    /// The earliest and the latest event time; `None` where there is nothing to read. Blocks on the disk.
    pub fn event_times(&self) -> Result<Option<(Timestamp, Timestamp)>, Error> {
        aggregate::event_times(&self.inner.shared)
    }

    /// Begins an aggregate.
    #[must_use]
    pub fn aggregate(&self, query: AggregateQuery) -> Aggregation {
        Aggregation::new(self.inner.shared.clone(), query)
    }

    /// The offset of a moment. Blocks on the disk.
    pub fn seek(&self, to: Seek) -> Result<Offset, Error> {
        read::seek(&self.inner.shared, to)
    }

    /// Ingest time of the first event at or after `from`; `None` at the head. Where that event is damaged, the
    /// time at which its block begins. Blocks on the disk.
    pub fn ingest_time(&self, from: Offset) -> Result<Option<Timestamp>, Error> {
        ingest_time::ingest_time(&self.inner.shared, from)
    }

    /// The numbers of the known signals whose names match.
    #[must_use]
    pub fn match_signals(&self, matches: impl Fn(&str) -> bool) -> Vec<SignalId> {
        let names = self.projection().names("", None);
        names.into_iter().filter(|(name, _)| matches(name)).map(|(_, id)| id).collect()
    }

    /// Everything known of the signals whose names match and come after `after`, by name; at most so many.
    #[must_use]
    pub fn signals(
        &self,
        after: Option<&str>,
        signals_max: usize,
        matches: impl Fn(&str) -> bool,
    ) -> Vec<SignalInfo> {
        self.signals_under("", after, signals_max, matches)
    }

    /// The same of the signals whose names begin with `prefix`: the others cost nothing.
    #[must_use]
    pub fn signals_under(
        &self,
        prefix: &str,
        after: Option<&str>,
        signals_max: usize,
        matches: impl Fn(&str) -> bool,
    ) -> Vec<SignalInfo> {
        // Matching may take long: the writer must not wait for it.
        let names = self.projection().names(prefix, after);
        let wanted: Vec<_> =
            names.into_iter().filter(|(name, _)| matches(name)).take(signals_max).map(|(_, id)| id).collect();
        wanted.into_iter().filter_map(|id| self.projection().by_id(id).cloned()).collect()
    }

    /// Offset and ingest time of the newest event that is not the system's own.
    #[must_use]
    pub fn newest_telemetry(&self) -> Option<(Offset, Timestamp)> {
        self.projection().newest_telemetry()
    }

    /// Whether a signal of this name has had an event.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.projection().get(name).is_some()
    }

    /// The newest event of a signal, by offset.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<Latest> {
        self.with_latest(name, Latest::clone)
    }

    /// What `read` makes of the newest event of a signal. It must be quick: the writer waits for it.
    #[must_use]
    pub fn with_latest<T>(&self, name: &str, read: impl FnOnce(&Latest) -> T) -> Option<T> {
        self.projection().get(name).map(|info| read(&info.latest))
    }

    fn projection(&self) -> RwLockReadGuard<'_, Projection> {
        self.inner.shared.projection.read().unwrap_or_else(PoisonError::into_inner)
    }
}
