//! Building a block, batch by batch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{
    BLOCK_BYTES_MAX, BLOCK_ROWS_MAX, BatchRecord, Block, BlockHeader, BlockSignal, Columns, Kind,
    RequestRecord, Summary, Tally, map_bytes,
};
use crate::batch::{Batch, NameTable};
use crate::event::{Offset, Timestamp};
use crate::signal_map::SignalMap;

/// Gathers the events of one commit.
#[derive(Debug)]
pub struct BlockBuilder {
    header: BlockHeader,
    columns: Columns,
    ingest_time: Timestamp,
    signal_rows: SignalMap<u32>,
    sources: NameTable,
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
            columns: Columns::default(),
            ingest_time,
            signal_rows: SignalMap::default(),
            sources: NameTable::default(),
            table_bytes: 0,
        }
    }

    /// Adds the events of a batch, with the ingest times that it brings, if it does. `known` says by which number and name the log knows the signal of a name.
    ///
    /// # Panics
    /// If the block then held more than [`BLOCK_ROWS_MAX`] rows or [`BLOCK_BYTES_MAX`] bytes.
    pub fn push(&mut self, batch: Batch, mut known: impl FnMut(&Arc<str>) -> BlockSignal) {
        let (names, mut columns) = batch.into_columns();
        let (first, rows) = (self.len() as u32, columns.signal.len());
        if columns.ingest_time.last().is_some() {
            self.push_ingest_times(first, &columns, 0..rows);
        } else if rows > 0 {
            self.columns.ingest_time.push(first, self.ingest_time);
        }
        for (row, attributes) in std::mem::take(&mut columns.attributes) {
            self.push_attributes(first + row, attributes);
        }
        self.copy(&columns, 0..rows, names.len(), |signal| known(&names[signal]));
    }

    /// Adds rows of another block as they are, their ingest times included.
    pub(super) fn push_copy(&mut self, block: &Block, rows: Range<usize>) {
        let (first, columns) = (self.len() as u32, &block.columns);
        self.push_ingest_times(first, columns, rows.clone());
        let before = columns.attributes.partition_point(|(row, _)| (*row as usize) < rows.start);
        let attributes = columns.attributes[before..].iter();
        for (row, attributes) in attributes.take_while(|(row, _)| (*row as usize) < rows.end) {
            self.push_attributes(first + *row - rows.start as u32, attributes.clone());
        }
        self.copy(columns, rows, block.signals().len(), |signal| block.signals()[signal].clone());
    }

    /// The ingest times that rows bring.
    fn push_ingest_times(&mut self, first: u32, from: &Columns, rows: Range<usize>) {
        for (row, ingest_time) in from.ingest_time.runs_in(rows) {
            if self.columns.ingest_time.last().is_none() {
                self.header.summary.ingest_time_first = ingest_time;
            }
            self.columns.ingest_time.push(first + row, ingest_time);
            self.ingest_time = ingest_time;
        }
    }

    /// The ingest time of its last event; before there is one, what it began with.
    pub(crate) const fn ingest_time(&self) -> Timestamp {
        self.ingest_time
    }

    /// Copies rows but for their ingest times and attributes. `known` says what their signals are, of so many.
    fn copy(
        &mut self,
        from: &Columns,
        rows: Range<usize>,
        signals: usize,
        known: impl FnMut(usize) -> BlockSignal,
    ) {
        assert!(self.len() + rows.len() <= BLOCK_ROWS_MAX, "a block holds at most {BLOCK_ROWS_MAX} events");
        let first = self.len() as u32;
        self.copy_signals(&from.signal[rows.clone()], signals, known);
        self.copy_sources(first, from, rows.clone());
        let columns = &mut self.columns;
        for (row, quality) in from.quality.runs_in(rows.clone()) {
            columns.quality.push(first + row, quality);
        }
        for (row, trace) in from.trace.runs_in(rows.clone()) {
            self.table_bytes += columns.push_trace(first + row, &from.traces[trace as usize]);
        }
        let summary = &mut self.header.summary;
        for &event_time in &from.event_time[rows.clone()] {
            summary.event_time_min = summary.event_time_min.min(event_time);
            summary.event_time_max = summary.event_time_max.max(event_time);
        }
        columns.event_time.extend_from_slice(&from.event_time[rows.clone()]);
        let kinds = &from.kind[rows.clone()];
        columns.kind.extend_from_slice(kinds);
        if kinds.iter().any(|kind| matches!(kind, Kind::String | Kind::Bytes)) {
            for row in rows {
                let (_, bits) = columns.take_value(from.value(row));
                columns.bits.push(bits);
            }
        } else {
            columns.bits.extend_from_slice(&from.bits[rows]);
        }
        assert!(self.approximate_bytes() <= BLOCK_BYTES_MAX, "a block holds at most {BLOCK_BYTES_MAX} bytes");
    }

    /// Each signal gets its place in the table at its first row.
    fn copy_signals(&mut self, rows: &[u32], signals: usize, mut known: impl FnMut(usize) -> BlockSignal) {
        let Self { header, columns, signal_rows, table_bytes, .. } = self;
        let mut places = vec![None; signals];
        columns.signal.extend(rows.iter().map(|&signal| {
            *places[signal as usize].get_or_insert_with(|| {
                let signal = known(signal as usize);
                *signal_rows.entry(signal.id).or_insert_with(|| {
                    *table_bytes += signal.name.len() + 64;
                    header.signals.push(signal);
                    header.signals.len() as u32 - 1
                })
            })
        }));
    }

    fn copy_sources(&mut self, first: u32, from: &Columns, rows: Range<usize>) {
        let mut places = vec![None; from.sources.len()];
        for (row, source) in from.source.runs_in(rows) {
            let place = *places[source as usize].get_or_insert_with(|| {
                let (known, name) = (self.sources.names.len(), &from.sources[source as usize]);
                let place = self.sources.index(name);
                if place as usize == known {
                    self.table_bytes += name.len() + 64;
                }
                place
            });
            self.columns.source.push(first + row, place);
            self.table_bytes += 8;
        }
    }

    fn push_attributes(&mut self, row: u32, attributes: BTreeMap<String, String>) {
        self.table_bytes += map_bytes(&attributes);
        self.columns.attributes.push((row, attributes));
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
        let Self { mut header, mut columns, ingest_time, sources, .. } = self;
        columns.sources = sources.names;
        header.summary.events = columns.signal.len() as u64;
        header.summary.ingest_time_last = ingest_time;
        header.tally = tally;
        columns.shrink();
        Block { header, columns, rows: None }
    }
}

impl Columns {
    fn shrink(&mut self) {
        self.signal.shrink_to_fit();
        self.event_time.shrink_to_fit();
        self.kind.shrink_to_fit();
        self.bits.shrink_to_fit();
        self.text.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }
}
