//! Building a block, event by event.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::{
    BLOCK_BYTES_MAX, BLOCK_ROWS_MAX, BatchRecord, Block, BlockHeader, BlockSignal, Columns, Kind,
    RequestRecord, Runs, Span, Summary, Tally, map_bytes,
};
use crate::event::{Event, EventRef, Offset, Quality, SignalId, Timestamp, ValueRef};

/// Gathers the events of one commit.
#[derive(Debug)]
pub struct BlockBuilder {
    header: BlockHeader,
    columns: Columns,
    ingest_time: Timestamp,
    signal_rows: HashMap<SignalId, u32, BuildHasherDefault<IdHasher>>,
    source_rows: HashMap<Arc<str>, u32>,
    table_bytes: usize,
}

impl BlockBuilder {
    /// An empty block from `first_offset` on, whose events are all taken in at `ingest_time`.
    #[must_use]
    pub fn new(first_offset: Offset, ingest_time: Timestamp) -> Self {
        let summary = Summary {
            first_offset,
            events: 0,
            event_time_min: Timestamp::MAX,
            event_time_max: Timestamp::MIN,
            ingest_time_first: ingest_time,
            ingest_time_last: ingest_time,
        };
        Self {
            header: BlockHeader {
                summary,
                signals: Vec::new(),
                batches: Vec::new(),
                requests: Vec::new(),
                tally: Tally::default(),
            },
            columns: Columns::new(),
            ingest_time,
            signal_rows: HashMap::default(),
            source_rows: HashMap::new(),
            table_bytes: 0,
        }
    }

    /// Adds an event of the signal `id`, whose name in the log is `name`.
    ///
    /// # Panics
    /// If the block then held more than [`BLOCK_ROWS_MAX`] rows or [`BLOCK_BYTES_MAX`] bytes.
    pub fn push(&mut self, id: SignalId, name: &Arc<str>, event: Event) {
        self.push_row(&EventRowRef {
            id,
            name,
            event_time: event.event_time,
            value: event.value.as_ref(),
            quality: event.quality,
            source: &event.source,
            trace_context: &event.trace_context,
        });
        self.push_attributes(event.attributes);
    }

    /// Adds a row of another block as it is, its ingest time included.
    pub(super) fn push_copy(&mut self, event: &EventRef<'_>) {
        self.ingest_time = event.ingest_time;
        self.push_row(&EventRowRef {
            id: event.signal_id,
            name: event.signal,
            event_time: event.event_time,
            value: event.value,
            quality: event.quality,
            source: event.source,
            trace_context: event.trace_context,
        });
        if let Some(attributes) = event.attributes {
            self.push_attributes(attributes.clone());
        }
    }

    #[inline]
    fn push_row(&mut self, event: &EventRowRef<'_>) {
        let row = self.columns.signal.len();
        assert!(row < BLOCK_ROWS_MAX, "a block holds at most {BLOCK_ROWS_MAX} events");
        let row = row as u32;
        let signal = self.signal_row(event.id, event.name);
        let columns = &mut self.columns;
        columns.signal.push(signal);
        columns.event_time.push(event.event_time);
        let (kind, bits) = columns.take_value(event.value);
        columns.kind.push(kind);
        columns.bits.push(bits);
        columns.ingest_time.push(row, self.ingest_time);
        columns.quality.push(row, event.quality);
        if columns.traces.last().is_none_or(|trace| **trace != *event.trace_context) {
            columns.traces.push(event.trace_context.into());
            columns.trace.push(row, (columns.traces.len() - 1) as u32);
            self.table_bytes += event.trace_context.len() + 40;
        }
        let known = columns.source.last().filter(|&last| *columns.sources[last as usize] == *event.source);
        if known.is_none() {
            self.push_source(row, event.source);
        }
        let summary = &mut self.header.summary;
        summary.event_time_min = summary.event_time_min.min(event.event_time);
        summary.event_time_max = summary.event_time_max.max(event.event_time);
        assert!(self.approximate_bytes() <= BLOCK_BYTES_MAX, "a block holds at most {BLOCK_BYTES_MAX} bytes");
    }

    #[inline]
    fn signal_row(&mut self, id: SignalId, name: &Arc<str>) -> u32 {
        *self.signal_rows.entry(id).or_insert_with(|| {
            self.table_bytes += name.len() + 64;
            self.header.signals.push(BlockSignal { id, name: Arc::clone(name) });
            (self.header.signals.len() - 1) as u32
        })
    }

    fn push_source(&mut self, row: u32, source: &str) {
        let columns = &mut self.columns;
        let index = self.source_rows.get(source).copied().unwrap_or_else(|| {
            let source: Arc<str> = source.into();
            let index = columns.sources.len() as u32;
            self.table_bytes += source.len() + 64;
            columns.sources.push(Arc::clone(&source));
            self.source_rows.insert(source, index);
            index
        });
        columns.source.push(row, index);
        self.table_bytes += 8;
    }

    fn push_attributes(&mut self, attributes: BTreeMap<String, String>) {
        if !attributes.is_empty() {
            self.table_bytes += map_bytes(&attributes);
            self.columns.attributes.push((self.columns.signal.len() as u32 - 1, attributes));
        }
    }

    /// Remembers a producer's batch, whose events are in the block.
    pub fn push_batch(&mut self, record: BatchRecord) {
        self.table_bytes += size_of::<BatchRecord>() + record.producer.id.len();
        self.header.batches.push(record);
    }

    /// Remembers an idempotent unary append, whose events are in the block.
    pub fn push_request(&mut self, record: RequestRecord) {
        self.table_bytes += size_of::<RequestRecord>();
        self.header.requests.push(record);
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.signal.len()
    }

    /// Whether it has no event yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.signal.is_empty()
    }

    /// About how many bytes it holds in memory; encoded they are fewer.
    #[must_use]
    #[inline]
    pub fn approximate_bytes(&self) -> usize {
        const ROW_BYTES: usize = size_of::<u32>() + size_of::<Timestamp>() + 1 + size_of::<u64>();
        self.len() * ROW_BYTES + self.columns.text.len() + self.columns.bytes.len() + self.table_bytes
    }

    /// The block, with the log's counters as of this commit.
    ///
    /// # Panics
    /// If it is empty.
    #[must_use]
    pub fn finish(self, tally: Tally) -> Block {
        assert!(!self.is_empty(), "a block has at least one event");
        let Self { mut header, mut columns, ingest_time, .. } = self;
        header.summary.events = columns.signal.len() as u64;
        header.summary.ingest_time_last = ingest_time;
        header.tally = tally;
        columns.shrink();
        Block { header, columns }
    }
}

impl Columns {
    /// No rows.
    pub(crate) const fn new() -> Self {
        Self {
            signal: Vec::new(),
            event_time: Vec::new(),
            kind: Vec::new(),
            bits: Vec::new(),
            text: String::new(),
            bytes: Vec::new(),
            ingest_time: Runs::new(),
            quality: Runs::new(),
            source: Runs::new(),
            sources: Vec::new(),
            trace: Runs::new(),
            traces: Vec::new(),
            attributes: Vec::new(),
        }
    }

    #[inline]
    fn take_value(&mut self, value: ValueRef<'_>) -> (Kind, u64) {
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

    fn shrink(&mut self) {
        self.signal.shrink_to_fit();
        self.event_time.shrink_to_fit();
        self.kind.shrink_to_fit();
        self.bits.shrink_to_fit();
        self.text.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }
}

/// A row on its way in, from an event or from another block.
struct EventRowRef<'a> {
    id: SignalId,
    name: &'a Arc<str>,
    event_time: Timestamp,
    value: ValueRef<'a>,
    quality: Quality,
    source: &'a str,
    trace_context: &'a [u8],
}

/// Spreads signal numbers, which are dense and chosen by the log itself, so no attacker can make them collide.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let spread = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}
