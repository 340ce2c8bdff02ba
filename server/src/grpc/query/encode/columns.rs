//! Events as packed arrays.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use downlink_proto::v1::{EventColumns, event_columns::Extras};
use downlink_storage::{EventRef, Offset, Quality, SignalMap, Timestamp, ValueRef};

use crate::grpc::convert::kind;
use crate::grpc::convert::wire_quality;

/// Packed arrays in the making. Arrays that may be empty when all have the usual element stay so until one has another.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    columns: EventColumns,
    signals: SignalMap<u32>,
    sources: Sources,
    trace_contexts: Table<Vec<u8>>,
    previous: Option<(Offset, Timestamp, Timestamp)>,
}

impl Columns {
    /// Without events, but with room for so many.
    pub(super) fn with_capacity(events: usize) -> Self {
        let columns = EventColumns {
            signal_indexes: Vec::with_capacity(events),
            event_time_second_deltas: Vec::with_capacity(events),
            event_time_nanos: Vec::with_capacity(events),
            ingest_time_second_deltas: Vec::with_capacity(events),
            ingest_time_nanos: Vec::with_capacity(events),
            double_values: Vec::with_capacity(events),
            ..EventColumns::default()
        };
        Self { columns, ..Self::default() }
    }

    /// Adds an event.
    #[inline]
    pub(super) fn push(&mut self, event: &EventRef<'_>) {
        let row = self.columns.signal_indexes.len();
        self.push_names(row, event);
        let columns = &mut self.columns;
        let (offset, event_time, ingest_time) = self.previous.unwrap_or_else(|| {
            columns.first_offset = event.offset.get();
            (event.offset, Timestamp::EPOCH, Timestamp::EPOCH)
        });
        let skip = event.offset.get().abs_diff(offset.get()).saturating_sub(1);
        columns.descending = event.offset < offset;
        push_unless_usual(&mut columns.offset_skips, row, 0, skip);
        let delta = |time: Timestamp, before: Timestamp| time.seconds().wrapping_sub(before.seconds());
        columns.event_time_second_deltas.push(delta(event.event_time, event_time));
        push_unless_usual(&mut columns.event_time_nanos, row, 0, event.event_time.nanos());
        columns.ingest_time_second_deltas.push(delta(event.ingest_time, ingest_time));
        push_unless_usual(&mut columns.ingest_time_nanos, row, 0, event.ingest_time.nanos());
        self.previous = Some((event.offset, event.event_time, event.ingest_time));
        let good = wire_quality(Quality::Good).into();
        push_unless_usual(&mut columns.qualities, row, good, wire_quality(event.quality).into());
        let kind = push_value(columns, event.value);
        push_unless_usual(&mut columns.kinds, row, kind::DOUBLE, kind);
        if let Some(attributes) = event.attributes {
            columns.extras.push(Extras { index: row as u32, attributes: attributes.clone() });
        }
    }

    #[inline]
    fn push_names(&mut self, row: usize, event: &EventRef<'_>) {
        let Self { columns, signals, sources, trace_contexts, .. } = self;
        let signal = *signals.entry(event.signal_id).or_insert_with(|| {
            columns.signals.push(String::from(&**event.signal));
            columns.signal_ids.push(event.signal_id.0);
            columns.signals.len() as u32 - 1
        });
        columns.signal_indexes.push(signal);
        let source = sources.place(&mut columns.sources, event.source);
        push_unless_usual(&mut columns.source_indexes, row, 0, source);
        // Most logs have none at all.
        let is_usual = event.trace_context.is_empty() && columns.trace_contexts.len() < 2;
        if !is_usual || columns.trace_contexts.first().is_none_or(|first| !first.is_empty()) {
            let trace_context = trace_contexts.place(&mut columns.trace_contexts, event.trace_context);
            push_unless_usual(&mut columns.trace_context_indexes, row, 0, trace_context);
        }
    }

    /// How many events there are.
    pub(super) const fn len(&self) -> usize {
        self.columns.signal_indexes.len()
    }

    /// The offset of the last of them.
    pub(super) fn last_offset(&self) -> Option<Offset> {
        self.previous.map(|(offset, ..)| offset)
    }

    /// The arrays.
    pub(super) fn finish(self) -> EventColumns {
        let mut columns = self.columns;
        if matches!(columns.sources.as_slice(), [only] if only.is_empty()) {
            columns.sources.clear();
        }
        if matches!(columns.trace_contexts.as_slice(), [only] if only.is_empty()) {
            columns.trace_contexts.clear();
        }
        columns
    }
}

/// Where sources are in their table. Neighbours of one block share their source, which is then not read.
#[derive(Debug, Default)]
struct Sources {
    table: Table<String>,
    last: Option<Arc<str>>,
}

impl Sources {
    /// The place of a source, which is added if it is new.
    #[inline]
    fn place(&mut self, entries: &mut Vec<String>, source: &Arc<str>) -> u32 {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, source)) {
            return self.table.last;
        }
        self.last = Some(source.clone());
        self.table.place(entries, &**source)
    }
}

/// Where the entries of a table are that seldom change from event to event.
#[derive(Debug, Default)]
struct Table<T> {
    places: HashMap<T, u32>,
    last: u32,
}

impl<T: Hash + Eq> Table<T> {
    /// The place of an entry, which is added if it is new.
    #[inline]
    fn place<Q>(&mut self, entries: &mut Vec<T>, entry: &Q) -> u32
    where
        T: Borrow<Q>,
        Q: ToOwned<Owned = T> + Hash + Eq + ?Sized,
    {
        if entries.get(self.last as usize).is_none_or(|last| last.borrow() != entry) {
            let known = self.places.get(entry).copied();
            self.last = known.unwrap_or_else(|| {
                let place = entries.len() as u32;
                entries.push(entry.to_owned());
                self.places.insert(entry.to_owned(), place);
                place
            });
        }
        self.last
    }
}

/// Adds the element of the event in `row` to an array that is empty as long as all have the usual one.
#[inline]
fn push_unless_usual<T: Copy + PartialEq>(array: &mut Vec<T>, row: usize, usual: T, element: T) {
    if element != usual && array.is_empty() {
        array.resize(row, usual);
    } else if array.is_empty() {
        return;
    }
    array.push(element);
}

/// Adds a value to the array of its kind; gives the kind.
#[inline]
fn push_value(columns: &mut EventColumns, value: ValueRef<'_>) -> u32 {
    match value {
        ValueRef::Double(value) => {
            columns.double_values.push(value);
            kind::DOUBLE
        }
        ValueRef::Int(value) => {
            columns.int_values.push(value);
            kind::INT
        }
        ValueRef::Bool(value) => {
            columns.bool_values.push(value);
            kind::BOOL
        }
        ValueRef::String(value) => {
            columns.string_values.push(value.to_owned());
            kind::STRING
        }
        ValueRef::Bytes(value) => {
            columns.bytes_values.push(value.to_owned());
            kind::BYTES
        }
    }
}
