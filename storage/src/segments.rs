//! The row of segments that makes up the log: the newest, open for writing, and older ones, opened when asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use uuid::Uuid;

use crate::copy::Beginning;
use crate::engine::{Engine, Profile};
use crate::error::Error;
use crate::event::{Offset, Timestamp};
use crate::facts::{FactBook, Facts};
use crate::index::SegmentIndex;
use crate::keys::{self, Form};
use crate::segment::Segment;

/// All segments, oldest first; the last one is the newest.
pub(crate) struct Segments {
    pub(crate) engine: Arc<dyn Engine>,
    log_id: Uuid,
    log_first: Offset,
    row: RwLock<Vec<Entry>>,
    newest: RwLock<Option<Arc<Segment>>>,
    opened: Mutex<Opened>,
    /// Held while a segment is opened or replaced: those who need none but open ones are not kept waiting, the
    /// writer among them. Taken before `opened`.
    opening: Mutex<()>,
    facts: FactBook,
}

/// One place in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) first: Offset,
    pub(crate) form: Form,
}

/// Older segments that are open, most recently used last.
struct Opened {
    segments_max: usize,
    kept: Vec<Arc<Segment>>,
    /// Too many to keep, but still in a reader's hands: a store cannot be opened twice. Never let go of by a
    /// reader, who would be closing the store while another opens it.
    lent: Vec<Arc<Segment>>,
}

impl Entry {
    pub(crate) fn is_sealed(self) -> bool {
        self.form == Form::Sealed
    }
}

impl Segments {
    /// A row whose last entry is the newest; `newest` is that segment, unless it could not be opened.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        Beginning { log_id, first: log_first }: Beginning,
        row: Vec<Entry>,
        newest: Option<Arc<Segment>>,
        segments_max: usize,
        facts: FactBook,
    ) -> Self {
        let opened = Opened { segments_max, kept: Vec::new(), lent: Vec::new() };
        Self {
            engine,
            log_id,
            log_first,
            row: RwLock::new(row),
            newest: RwLock::new(newest),
            opened: Mutex::new(opened),
            opening: Mutex::default(),
            facts,
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.row.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The oldest offset kept: where the log begins, as every segment says. Nothing removes segments yet, so one that is
    /// missing is damage. Whatever will remove them has to record, durably and before it does, where the log begins from
    /// then on.
    pub(crate) const fn oldest(&self) -> Offset {
        self.log_first
    }

    /// Where the first segment after `offset` begins.
    pub(crate) fn next_after(&self, offset: Offset) -> Option<Offset> {
        let row = self.row.read().unwrap_or_else(PoisonError::into_inner);
        row.get(row.partition_point(|entry| entry.first <= offset)).map(|entry| entry.first)
    }

    /// The segment that is written to; `None` when it could not be opened.
    pub(crate) fn newest(&self) -> Option<Arc<Segment>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new newest segment behind the others. The one before stays open for the readers at the tail.
    pub(crate) fn push_newest(&self, segment: Arc<Segment>) {
        let entry = Entry { first: segment.header.first, form: Form::Raw };
        let mut opened = self.opened();
        let before = self.newest.write().unwrap_or_else(PoisonError::into_inner).replace(segment);
        if let Some(before) = before {
            opened.keep(before);
        }
        self.row.write().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// The entry that `offset` falls into, and where it ends (`None`: it is the newest).
    pub(crate) fn locate(&self, offset: Offset) -> Option<(Entry, Option<Offset>)> {
        let row = self.row.read().unwrap_or_else(PoisonError::into_inner);
        let position = row.partition_point(|entry| entry.first <= offset).checked_sub(1)?;
        Some((row[position], row.get(position + 1).map(|next| next.first)))
    }

    /// The open segment at `entry`. A damaged one is an error each time.
    pub(crate) fn open(&self, entry: Entry) -> Result<Arc<Segment>, Error> {
        if let Some(newest) = self.newest().filter(|newest| newest.header.first == entry.first) {
            return Ok(newest);
        }
        if let Some(segment) = self.opened().find(entry.first) {
            return Ok(segment);
        }
        let _opening = self.opening();
        if let Some(segment) = self.opened().find(entry.first) {
            return Ok(segment);
        }
        // The sealer may have replaced it since `entry` was read.
        let Some((entry, _)) = self.locate(entry.first) else {
            return Err(Error::Damaged(format!("segment {} is gone", entry.first)));
        };
        let segment = Segment::open(self.engine.as_ref(), entry.first, entry.form, Profile::Sealed)?;
        if segment.header.log_id != self.log_id {
            return Err(Error::Damaged(format!("segment {} belongs to another log", entry.first)));
        }
        let segment = Arc::new(segment);
        self.opened().keep(segment.clone());
        Ok(segment)
    }

    /// The sealed form has taken the place of the raw one on disk. Gives back the raw one, if it is open.
    pub(crate) fn sealed(&self, first: Offset, index: &SegmentIndex) -> Option<Arc<Segment>> {
        self.facts.put(first, Facts::of(index));
        let _opening = self.opening();
        let mut opened = self.opened();
        let mut row = self.row.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = row.iter_mut().find(|entry| entry.first == first) {
            entry.form = Form::Sealed;
        }
        opened.take(first)
    }

    /// Bytes of the stored blocks and bytes on disk, as far as both can be told.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let derived = [keys::DERIVED, keys::ROLLUPS].map(|name| self.engine.bytes_on_disk(name).unwrap_or(0));
        let (mut payload, mut disk) = (0, derived.iter().sum());
        for entry in self.entries() {
            disk += self.engine.bytes_on_disk(&keys::segment(entry.first, entry.form)).unwrap_or(0);
            payload += self.facts(entry).map_or(0, |facts| facts.payload_bytes);
        }
        (payload, disk)
    }

    /// What is known of a segment. A sealed one is opened for it once in the life of the log, at the most.
    pub(crate) fn facts(&self, entry: Entry) -> Option<Facts> {
        if let Some(facts) = self.facts.get(entry.first).filter(|_| entry.is_sealed()) {
            return Some(facts);
        }
        let segment = self.open(entry).ok()?;
        let facts = Facts::of(&segment.index());
        // The sealer may have been faster.
        if segment.form == Form::Sealed {
            self.facts.put(entry.first, facts);
        }
        Some(facts)
    }

    /// Ingest time of the oldest event that can be read.
    pub(crate) fn ingest_time_first(&self) -> Option<Timestamp> {
        Some(self.facts(self.entries().first().copied()?)?.times?.ingest_first)
    }

    fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    /// The segment that begins at `first`, if it is open; now the most recently used.
    fn find(&mut self, first: Offset) -> Option<Arc<Segment>> {
        let segment = self.take(first)?;
        self.keep(segment.clone());
        Some(segment)
    }

    /// The segment that begins at `first`, if it is open anywhere; no longer kept here.
    fn take(&mut self, first: Offset) -> Option<Arc<Segment>> {
        for segments in [&mut self.kept, &mut self.lent] {
            if let Some(position) = segments.iter().position(|segment| segment.header.first == first) {
                return Some(segments.remove(position));
            }
        }
        None
    }

    fn keep(&mut self, segment: Arc<Segment>) {
        self.kept.push(segment);
        if self.kept.len() > self.segments_max {
            self.lent.push(self.kept.remove(0));
        }
        self.lent.retain(|lent| Arc::strong_count(lent) > 1);
    }
}
