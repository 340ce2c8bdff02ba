//! Events on their way into the log, as columns: names once in a table, values side by side.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::block::{BLOCK_BYTES_MAX, Columns};
use crate::error::Error;
use crate::event::{Event, Quality, SignalId, Timestamp, ValueRef};

/// The most bytes of text, and of other bytes, that one batch may hold: with the batches that share its commit it
/// must fit into a block.
pub const BATCH_BYTES_MAX: usize = BLOCK_BYTES_MAX / 4;

/// Events in the order in which they are to be appended. They get their offsets and ingest times from the log, unless
/// they are [`crate::Copied`] from it.
#[derive(Clone, Default)]
pub struct Batch {
    signals: NameTable,
    sources: NameTable,
    /// With ingest times only if they are copies. Its `sources` are those of the table.
    columns: Columns,
    /// The numbers of the signals of copies.
    signal_ids: Vec<SignalId>,
}

/// A signal's place in the table of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalIndex(u32);

/// A source's place in the table of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceIndex(u32);

/// An event on its way into a [`Batch`], which has its names already.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// From [`Batch::signal`].
    pub signal: SignalIndex,
    /// When the source says it happened.
    pub event_time: Timestamp,
    /// What it says.
    pub value: ValueRef<'a>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// From [`Batch::source`].
    pub source: SourceIndex,
    /// Sparse extras, never indexed.
    pub attributes: BTreeMap<String, String>,
    /// The trace context of the append, as bytes; may be empty.
    pub trace_context: &'a [u8],
}

impl Batch {
    /// How many bytes of memory an event takes at most, beside its names, text, bytes, attributes and trace context.
    pub const EVENT_BYTES: usize = 128;

    /// An empty batch with room for so many events.
    #[must_use]
    pub fn with_capacity(events: usize) -> Self {
        Self { columns: Columns::with_capacity(events), ..Self::default() }
    }

    /// The place of a signal's name. A name that no event uses is as good as absent.
    pub fn signal(&mut self, name: &str) -> SignalIndex {
        SignalIndex(self.signals.index(name))
    }

    /// The place of a source, which may be empty. One that no event uses is as good as absent.
    pub fn source(&mut self, name: &str) -> SourceIndex {
        SourceIndex(self.sources.index(name))
    }

    /// The place of a signal's name, if the batch has it.
    #[must_use]
    pub fn find_signal(&self, name: &str) -> Option<SignalIndex> {
        self.signals.find(name).map(SignalIndex)
    }

    /// Adds an event.
    ///
    /// # Panics
    /// If its indexes come from another batch, or if the batch then held more than [`BATCH_BYTES_MAX`] of text or
    /// of bytes.
    #[inline]
    pub fn push(&mut self, row: Row<'_>) {
        assert!((row.signal.0 as usize) < self.signals.names.len(), "the signal is of another batch");
        assert!((row.source.0 as usize) < self.sources.names.len(), "the source is of another batch");
        let columns = &mut self.columns;
        let number = columns.signal.len() as u32;
        columns.signal.push(row.signal.0);
        columns.event_time.push(row.event_time);
        let (kind, bits) = columns.take_value(row.value);
        columns.kind.push(kind);
        columns.bits.push(bits);
        columns.quality.push(number, row.quality);
        columns.source.push(number, row.source.0);
        columns.push_trace(number, row.trace_context);
        if !row.attributes.is_empty() {
            columns.attributes.push((number, row.attributes));
        }
        let blobs = columns.text.len().max(columns.bytes.len());
        assert!(blobs <= BATCH_BYTES_MAX, "a batch holds at most {BATCH_BYTES_MAX} bytes of either kind");
    }

    /// The place of the signal of a copy, which brings its number.
    pub(crate) fn numbered_signal(&mut self, name: &str, id: SignalId) -> Result<SignalIndex, Error> {
        let signal = self.signal(name);
        match self.signal_ids.get(signal.0 as usize) {
            Some(known) if *known != id => {
                Err(Error::NotACopy(format!("signal {name:?} has the numbers {} and {}", known.0, id.0)))
            }
            Some(_) => Ok(signal),
            None => {
                self.signal_ids.push(id);
                Ok(signal)
            }
        }
    }

    /// Adds a copy, which brings its ingest time.
    #[inline]
    pub(crate) fn push_ingested(&mut self, row: Row<'_>, ingest_time: Timestamp) {
        self.columns.ingest_time.push(self.len() as u32, ingest_time);
        self.push(row);
    }

    /// Whether its events are copies.
    pub(crate) fn is_copied(&self) -> bool {
        self.last_ingest_time().is_some()
    }

    /// When the first of the copies came in; `None` if they are none.
    pub(crate) fn first_ingest_time(&self) -> Option<Timestamp> {
        self.columns.ingest_time.runs().next().map(|(_, time)| time)
    }

    /// When the last of them did.
    pub(crate) fn last_ingest_time(&self) -> Option<Timestamp> {
        self.columns.ingest_time.last()
    }

    /// The names and numbers of the signals of copies.
    pub(crate) fn numbered_signals(&self) -> impl Iterator<Item = (&Arc<str>, SignalId)> {
        self.signals.names.iter().zip(self.signal_ids.iter().copied())
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.signal.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.signal.is_empty()
    }

    /// Its events, one by one.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        let columns = &self.columns;
        let tabled = columns.source.rows().zip(columns.trace.rows());
        let rows = (0..self.len()).zip(columns.quality.rows().zip(tabled));
        rows.map(|(row, (quality, (source, trace)))| Event {
            signal: self.signals.names[columns.signal[row] as usize].to_string(),
            event_time: columns.event_time[row],
            value: columns.value(row).to_value(),
            quality,
            source: self.sources.names[source as usize].to_string(),
            attributes: columns.attributes_of(row).cloned().unwrap_or_default(),
            trace_context: columns.traces[trace as usize].to_vec(),
        })
    }

    /// The names of the signals, some of which may have no event.
    pub(crate) fn signals(&self) -> &[Arc<str>] {
        &self.signals.names
    }

    /// The names of the signals that have an event.
    pub(crate) fn used_signals(&self) -> impl Iterator<Item = &str> {
        let mut used = vec![false; self.signals.names.len()];
        self.columns.signal.iter().for_each(|&signal| used[signal as usize] = true);
        self.signals.names.iter().zip(used).filter_map(|(name, used)| used.then_some(&**name))
    }

    /// The names of the signals, and the rows.
    pub(crate) fn into_columns(mut self) -> (Vec<Arc<str>>, Columns) {
        self.columns.sources = self.sources.names;
        (self.signals.names, self.columns)
    }
}

impl FromIterator<Event> for Batch {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        let events = events.into_iter();
        let mut batch = Self::with_capacity(events.size_hint().0);
        for event in events {
            let (signal, source) = (batch.signal(&event.signal), batch.source(&event.source));
            batch.push(Row {
                signal,
                event_time: event.event_time,
                value: event.value.as_ref(),
                quality: event.quality,
                source,
                attributes: event.attributes,
                trace_context: &event.trace_context,
            });
        }
        batch
    }
}

impl From<Vec<Event>> for Batch {
    fn from(events: Vec<Event>) -> Self {
        events.into_iter().collect()
    }
}

/// Equal batches have equal events; their tables may differ.
impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.events().eq(other.events())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.events()).finish()
    }
}

/// Names, each once, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameTable {
    pub(crate) names: Vec<Arc<str>>,
    indexes: HashMap<Arc<str>, u32>,
}

impl NameTable {
    /// The index of a name, if it is there.
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        match self.names.last() {
            // Most often it is the only one.
            Some(last) if **last == *name => Some(self.names.len() as u32 - 1),
            Some(_) => self.indexes.get(name).copied(),
            None => None,
        }
    }

    /// The index of a name, which is added if it is new.
    #[inline]
    pub(crate) fn index(&mut self, name: &str) -> u32 {
        if let Some(index) = self.find(name) {
            return index;
        }
        let (index, name) = (self.names.len() as u32, Arc::<str>::from(name));
        self.names.push(name.clone());
        self.indexes.insert(name, index);
        index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::tests::any_commits;
    use crate::event::Value;

    proptest! {
        #[test]
        fn a_batch_holds_what_was_pushed(commits in any_commits()) {
            for events in commits {
                let batch: Batch = events.iter().cloned().collect();
                prop_assert_eq!(batch.len(), events.len());
                prop_assert!(batch.events().eq(events));
            }
        }
    }

    #[test]
    fn names_that_no_event_uses_are_as_good_as_absent() {
        let row = |signal, source| Row {
            signal,
            event_time: Timestamp::EPOCH,
            value: ValueRef::Int(1),
            quality: Quality::Good,
            source,
            attributes: BTreeMap::new(),
            trace_context: &[],
        };
        let mut batch = Batch::default();
        batch.signal("unused");
        batch.source("unused");
        let (signal, source) = (batch.signal("a"), batch.source(""));
        batch.push(row(signal, source));
        let mut plain = Batch::default();
        let (signal, source) = (plain.signal("a"), plain.source(""));
        plain.push(row(signal, source));
        assert_eq!(batch, plain);
        assert_eq!(batch.used_signals().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_value_of_the_same_bits_is_the_same() {
        let event = |bits| Event {
            signal: "a".to_owned(),
            event_time: Timestamp::MAX,
            value: Value::Double(f64::from_bits(bits)),
            quality: Quality::Bad,
            source: String::new(),
            attributes: BTreeMap::new(),
            trace_context: Vec::new(),
        };
        let nan = 0x7ff0_0000_0000_0001;
        assert_eq!(Batch::from(vec![event(nan)]), Batch::from(vec![event(nan)]));
        assert_ne!(Batch::from(vec![event(nan)]), Batch::from(vec![event(nan + 1)]));
    }
}
