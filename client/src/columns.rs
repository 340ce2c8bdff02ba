//! Events as packed arrays, and back: how they travel where [`Encoding::Columns`] is asked for.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use downlink_proto::v1::event_columns::Extras;
use downlink_proto::v1::{Event, EventBatch, EventColumns, Quality, Value, value::Kind};
use prost_types::Timestamp;

/// How events travel. It changes what that costs, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// A message for each event.
    #[default]
    Rows,
    /// Packed arrays: several times cheaper for both sides.
    Columns,
}

impl From<Encoding> for downlink_proto::v1::Encoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Rows => Self::Rows,
            Encoding::Columns => Self::Columns,
        }
    }
}

/// What an event takes in the arrays beside its names, text, bytes and attributes, at most.
const EVENT_BYTES: usize = 64;
/// The kinds of values by their field numbers.
const DOUBLE: u32 = 1;
const INT: u32 = 2;
const BOOL: u32 = 3;
const STRING: u32 = 4;
const BYTES: u32 = 5;

/// Makes columns of events.
#[derive(Debug, Default)]
pub struct ColumnsBuilder {
    columns: EventColumns,
    signals: Table<String>,
    sources: Table<String>,
    trace_contexts: Table<Vec<u8>>,
    seconds: i64,
    bytes: usize,
}

impl ColumnsBuilder {
    /// Whether the event can join those it holds: either all of them have a time of their own, or none.
    pub fn fits(&self, event: &Event) -> bool {
        let timed = self.columns.event_time_second_deltas.len();
        self.is_empty() || (timed > 0) == event.event_time.is_some()
    }

    /// Adds an event.
    ///
    /// # Panics
    /// If it does not [fit](Self::fits).
    pub fn push(&mut self, event: &Event) {
        assert!(self.fits(event), "either all events have a time of their own, or none");
        let columns = &mut self.columns;
        let row = columns.signal_indexes.len();
        self.bytes += EVENT_BYTES;
        let signal = self.signals.place(&mut columns.signals, event.signal.as_str(), &mut self.bytes);
        columns.signal_indexes.push(signal);
        let source = self.sources.place(&mut columns.sources, event.source.as_str(), &mut self.bytes);
        push_unless_usual(&mut columns.source_indexes, row, 0, source);
        let trace_context = event.trace_context.as_slice();
        let place = self.trace_contexts.place(&mut columns.trace_contexts, trace_context, &mut self.bytes);
        push_unless_usual(&mut columns.trace_context_indexes, row, 0, place);
        if let Some(Timestamp { seconds, nanos }) = event.event_time {
            columns.event_time_second_deltas.push(seconds.wrapping_sub(self.seconds));
            push_unless_usual(&mut columns.event_time_nanos, row, 0, nanos.cast_unsigned());
            self.seconds = seconds;
        }
        let good = Quality::Good as i32;
        let quality = if event.quality == Quality::Unspecified as i32 { good } else { event.quality };
        push_unless_usual(&mut columns.qualities, row, good, quality);
        let kind = event.value.as_ref().and_then(|value| value.kind.as_ref());
        self.bytes += match kind {
            Some(Kind::StringValue(text)) => text.len(),
            Some(Kind::BytesValue(bytes)) => bytes.len(),
            Some(Kind::DoubleValue(_) | Kind::IntValue(_) | Kind::BoolValue(_)) | None => 0,
        };
        let kind = push_value(columns, kind);
        push_unless_usual(&mut columns.kinds, row, DOUBLE, kind);
        if !event.attributes.is_empty() {
            self.bytes +=
                event.attributes.iter().map(|(key, value)| key.len() + value.len() + 32).sum::<usize>();
            columns.extras.push(Extras { index: row as u32, attributes: event.attributes.clone() });
        }
    }

    /// What was added; the builder is empty again.
    pub fn take(&mut self) -> EventColumns {
        let Self { mut columns, .. } = std::mem::take(self);
        if columns.sources.iter().all(String::is_empty) && columns.source_indexes.is_empty() {
            columns.sources.clear();
        }
        if columns.trace_contexts.iter().all(Vec::is_empty) && columns.trace_context_indexes.is_empty() {
            columns.trace_contexts.clear();
        }
        columns
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.columns.signal_indexes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.columns.signal_indexes.is_empty()
    }

    /// How many bytes its columns take at most when they travel.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Where the entries of a table are.
#[derive(Debug, Default)]
struct Table<T> {
    places: HashMap<T, u32>,
    last: u32,
}

impl<T: Hash + Eq> Table<T> {
    /// The place of an entry, which is added if it is new.
    fn place<Q>(&mut self, entries: &mut Vec<T>, entry: &Q, bytes: &mut usize) -> u32
    where
        T: Borrow<Q>,
        Q: ToOwned<Owned = T> + Hash + Eq + AsRef<[u8]> + ?Sized,
    {
        if entries.get(self.last as usize).is_none_or(|last| last.borrow() != entry) {
            let known = self.places.get(entry).copied();
            self.last = known.unwrap_or_else(|| {
                let place = entries.len() as u32;
                *bytes += entry.as_ref().len() + 8;
                entries.push(entry.to_owned());
                self.places.insert(entry.to_owned(), place);
                place
            });
        }
        self.last
    }
}

/// Adds the element of the event in `row` to an array that is empty as long as all have the usual one.
fn push_unless_usual<T: Copy + PartialEq>(array: &mut Vec<T>, row: usize, usual: T, element: T) {
    if element != usual && array.is_empty() {
        array.resize(row, usual);
    } else if array.is_empty() {
        return;
    }
    array.push(element);
}

/// Adds a value to the array of its kind, for those who fill columns by themselves; gives what belongs into `kinds`.
pub fn push_value(columns: &mut EventColumns, kind: Option<&Kind>) -> u32 {
    match kind {
        None => 0,
        Some(Kind::DoubleValue(value)) => {
            columns.double_values.push(*value);
            DOUBLE
        }
        Some(Kind::IntValue(value)) => {
            columns.int_values.push(*value);
            INT
        }
        Some(Kind::BoolValue(value)) => {
            columns.bool_values.push(*value);
            BOOL
        }
        Some(Kind::StringValue(value)) => {
            columns.string_values.push(value.clone());
            STRING
        }
        Some(Kind::BytesValue(value)) => {
            columns.bytes_values.push(value.clone());
            BYTES
        }
    }
}

/// The arrays of a batch do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("columns whose arrays do not fit together")]
pub struct Malformed;

/// The events of a batch as rows, whichever way they came.
pub fn unpack(batch: &mut EventBatch) -> Result<(), Malformed> {
    if let Some(columns) = batch.columns.take() {
        batch.events = rows(columns)?;
    }
    Ok(())
}

/// The events in columns.
pub fn rows(columns: EventColumns) -> Result<Vec<Event>, Malformed> {
    let mut values = Values {
        double: columns.double_values.into_iter(),
        int: columns.int_values.into_iter(),
        bool: columns.bool_values.into_iter(),
        string: columns.string_values.into_iter(),
        bytes: columns.bytes_values.into_iter(),
    };
    let mut attributes: BTreeMap<u32, _> =
        columns.extras.into_iter().map(|extras| (extras.index, extras.attributes)).collect();
    let mut offset = columns.first_offset;
    let mut event_time = Times::of(&columns.event_time_second_deltas, &columns.event_time_nanos);
    let mut ingest_time = Times::of(&columns.ingest_time_second_deltas, &columns.ingest_time_nanos);
    let mut rows = Vec::with_capacity(columns.signal_indexes.len());
    for (row, &signal) in columns.signal_indexes.iter().enumerate() {
        if row > 0 && columns.first_offset > 0 {
            let skip = element(&columns.offset_skips, row, 0)?;
            let step = skip.checked_add(1).ok_or(Malformed)?;
            let next = if columns.descending { offset.checked_sub(step) } else { offset.checked_add(step) };
            offset = next.ok_or(Malformed)?;
        }
        rows.push(Event {
            offset,
            signal: columns.signals.get(signal as usize).ok_or(Malformed)?.clone(),
            signal_id: columns.signal_ids.get(signal as usize).copied().unwrap_or_default(),
            event_time: event_time.next(row)?,
            ingest_time: ingest_time.next(row)?,
            value: Some(Value { kind: values.next(element(&columns.kinds, row, DOUBLE)?)? }),
            quality: element(&columns.qualities, row, Quality::Good as i32)?,
            source: entry(&columns.sources, element(&columns.source_indexes, row, 0)?)?,
            attributes: attributes.remove(&(row as u32)).unwrap_or_default(),
            trace_context: entry(&columns.trace_contexts, element(&columns.trace_context_indexes, row, 0)?)?,
        });
    }
    Ok(rows)
}

/// The element of an event, in an array that is empty when all have the usual one.
fn element<T: Copy>(array: &[T], row: usize, usual: T) -> Result<T, Malformed> {
    if array.is_empty() { Ok(usual) } else { array.get(row).copied().ok_or(Malformed) }
}

/// An entry of a table that is empty when every event has the empty one.
fn entry<T: Clone + Default>(table: &[T], place: u32) -> Result<T, Malformed> {
    match table.get(place as usize) {
        Some(entry) => Ok(entry.clone()),
        None if table.is_empty() && place == 0 => Ok(T::default()),
        None => Err(Malformed),
    }
}

/// Times, told by their differences; none at all if there are no seconds.
struct Times<'a> {
    deltas: &'a [i64],
    nanos: &'a [u32],
    seconds: i64,
}

impl<'a> Times<'a> {
    fn of(deltas: &'a [i64], nanos: &'a [u32]) -> Self {
        Self { deltas, nanos, seconds: 0 }
    }

    fn next(&mut self, row: usize) -> Result<Option<Timestamp>, Malformed> {
        if self.deltas.is_empty() {
            return Ok(None);
        }
        self.seconds = self.seconds.wrapping_add(element(self.deltas, row, 0)?);
        let nanos = element(self.nanos, row, 0)?.cast_signed();
        Ok(Some(Timestamp { seconds: self.seconds, nanos }))
    }
}

/// The values, each kind in its own array.
struct Values {
    double: std::vec::IntoIter<f64>,
    int: std::vec::IntoIter<i64>,
    bool: std::vec::IntoIter<bool>,
    string: std::vec::IntoIter<String>,
    bytes: std::vec::IntoIter<Vec<u8>>,
}

impl Values {
    fn next(&mut self, kind: u32) -> Result<Option<Kind>, Malformed> {
        let value = match kind {
            DOUBLE => self.double.next().map(Kind::DoubleValue),
            INT => self.int.next().map(Kind::IntValue),
            BOOL => self.bool.next().map(Kind::BoolValue),
            STRING => self.string.next().map(Kind::StringValue),
            BYTES => self.bytes.next().map(Kind::BytesValue),
            // A kind that this version does not know.
            _ => return Ok(None),
        };
        value.map(Some).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests;
