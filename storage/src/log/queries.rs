//! What readers ask the log: pieces, moments, aggregates, and what is known of the signals.

use std::sync::{Arc, PoisonError, RwLockReadGuard};

use super::Log;
use crate::aggregate::{self, AggregateQuery, Aggregation};
use crate::block::Block;
use crate::error::Error;
use crate::event::{Offset, SignalId, Timestamp};
use crate::ingest_time;
use crate::projection::newest::{Newest, Place};
use crate::projection::{Known, Latest, Projection, SignalInfo};
use crate::read::{self, Chunk, Seek};
use crate::verify::Verification;

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

    /// Begins to verify the offsets from `first` on, below `end`.
    ///
    /// # Errors
    /// If they are not all there, or were never.
    pub fn verify(&self, first: Offset, end: Offset) -> Result<Verification, Error> {
        Verification::new(self.inner.shared.clone(), first, end)
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
        self.names().filter(|(name, _)| matches(name)).map(|(_, id)| id).collect()
    }

    /// The known signals, by name.
    pub fn names(&self) -> impl Iterator<Item = (Arc<str>, SignalId)> + use<> {
        self.projection().names("", None).into_iter()
    }

    /// The names of the known signals that begin with `prefix` and come after `after`, in order.
    pub fn names_under(&self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = Arc<str>> + use<> {
        self.projection().names(prefix, after).into_iter().map(|(name, _)| name)
    }

    /// Everything known of the signals whose names match and come after `after`, by name. Each is looked up when it is
    /// its turn, which blocks on the disk unless [`Self::newest_are_in_memory`].
    pub fn signals<M: Fn(&str) -> bool>(
        &self,
        after: Option<&str>,
        matches: M,
    ) -> impl Iterator<Item = Result<SignalInfo, Error>> + use<'_, M> {
        self.signals_under("", after, matches)
    }

    /// The same of the signals whose names begin with `prefix`: the others cost nothing.
    pub fn signals_under<M: Fn(&str) -> bool>(
        &self,
        prefix: &str,
        after: Option<&str>,
        matches: M,
    ) -> impl Iterator<Item = Result<SignalInfo, Error>> + use<'_, M> {
        // Matching may take long: the writer must not wait for it.
        let names = self.projection().names(prefix, after);
        names.into_iter().filter(move |(name, _)| matches(name)).filter_map(|(_, id)| {
            let known = self.projection().by_id(id).cloned()?;
            Some(self.whole(known))
        })
    }

    /// Whether every newest event is in memory. Otherwise what asks for newest events may block on the disk.
    #[must_use]
    pub fn newest_are_in_memory(&self) -> bool {
        self.projection().is_in_memory()
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

    /// Everything known of a signal; `None` if it has had no event. Blocks on the disk unless
    /// [`Self::newest_are_in_memory`].
    pub fn signal(&self, name: &str) -> Result<Option<SignalInfo>, Error> {
        let known = self.projection().get(name).cloned();
        known.map(|known| self.whole(known)).transpose()
    }

    /// What `read` makes of the newest event of a signal; `None` if there is none, or if it is damaged. It must be quick:
    /// the writer waits for it. Blocks on the disk where the event is not in memory.
    pub fn with_latest<T>(&self, name: &str, read: impl FnOnce(&Latest) -> T) -> Result<Option<T>, Error> {
        let place = match self.projection().get(name) {
            None => return Ok(None),
            Some(Known { newest: Newest::Whole(latest), .. }) => return Ok(Some(read(latest))),
            Some(Known { newest: Newest::Placed(place), .. }) => place.clone(),
        };
        Ok(self.read_newest(&place)?.map(|latest| read(&latest)))
    }

    /// All of what is known, from the log where it is not in memory.
    fn whole(&self, known: Known) -> Result<SignalInfo, Error> {
        let latest = match known.newest {
            Newest::Whole(latest) => Some(latest),
            Newest::Placed(place) => self.read_newest(&place)?,
        };
        Ok(SignalInfo { id: known.id, name: known.name, events: known.events, latest })
    }

    fn read_newest(&self, place: &Place) -> Result<Option<Latest>, Error> {
        let block = match self.read(place.offset, None)? {
            Chunk::Block(block) => block,
            Chunk::Gap { .. } | Chunk::Skipped { .. } | Chunk::Head => return Ok(None),
        };
        let row = usize::try_from(place.offset.since(block.first_offset())).unwrap_or(usize::MAX);
        let event = block.event(row);
        Ok(Some(Latest {
            event: event.to_event(),
            offset: event.offset,
            ingest_time: event.ingest_time,
            signal_id: event.signal_id,
            unchanged_since: place.unchanged_since,
        }))
    }

    fn projection(&self) -> RwLockReadGuard<'_, Projection> {
        self.inner.shared.projection.read().unwrap_or_else(PoisonError::into_inner)
    }
}
