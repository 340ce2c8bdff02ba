//! One commit of the log as columns in memory: immutable, shared, decodable on its own.

mod builder;
mod pick;
mod reshape;
mod runs;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub use builder::BlockBuilder;
pub(crate) use pick::Part;
pub(crate) use runs::Runs;

pub(crate) use crate::codec::VERSION_NEWEST;
pub use crate::codec::{BlockHeader, DecodeError, Effort, peek};
use crate::event::{EventRef, Offset, Quality, SignalId, Timestamp, ValueRef};

/// The most rows one block may have.
pub const BLOCK_ROWS_MAX: usize = 1 << 20;
/// The most bytes one block may hold, as [`BlockBuilder::approximate_bytes`] counts them.
pub const BLOCK_BYTES_MAX: usize = 1 << 29;

/// A signal as a block knows it: an entry of the block's own table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSignal {
    /// Its number in the log.
    pub id: SignalId,
    /// Its name.
    pub name: Arc<str>,
}

/// Who sent a batch, and which of its batches it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer's name for itself.
    pub id: Arc<str>,
    /// Which life of the producer.
    pub epoch: u64,
    /// The batch's number in that life.
    pub sequence: u64,
}

/// A producer's batch inside a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// Whose batch it was.
    pub producer: ProducerStamp,
    /// Where its events begin.
    pub first_offset: Offset,
    /// How many events of it were taken.
    pub events: u32,
}

/// An idempotent unary append inside a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// The caller's number for its request.
    pub request_id: [u8; 16],
    /// Where its events begin.
    pub first_offset: Offset,
    /// How many events of it were taken.
    pub events: u32,
}

/// What the log did not take, counted since its beginning and as of this commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that had been appended before.
    pub duplicate_events: u64,
    /// Events that were refused.
    pub rejected_events: u64,
}

/// Where a block lies in the log and in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The offset of its first event.
    pub first_offset: Offset,
    /// How many events it has; never 0.
    pub events: u64,
    /// The earliest event time.
    pub event_time_min: Timestamp,
    /// The latest event time.
    pub event_time_max: Timestamp,
    /// The ingest time of the first event.
    pub ingest_time_first: Timestamp,
    /// The ingest time of the last event.
    pub ingest_time_last: Timestamp,
}

/// What a row's 64 bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The bits of a double.
    Double,
    /// An integer in two's complement.
    Int,
    /// 0 or 1.
    Bool,
    /// A [`Span`] of [`Columns::text`].
    String,
    /// A [`Span`] of [`Columns::bytes`].
    Bytes,
}

/// A piece of a block's text or bytes, packed into 64 bits: where it begins and how long it is.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// The piece of `length` bytes from `start`; `None` beyond 4 GiB.
    pub(crate) fn new(start: usize, length: usize) -> Option<Self> {
        Some(Self { start: u32::try_from(start).ok()?, length: u32::try_from(length).ok()? })
    }

    /// As a row's bits.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.start as u64) << 32 | self.length as u64
    }

    /// From a row's bits.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self { start: (bits >> 32) as u32, length: bits as u32 }
    }

    /// As indexes.
    pub(crate) const fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

/// The rows, column by column. Tables are in the order of first use, so equal rows make equal columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Columns {
    pub(crate) signal: Vec<u32>,
    pub(crate) event_time: Vec<Timestamp>,
    pub(crate) kind: Vec<Kind>,
    pub(crate) bits: Vec<u64>,
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ingest_time: Runs<Timestamp>,
    pub(crate) quality: Runs<Quality>,
    pub(crate) source: Runs<u32>,
    pub(crate) sources: Vec<Arc<str>>,
    pub(crate) trace: Runs<u32>,
    pub(crate) traces: Vec<Box<[u8]>>,
    pub(crate) attributes: Vec<(u32, BTreeMap<String, String>)>,
}

impl Columns {
    /// No rows, but room for so many.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self {
            signal: Vec::with_capacity(rows),
            event_time: Vec::with_capacity(rows),
            kind: Vec::with_capacity(rows),
            bits: Vec::with_capacity(rows),
            ..Self::default()
        }
    }

    /// The value in `row`.
    #[inline]
    pub(crate) fn value(&self, row: usize) -> ValueRef<'_> {
        let bits = self.bits[row];
        match self.kind[row] {
            Kind::Double => ValueRef::Double(f64::from_bits(bits)),
            Kind::Int => ValueRef::Int(bits.cast_signed()),
            Kind::Bool => ValueRef::Bool(bits != 0),
            Kind::String => ValueRef::String(&self.text[Span::from_bits(bits).range()]),
            Kind::Bytes => ValueRef::Bytes(&self.bytes[Span::from_bits(bits).range()]),
        }
    }

    /// Takes a value in: its kind, and its bits.
    #[inline]
    pub(crate) fn take_value(&mut self, value: ValueRef<'_>) -> (Kind, u64) {
        match value {
            ValueRef::Double(value) => (Kind::Double, value.to_bits()),
            ValueRef::Int(value) => (Kind::Int, value.cast_unsigned()),
            ValueRef::Bool(value) => (Kind::Bool, u64::from(value)),
            ValueRef::String(value) => {
                let span = Span::new(self.text.len(), value.len()).expect("bounded by BLOCK_BYTES_MAX");
                self.text.push_str(value);
                (Kind::String, span.to_bits())
            }
            ValueRef::Bytes(value) => {
                let span = Span::new(self.bytes.len(), value.len()).expect("bounded by BLOCK_BYTES_MAX");
                self.bytes.extend_from_slice(value);
                (Kind::Bytes, span.to_bits())
            }
        }
    }

    /// The trace context from `row` on. Gives the bytes that this takes in the table.
    #[inline]
    pub(crate) fn push_trace(&mut self, row: u32, trace_context: &[u8]) -> usize {
        if self.traces.last().is_some_and(|trace| **trace == *trace_context) {
            return 0;
        }
        self.traces.push(trace_context.into());
        self.trace.push(row, self.traces.len() as u32 - 1);
        trace_context.len() + 40
    }

    /// The attributes of `row`; `None` when it has none.
    pub(crate) fn attributes_of(&self, row: usize) -> Option<&BTreeMap<String, String>> {
        let place = self.attributes.binary_search_by_key(&row, |(row, _)| *row as usize).ok()?;
        Some(&self.attributes[place].1)
    }
}

/// One commit of the log, or several adjacent ones merged.
#[derive(Debug, PartialEq)]
pub struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) columns: Columns,
    /// Which rows of the whole block these are; `None`: all.
    pub(crate) rows: Option<Vec<u32>>,
}

impl Block {
    /// The offset of its first event.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.header.summary.first_offset
    }

    /// The offset after its last event.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.first_offset().plus(self.header.summary.events)
    }

    /// How many events are there: never 0, and all, unless only some were asked for.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> usize {
        self.columns.signal.len()
    }

    /// The signals it has events of, in the order of their first event.
    #[must_use]
    pub fn signals(&self) -> &[BlockSignal] {
        &self.header.signals
    }

    /// The index into [`Self::signals`] of the event in `row`.
    #[must_use]
    pub fn signal_index(&self, row: usize) -> usize {
        self.columns.signal[row] as usize
    }

    /// The event in `row`, which must be below [`Self::len`].
    #[must_use]
    pub fn event(&self, row: usize) -> EventRef<'_> {
        let columns = &self.columns;
        let runs = RunValues {
            ingest_time: columns.ingest_time.get(row),
            quality: columns.quality.get(row),
            source: columns.source.get(row),
            trace: columns.trace.get(row),
        };
        self.event_with(row, runs)
    }

    /// When its source says the event in `row` happened; the row must be below [`Self::len`].
    #[must_use]
    pub fn event_time(&self, row: usize) -> Timestamp {
        self.columns.event_time[row]
    }

    /// The value in `row`, which must be below [`Self::len`].
    #[must_use]
    #[inline]
    pub fn value(&self, row: usize) -> ValueRef<'_> {
        self.columns.value(row)
    }

    /// All events in the order of their offsets.
    pub fn events(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.events_in(0..self.len())
    }

    /// The events in `rows`, which must end within [`Self::len`], in the order of their offsets. Faster than one by
    /// one.
    pub fn events_in(&self, rows: Range<usize>) -> impl Iterator<Item = EventRef<'_>> {
        let (columns, start) = (&self.columns, rows.start);
        let fixed = columns.ingest_time.rows_from(start).zip(columns.quality.rows_from(start));
        let tabled = columns.source.rows_from(start).zip(columns.trace.rows_from(start));
        rows.zip(fixed.zip(tabled)).map(|(row, ((ingest_time, quality), (source, trace)))| {
            self.event_with(row, RunValues { ingest_time, quality, source, trace })
        })
    }

    #[inline]
    fn event_with(&self, row: usize, runs: RunValues) -> EventRef<'_> {
        let columns = &self.columns;
        let signal = &self.header.signals[columns.signal[row] as usize];
        EventRef {
            offset: self.offset(row),
            signal_id: signal.id,
            signal: &signal.name,
            event_time: columns.event_time[row],
            ingest_time: runs.ingest_time,
            value: columns.value(row),
            quality: runs.quality,
            source: &columns.sources[runs.source as usize],
            attributes: columns.attributes_of(row),
            trace_context: &columns.traces[runs.trace as usize],
        }
    }

    /// The producers' batches that begin in it.
    #[must_use]
    pub fn batches(&self) -> &[BatchRecord] {
        &self.header.batches
    }

    /// The idempotent unary appends that begin in it.
    #[must_use]
    pub fn requests(&self) -> &[RequestRecord] {
        &self.header.requests
    }

    /// What the log had not taken as of this commit.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.header.tally
    }

    /// Where it lies in the log and in time.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.header.summary
    }

    /// About how much memory it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let columns = &self.columns;
        let rows = columns.signal.capacity() * size_of::<u32>()
            + columns.event_time.capacity() * size_of::<Timestamp>()
            + columns.kind.capacity()
            + columns.bits.capacity() * size_of::<u64>();
        let runs = columns.ingest_time.memory_bytes()
            + columns.quality.memory_bytes()
            + columns.source.memory_bytes()
            + columns.trace.memory_bytes();
        let blobs = columns.text.capacity() + columns.bytes.capacity();
        let sources: usize = columns.sources.iter().map(|source| source.len() + 32).sum();
        let traces: usize = columns.traces.iter().map(|trace| trace.len() + 32).sum();
        let attributes: usize = columns.attributes.iter().map(|(_, map)| map_bytes(map)).sum();
        size_of::<Self>() + rows + runs + blobs + sources + traces + attributes + self.header.memory_bytes()
    }

    /// The block as one checksummed byte value.
    #[must_use]
    pub fn encode(&self, effort: Effort) -> Vec<u8> {
        assert!(self.rows.is_none(), "a block is kept as a whole");
        crate::codec::encode(self, effort)
    }

    /// The block in `bytes`.
    ///
    /// # Errors
    /// If they are not, bit for bit, what [`Self::encode`] made, or if a newer version made them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        crate::codec::decode(bytes)
    }
}

/// What a row has in common with its neighbours.
#[derive(Clone, Copy)]
struct RunValues {
    ingest_time: Timestamp,
    quality: Quality,
    source: u32,
    trace: u32,
}

/// About how much memory one event's attributes hold.
pub(crate) fn map_bytes(map: &BTreeMap<String, String>) -> usize {
    pairs_bytes(map.len()) + map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
}

/// The same for so many attributes without their texts.
pub(crate) const fn pairs_bytes(pairs: usize) -> usize {
    64 + pairs.saturating_mul(64)
}
