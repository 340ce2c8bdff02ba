//! Time to block and signal to block, for one segment. Derived: made from the headers of the blocks themselves.

use std::collections::HashMap;
use std::ops::Range;

use crate::block::{BlockSignal, Summary};
use crate::bytes::{Fault, Reader, Writer};
use crate::event::{Offset, SignalId, Timestamp};
use crate::keys::FORMAT_VERSION;

/// The blocks of a segment, in order, and which of them hold which signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SegmentIndex {
    blocks: Vec<Summary>,
    /// For each signal, ascending positions in `blocks`.
    postings: HashMap<SignalId, Vec<u32>>,
    payload_bytes: u64,
    /// The latest event time.
    event_time_last: Option<Timestamp>,
}

impl SegmentIndex {
    /// Takes note of the next block, whose stored value has `stored_bytes`.
    pub(crate) fn push(&mut self, summary: Summary, signals: &[BlockSignal], stored_bytes: usize) {
        let position = self.blocks.len() as u32;
        self.list(summary);
        for signal in signals {
            self.postings.entry(signal.id).or_default().push(position);
        }
        self.payload_bytes += stored_bytes as u64;
    }

    fn list(&mut self, block: Summary) {
        self.event_time_last = self.event_time_last.max(Some(block.event_time_max));
        self.blocks.push(block);
    }

    /// The latest event time.
    pub(crate) fn event_time_last(&self) -> Option<Timestamp> {
        self.event_time_last
    }

    /// Where the last block ends.
    pub(crate) fn end(&self) -> Option<Offset> {
        self.blocks.last().map(|block| block.first_offset.plus(block.events))
    }

    /// The blocks, in order.
    pub(crate) fn blocks(&self) -> &[Summary] {
        &self.blocks
    }

    /// The blocks that have events with these offsets, in order.
    pub(crate) fn blocks_within(&self, offsets: &Range<Offset>) -> &[Summary] {
        let end = self.blocks.partition_point(|block| block.first_offset < offsets.end);
        &self.blocks[self.position_of(offsets.start).min(end)..end]
    }

    /// Those of them that hold one of the signals, in order.
    pub(crate) fn holding(&self, signals: &[SignalId], offsets: &Range<Offset>) -> Vec<Summary> {
        let start = self.position_of(offsets.start);
        let end = start + self.blocks_within(offsets).len();
        let mut positions = Vec::new();
        for listed in signals.iter().filter_map(|signal| self.postings.get(signal)) {
            let place = |bound: usize| listed.partition_point(|position| (*position as usize) < bound);
            positions.extend_from_slice(&listed[place(start)..place(end)]);
        }
        positions.sort_unstable();
        positions.dedup();
        positions.into_iter().map(|position| self.blocks[position as usize]).collect()
    }

    /// Bytes of the stored blocks.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// The position of the first block that ends after `offset`.
    pub(crate) fn position_of(&self, offset: Offset) -> usize {
        self.blocks.partition_point(|block| block.first_offset.plus(block.events) <= offset)
    }

    /// The first offset at or after `from` that may matter to a reader of `signals`: in a block that holds one of
    /// them, or missing altogether.
    pub(crate) fn next_with(&self, from: Offset, signals: &[SignalId]) -> Option<Offset> {
        let start = self.position_of(from);
        let listed = signals.iter().filter_map(|signal| {
            let positions = self.postings.get(signal)?;
            positions.get(positions.partition_point(|position| (*position as usize) < start)).copied()
        });
        let listed = listed.min().map(|position| self.blocks[position as usize].first_offset.max(from));
        listed.into_iter().chain(self.next_hole(from, start, listed)).min()
    }

    /// Where what may matter to a reader of `signals` ends, not beyond `before` and after `first`, where the
    /// segment begins: with a block that holds one of them, or where offsets are missing altogether.
    pub(crate) fn last_with(&self, first: Offset, before: Offset, signals: &[SignalId]) -> Option<Offset> {
        let end = self.blocks.partition_point(|block| block.first_offset < before);
        let listed = signals.iter().filter_map(|signal| {
            let positions = self.postings.get(signal)?;
            positions[..positions.partition_point(|position| (*position as usize) < end)].last().copied()
        });
        let listed = listed.max().map(|position| self.block_end(position as usize).min(before));
        listed.into_iter().chain(self.last_hole((first, before), end, listed)).max()
    }

    /// Where the last missing offsets in this range and after `from` end; `end` blocks begin before its end.
    fn last_hole(
        &self,
        (first, before): (Offset, Offset),
        end: usize,
        from: Option<Offset>,
    ) -> Option<Offset> {
        let mut expected = before;
        for (position, block) in self.blocks[..end].iter().enumerate().rev() {
            if from.is_some_and(|from| expected <= from) {
                return None;
            }
            if self.block_end(position) < expected {
                return Some(expected);
            }
            expected = block.first_offset;
        }
        (from.is_none() && expected > first).then_some(expected)
    }

    /// Where offsets begin to be missing, if they are missing at `offset`; the first of all if none is known
    /// before it.
    pub(crate) fn hole_at(&self, offset: Offset) -> Offset {
        let after = self.blocks.partition_point(|block| block.first_offset <= offset);
        let Some(position) = after.checked_sub(1) else { return Offset::FIRST };
        let (begin, end) = (self.blocks[position].first_offset, self.block_end(position));
        if end > offset { begin } else { end }
    }

    fn block_end(&self, position: usize) -> Offset {
        self.blocks[position].first_offset.plus(self.blocks[position].events)
    }

    /// The first missing offset at or after `from` and before `until`.
    fn next_hole(&self, from: Offset, start: usize, until: Option<Offset>) -> Option<Offset> {
        let mut expected = from;
        for block in &self.blocks[start..] {
            if until.is_some_and(|until| expected >= until) {
                return None;
            }
            if block.first_offset > expected {
                return Some(expected);
            }
            expected = block.first_offset.plus(block.events);
        }
        None
    }

    /// The first block from `from` on that holds an event ingested at or after `time`.
    pub(crate) fn at_ingest_time(&self, from: Offset, time: Timestamp) -> Option<&Summary> {
        let blocks = &self.blocks[self.position_of(from)..];
        blocks.get(blocks.partition_point(|block| block.ingest_time_last < time))
    }

    /// The first block from `from` on that holds an event with an event time at or after `time`.
    pub(crate) fn at_event_time(&self, from: Offset, time: Timestamp) -> Option<&Summary> {
        self.blocks[self.position_of(from)..].iter().find(|block| block.event_time_max >= time)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(FORMAT_VERSION);
        writer.u64(self.payload_bytes).u64(self.blocks.len() as u64);
        for block in &self.blocks {
            writer.u64(block.first_offset.get()).u64(block.events);
            writer.time(block.event_time_min).time(block.event_time_max);
            writer.time(block.ingest_time_first).time(block.ingest_time_last);
        }
        let mut signals: Vec<_> = self.postings.iter().collect();
        signals.sort_by_key(|(signal, _)| **signal);
        writer.u64(signals.len() as u64);
        for (signal, positions) in signals {
            writer.u64(u64::from(signal.0)).u64(positions.len() as u64);
            let mut before = 0;
            for position in positions {
                writer.u64(u64::from(position - before));
                before = *position;
            }
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes, FORMAT_VERSION)?;
        let mut index = Self { payload_bytes: reader.u64()?, ..Self::default() };
        for _ in 0..reader.count()? {
            index.list(Summary {
                first_offset: reader.offset()?,
                events: reader.u64()?,
                event_time_min: reader.time()?,
                event_time_max: reader.time()?,
                ingest_time_first: reader.time()?,
                ingest_time_last: reader.time()?,
            });
        }
        for _ in 0..reader.count()? {
            let signal = SignalId(reader.u32()?);
            let mut positions = Vec::new();
            let mut before = 0_u32;
            for _ in 0..reader.count()? {
                before = before.checked_add(reader.u32()?).ok_or(Fault::Malformed)?;
                if before as usize >= index.blocks.len() {
                    return Err(Fault::Malformed);
                }
                positions.push(before);
            }
            index.postings.insert(signal, positions);
        }
        Ok(index)
    }
}
