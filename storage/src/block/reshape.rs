//! Joining adjacent blocks, cutting one into pieces and gathering rows of it, for the sealer.

use std::borrow::Borrow;
use std::ops::Range;

use super::{Block, BlockBuilder, Columns};
use crate::event::Offset;

impl Block {
    /// Adjacent blocks as one. Each event keeps its ingest time, the records stay, the last tally holds.
    ///
    /// # Panics
    /// If there is no block, or one does not begin where the one before ends, or they are too large together.
    #[must_use]
    pub fn merge<B: Borrow<Self>>(blocks: &[B]) -> Self {
        let first: &Self = blocks.first().expect("a merge has at least one block").borrow();
        let mut builder = BlockBuilder::new(first.first_offset(), first.summary().ingest_time_first);
        let mut end = first.first_offset();
        let mut tally = first.tally();
        for block in blocks.iter().map(Borrow::borrow) {
            assert_eq!(block.first_offset(), end, "merged blocks are adjacent");
            builder.push_copy(block, 0..block.len());
            block.batches().iter().for_each(|record| builder.push_batch(record.clone()));
            block.requests().iter().for_each(|record| builder.push_request(record.clone()));
            end = block.end_offset();
            tally = block.tally();
        }
        builder.finish(tally)
    }

    /// The events in `rows` as a block of their own. Each batch and request record stays with the piece in
    /// which it begins, so that the pieces of a block have all its records together, each once.
    ///
    /// # Panics
    /// If `rows` is empty or goes beyond the block.
    #[must_use]
    pub fn slice(&self, rows: Range<usize>) -> Self {
        assert!(rows.start < rows.end && rows.end <= self.len(), "a slice has rows of its block");
        let first_offset = self.first_offset().plus(rows.start as u64);
        let mut builder = BlockBuilder::new(first_offset, self.event(rows.start).ingest_time);
        builder.push_copy(self, rows.clone());
        let begins_here = |offset: Offset| {
            (rows.start == 0 || offset >= first_offset)
                && (rows.end == self.len() || offset < self.first_offset().plus(rows.end as u64))
        };
        let batches = self.batches().iter().filter(|record| begins_here(record.first_offset));
        batches.for_each(|record| builder.push_batch(record.clone()));
        let requests = self.requests().iter().filter(|record| begins_here(record.first_offset));
        requests.for_each(|record| builder.push_request(record.clone()));
        builder.finish(self.tally())
    }
}

impl Columns {
    /// These rows, which ascend, as if there were no others. `number` says which number each signal has there.
    pub(crate) fn gather(&self, rows: &[u32], number: impl Fn(u32) -> u32) -> Self {
        let mut gathered = Self::with_capacity(rows.len());
        for row in rows.iter().map(|row| *row as usize) {
            gathered.signal.push(number(self.signal[row]));
            gathered.event_time.push(self.event_time[row]);
            let (kind, bits) = gathered.take_value(self.value(row));
            gathered.kind.push(kind);
            gathered.bits.push(bits);
        }
        gathered.ingest_time = self.ingest_time.pick(rows);
        gathered.quality = self.quality.pick(rows);
        let mut places = vec![None; self.sources.len()];
        for (row, source) in self.source.pick(rows).runs() {
            let place = *places[source as usize].get_or_insert_with(|| {
                gathered.sources.push(self.sources[source as usize].clone());
                gathered.sources.len() as u32 - 1
            });
            gathered.source.push(row, place);
        }
        for (row, trace) in self.trace.pick(rows).runs() {
            gathered.push_trace(row, &self.traces[trace as usize]);
        }
        let attributes = (0..).zip(rows).filter_map(|(place, row)| {
            let attributes = self.attributes_of(*row as usize)?;
            Some((place, attributes.clone()))
        });
        gathered.attributes = attributes.collect();
        gathered
    }
}
