//! The header section: what can be known of a block without decoding its columns.

use std::sync::Arc;

use super::DecodeError;
use super::wire::{Buffer, Reader, Writer};
use crate::block::{BLOCK_ROWS_MAX, BatchRecord, BlockSignal, ProducerStamp, RequestRecord, Summary, Tally};
use crate::event::{Offset, SignalId};

/// What a block says about itself, cheap to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Where it lies in the log and in time.
    pub summary: Summary,
    /// The signals it has events of, in the order of their first event.
    pub signals: Vec<BlockSignal>,
    /// The producers' batches that begin in it.
    pub batches: Vec<BatchRecord>,
    /// The idempotent unary appends that begin in it.
    pub requests: Vec<RequestRecord>,
    /// What the log had not taken as of this commit.
    pub tally: Tally,
}

impl BlockHeader {
    /// The number of rows.
    pub(super) const fn rows(&self) -> usize {
        self.summary.events as usize
    }

    /// About how much memory it holds beyond itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        // The names are shared with the log's table of signals.
        self.signals.capacity() * size_of::<BlockSignal>()
            + self.batches.iter().map(|batch| batch.producer.id.len() + 16).sum::<usize>()
            + self.batches.capacity() * size_of::<BatchRecord>()
            + self.requests.capacity() * size_of::<RequestRecord>()
    }
}

/// Writes the header.
pub(super) fn put(writer: &mut Writer, header: &BlockHeader) {
    let mut buffer = Buffer::default();
    put_summary(&mut buffer, &header.summary);
    buffer.put_u64(header.tally.duplicate_events);
    buffer.put_u64(header.tally.rejected_events);
    put_signals(&mut buffer, &header.signals);
    put_batches(&mut buffer, header);
    put_requests(&mut buffer, header);
    writer.put_sized_section(&buffer.0);
}

/// Reads the header.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<BlockHeader, DecodeError> {
    let bytes = reader.sized_section()?;
    let mut reader = Reader::inside(&bytes);
    let summary = read_summary(&mut reader)?;
    let tally = Tally { duplicate_events: reader.u64()?, rejected_events: reader.u64()? };
    let rows = summary.events as usize;
    let signals = read_signals(&mut reader, rows)?;
    let batches = read_batches(&mut reader, rows, summary.first_offset)?;
    let requests = read_requests(&mut reader, rows, summary.first_offset)?;
    reader.finish()?;
    Ok(BlockHeader { summary, signals, batches, requests, tally })
}

fn put_summary(buffer: &mut Buffer, summary: &Summary) {
    buffer.put_u64(summary.first_offset.get());
    buffer.put_u64(summary.events);
    buffer.put_time(summary.event_time_min);
    buffer.put_time(summary.event_time_max);
    buffer.put_time(summary.ingest_time_first);
    buffer.put_time(summary.ingest_time_last);
}

fn read_summary(reader: &mut Reader<'_>) -> Result<Summary, DecodeError> {
    let first_offset = Offset::new(reader.u64()?).ok_or(DecodeError::Malformed("offset 0"))?;
    let events = reader.u64()?;
    if events == 0 || events > BLOCK_ROWS_MAX as u64 {
        return Err(DecodeError::Malformed("no events, or too many"));
    }
    if first_offset.get().checked_add(events).is_none() {
        return Err(DecodeError::Malformed("offsets beyond 64 bits"));
    }
    Ok(Summary {
        first_offset,
        events,
        event_time_min: reader.time()?,
        event_time_max: reader.time()?,
        ingest_time_first: reader.time()?,
        ingest_time_last: reader.time()?,
    })
}

fn put_signals(buffer: &mut Buffer, signals: &[BlockSignal]) {
    buffer.put_u64(signals.len() as u64);
    let mut previous = 0;
    for signal in signals {
        let id = i64::from(signal.id.0);
        buffer.put_i64(id - std::mem::replace(&mut previous, id));
    }
    for signal in signals {
        buffer.put_blob(signal.name.as_bytes());
    }
}

fn read_signals(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<BlockSignal>, DecodeError> {
    let count = reader.count_to(rows)?;
    let mut ids = Vec::with_capacity(count);
    let mut id = 0_i64;
    for _ in 0..count {
        id = id.wrapping_add(reader.i64()?);
        ids.push(SignalId(u32::try_from(id).map_err(|_| DecodeError::Malformed("a signal id"))?));
    }
    let signals = ids.into_iter().map(|id| Ok(BlockSignal { id, name: reader.text()?.into() }));
    signals.collect()
}

/// Each batch's producer is a number in a table, which is written at first use.
fn put_batches(buffer: &mut Buffer, header: &BlockHeader) {
    buffer.put_u64(header.batches.len() as u64);
    let mut producers: Vec<&Arc<str>> = Vec::new();
    let (mut sequence, mut offset) = (0_u64, header.summary.first_offset.get());
    for BatchRecord { producer, first_offset, events } in &header.batches {
        let known = producers.iter().rposition(|known| **known == producer.id);
        buffer.put_u64(known.unwrap_or(producers.len()) as u64);
        if known.is_none() {
            buffer.put_blob(producer.id.as_bytes());
            producers.push(&producer.id);
        }
        buffer.put_u64(producer.epoch);
        buffer.put_i64(producer.sequence.wrapping_sub(sequence).cast_signed());
        buffer.put_i64(first_offset.get().wrapping_sub(offset).cast_signed());
        buffer.put_u64(u64::from(*events));
        sequence = producer.sequence;
        offset = first_offset.get().wrapping_add(u64::from(*events));
    }
}

/// At least one event was taken of each batch.
fn read_batches(
    reader: &mut Reader<'_>,
    rows: usize,
    first_offset: Offset,
) -> Result<Vec<BatchRecord>, DecodeError> {
    let count = reader.count_to(rows)?;
    let mut batches = Vec::new();
    let mut producers: Vec<Arc<str>> = Vec::new();
    let (mut sequence, mut offset) = (0_u64, first_offset.get());
    for _ in 0..count {
        let known = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        if known == producers.len() {
            producers.push(reader.text()?.into());
        }
        let id = Arc::clone(producers.get(known).ok_or(DecodeError::Malformed("a batch of no producer"))?);
        let epoch = reader.u64()?;
        sequence = sequence.wrapping_add_signed(reader.i64()?);
        let first_offset = reader.offset_near(offset)?;
        let events = reader.u32()?;
        offset = first_offset.get().wrapping_add(u64::from(events));
        batches.push(BatchRecord { producer: ProducerStamp { id, epoch, sequence }, first_offset, events });
    }
    Ok(batches)
}

fn put_requests(buffer: &mut Buffer, header: &BlockHeader) {
    buffer.put_u64(header.requests.len() as u64);
    let mut offset = header.summary.first_offset.get();
    for RequestRecord { request_id, first_offset, events } in &header.requests {
        buffer.0.extend_from_slice(request_id);
        buffer.put_i64(first_offset.get().wrapping_sub(offset).cast_signed());
        buffer.put_u64(u64::from(*events));
        offset = first_offset.get().wrapping_add(u64::from(*events));
    }
}

/// At least one event was taken of each request.
fn read_requests(
    reader: &mut Reader<'_>,
    rows: usize,
    first_offset: Offset,
) -> Result<Vec<RequestRecord>, DecodeError> {
    let count = reader.count_to(rows)?;
    let mut requests = Vec::new();
    let mut offset = first_offset.get();
    for _ in 0..count {
        let mut request_id = [0; 16];
        request_id.copy_from_slice(reader.bytes(16)?);
        let first_offset = reader.offset_near(offset)?;
        let events = reader.u32()?;
        offset = first_offset.get().wrapping_add(u64::from(events));
        requests.push(RequestRecord { request_id, first_offset, events });
    }
    Ok(requests)
}
