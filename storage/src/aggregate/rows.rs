//! The events of some times, in their order, out of blocks in the order of the log. Bounded in memory whatever the order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::aggregate::spans::{Cut, times_of};
use crate::block::{Block, Summary};
use crate::error::Error;
use crate::event::{Offset, SignalId, Timestamp};
use crate::read::{self, Chunk};
use crate::rollup::Sample;
use crate::rollup::units::{Fold, Holes, Times, for_rows, sample};
use crate::shared::Shared;

/// Events that wait for earlier ones. With more, the later half is read again when it is their turn.
const ROWS_MAX: usize = 65_536;

/// Finds blocks, one segment at a time.
pub(crate) struct Finder {
    ranges: VecDeque<Range<Offset>>,
    holes: Holes,
    found: Vec<Summary>,
}

/// Reads the blocks that were found; a block that was sealed meanwhile is another one.
#[derive(Default)]
pub(crate) struct BlockReader {
    block: Option<Arc<Block>>,
    pub(crate) lost: Vec<Times>,
}

/// An event that waits.
struct Row {
    time: Timestamp,
    offset: Offset,
    slot: usize,
    sample: Sample,
}

/// The way through the blocks.
pub(crate) struct Rows {
    cut: Cut,
    signals: Vec<SignalId>,
    slots: Fold,
    finder: Finder,
    /// By their earliest event time.
    blocks: Option<Vec<Summary>>,
    next: usize,
    reader: BlockReader,
    waiting: Vec<Row>,
    /// Events before this are done with.
    resume: Option<(Timestamp, Offset)>,
    /// Events from here on are for the next round.
    limit: Option<(Timestamp, Offset)>,
}

impl Finder {
    pub(crate) fn new(ranges: impl IntoIterator<Item = Range<Offset>>) -> Self {
        let ranges = ranges.into_iter().filter(|range| range.start < range.end).collect();
        Self { ranges, holes: Holes::default(), found: Vec::new() }
    }

    /// Looks into the next segment; `true` when there are no more. Keeps blocks that hold one of the signals, if any
    /// are named, and are wanted.
    pub(crate) fn step(
        &mut self,
        shared: &Shared,
        signals: Option<&[SignalId]>,
        wants: impl Fn(&Summary) -> bool,
    ) -> Result<bool, Error> {
        let Some(range) = self.ranges.front_mut() else { return Ok(true) };
        let Some((entry, end)) = shared.segments.locate(range.start) else {
            self.ranges.pop_front();
            return Ok(false);
        };
        let part = range.start..end.unwrap_or(range.end).min(range.end);
        range.start = part.end;
        if range.start >= range.end {
            self.ranges.pop_front();
        }
        let segment = match shared.segments.open(entry) {
            Ok(segment) => segment,
            Err(Error::Damaged(error)) => {
                tracing::warn!(segment = %entry.first, error, "damaged segment");
                self.holes.gap();
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let index = segment.index();
        let mut expected = part.start;
        for block in index.blocks_within(&part) {
            if block.first_offset > expected {
                self.holes.gap();
            }
            self.holes.pass(block);
            expected = block.first_offset.plus(block.events);
        }
        if expected < part.end {
            self.holes.gap();
        }
        let blocks = match signals {
            Some(signals) => index.holding(signals, &part),
            None => index.blocks_within(&part).to_vec(),
        };
        for block in blocks.into_iter().filter(|block| wants(block)) {
            // Only what is of this range: the rest is accounted for elsewhere.
            let first = block.first_offset.max(part.start);
            let end = block.first_offset.plus(block.events).min(part.end);
            self.found.push(Summary { first_offset: first, events: end.since(first), ..block });
        }
        Ok(false)
    }

    pub(crate) fn take(&mut self) -> Vec<Summary> {
        std::mem::take(&mut self.found)
    }

    pub(crate) fn holes(&self) -> impl Iterator<Item = Times> {
        self.holes.iter()
    }
}

impl BlockReader {
    /// Visits what holds the events of `wanted`.
    pub(crate) fn read(
        &mut self,
        shared: &Shared,
        wanted: &Summary,
        mut visit: impl FnMut(&Block, Range<Offset>),
    ) -> Result<(), Error> {
        let (mut from, end) = (wanted.first_offset, wanted.first_offset.plus(wanted.events));
        while from < end {
            let held =
                self.block.take().filter(|held| held.first_offset() <= from && held.end_offset() > from);
            let block = match held {
                Some(block) => block,
                None => match read::read(shared, from, None)? {
                    Chunk::Block(block) => block,
                    Chunk::Gap { end: gap, .. } | Chunk::Skipped { end: gap } => {
                        self.lost.push(times_of(wanted));
                        from = gap;
                        continue;
                    }
                    Chunk::Head => return Ok(()),
                },
            };
            let until = block.end_offset().min(end);
            visit(&block, from..until);
            from = until;
            self.block = Some(block);
        }
        Ok(())
    }
}

impl Rows {
    /// Of the signals' events in `ranges` whose times are cut out.
    pub(crate) fn new(cut: Cut, signals: Vec<SignalId>, ranges: Vec<Range<Offset>>) -> Self {
        Self {
            slots: Fold::of(&signals),
            finder: Finder::new(ranges),
            cut,
            signals,
            blocks: None,
            next: 0,
            reader: BlockReader::default(),
            waiting: Vec::new(),
            resume: None,
            limit: None,
        }
    }

    /// Reads on, giving each event to `visit` when no earlier one can come; `true` when there are no more.
    pub(crate) fn step(
        &mut self,
        shared: &Shared,
        visit: &mut dyn FnMut(usize, Timestamp, Sample),
    ) -> Result<bool, Error> {
        let Some(blocks) = &mut self.blocks else {
            let cut = &self.cut;
            if self.finder.step(shared, Some(&self.signals), |block| cut.touches(times_of(block)))? {
                let mut blocks = self.finder.take();
                blocks.sort_by_key(|block| (block.event_time_min, block.first_offset));
                self.blocks = Some(blocks);
            }
            return Ok(false);
        };
        if let Some(block) = blocks.get(self.next) {
            let (cut, waiting) = (&self.cut, &mut self.waiting);
            let (resume, limit, slots) = (self.resume, self.limit, &self.slots);
            self.reader.read(shared, block, |block, offsets| {
                for_rows(block, offsets, &slots.slots_of(block), |slot, row| {
                    let time = block.columns.event_time[row];
                    let offset = block.first_offset().plus(row as u64);
                    let is_now = resume.is_none_or(|resume| (time, offset) >= resume)
                        && limit.is_none_or(|limit| (time, offset) < limit);
                    if is_now && cut.wants(time) {
                        waiting.push(Row { time, offset, slot, sample: sample(block, row) });
                    }
                });
            })?;
            self.next += 1;
        }
        let due = blocks.get(self.next).map(|block| block.event_time_min);
        let is_over = due.is_none_or(|due| self.limit.is_some_and(|(limit, _)| due > limit));
        self.release(due.filter(|_| !is_over), visit);
        if !is_over {
            self.bound();
            return Ok(false);
        }
        self.next = 0;
        self.resume = self.limit.take();
        let Some((resume, _)) = self.resume else { return Ok(true) };
        if let Some(blocks) = &mut self.blocks {
            blocks.retain(|block| block.event_time_max >= resume);
        }
        Ok(false)
    }

    /// Gives away what lies before `due`.
    fn release(&mut self, due: Option<Timestamp>, visit: &mut dyn FnMut(usize, Timestamp, Sample)) {
        self.waiting.sort_unstable_by_key(|row| (row.time, row.offset));
        let ready = due.map_or(self.waiting.len(), |due| self.waiting.partition_point(|row| row.time < due));
        for row in self.waiting.drain(..ready) {
            visit(row.slot, row.time, row.sample);
        }
    }

    /// Lets go of the later half of too many. They are in their order.
    fn bound(&mut self) {
        if self.waiting.len() > ROWS_MAX {
            let first = &self.waiting[ROWS_MAX / 2];
            self.limit = Some((first.time, first.offset));
            self.waiting.truncate(ROWS_MAX / 2);
        }
    }

    /// Times in which events are missing.
    pub(crate) fn incomplete(&self) -> Vec<Times> {
        self.finder
            .holes()
            .filter(|hole| self.cut.touches(*hole))
            .chain(self.reader.lost.iter().copied())
            .collect()
    }
}
