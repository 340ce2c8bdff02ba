//! From an offset to the next piece of the log, or the one before: a block, a gap, or the head.

use std::sync::Arc;

use crate::block::{Block, Part};
use crate::error::Error;
use crate::event::{Offset, SignalId, Timestamp};
use crate::segment::{Found, Segment};
use crate::segments::Entry;
use crate::shared::Shared;

/// The next piece of the log.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// Events; the block contains the offset asked for or, for a reader of some signals, the next that matters to
    /// it in its direction. Of other signals than those it may lack events.
    Block(Arc<Block>),
    /// Events that are lost to damage.
    Gap {
        /// The first.
        first: Offset,
        /// The first after them.
        end: Offset,
    },
    /// No event of the signals asked for lies between the place asked for and this one.
    Skipped {
        /// Where to go on.
        end: Offset,
    },
    /// There is nothing yet.
    Head,
}

/// The piece at `from`; with `signals`, the next piece that holds one of them.
pub(crate) fn read(shared: &Shared, from: Offset, signals: Option<&[SignalId]>) -> Result<Chunk, Error> {
    let head = shared.head();
    if from >= head {
        return if from == head { Ok(Chunk::Head) } else { Err(Error::BeyondHead { offset: from, head }) };
    }
    match shared.cached(from) {
        Some(block) => Ok(Chunk::Block(block)),
        None => stored(shared, from, signals.map_or(Part::Whole, Part::Signals)),
    }
}

/// The same from disk, also where it is in memory.
pub(crate) fn stored(shared: &Shared, from: Offset, part: Part<'_>) -> Result<Chunk, Error> {
    let head = shared.head();
    let Some((entry, end)) = shared.segments.locate(from) else {
        let oldest = shared.segments.oldest();
        return if from < oldest {
            Err(Error::Truncated { offset: from, oldest })
        } else {
            // The oldest segments are missing, or all.
            let end = shared.segments.next_after(from).unwrap_or(head).min(head);
            Ok(Chunk::Gap { first: from, end })
        };
    };
    let end = end.unwrap_or(head).min(head);
    let Some(segment) = open(shared, entry)? else { return Ok(Chunk::Gap { first: from, end }) };
    let wanted = match part {
        Part::Signals(signals) => match next_wanted(&segment, from, signals, end) {
            Ok(next) => next,
            Err(nothing) => return Ok(nothing),
        },
        Part::Whole | Part::Compared => from,
    };
    match segment.read_part(wanted, end, part)? {
        Found::Block(block) => Ok(Chunk::Block(block)),
        Found::Missing { end, .. } => Ok(Chunk::Gap { first: wanted, end }),
    }
}

/// The piece that ends at `before`, which lies above the oldest offset; with `signals`, the last piece before it that
/// holds one of them.
pub(crate) fn read_back(
    shared: &Shared,
    before: Offset,
    signals: Option<&[SignalId]>,
) -> Result<Chunk, Error> {
    let (oldest, head) = (shared.segments.oldest(), shared.head());
    if before > head {
        return Err(Error::BeyondHead { offset: before, head });
    }
    if before <= oldest {
        return Err(Error::Truncated { offset: before.minus(1), oldest });
    }
    let newest = before.minus(1);
    if let Some(block) = shared.cached(newest) {
        return Ok(Chunk::Block(block));
    }
    // Every segment is missing.
    let Some((entry, end)) = shared.segments.locate(newest) else {
        return Ok(Chunk::Gap { first: oldest, end: before });
    };
    let Some(segment) = open(shared, entry)? else {
        return Ok(Chunk::Gap { first: entry.first, end: before });
    };
    let wanted = match signals {
        Some(signals) => match segment.index().last_with(entry.first, before, signals) {
            Some(wanted) => wanted,
            None => return Ok(Chunk::Skipped { end: entry.first }),
        },
        None => before,
    };
    let part = signals.map_or(Part::Whole, Part::Signals);
    match segment.read_part(wanted.minus(1), end.unwrap_or(head).min(head), part)? {
        Found::Block(block) => Ok(Chunk::Block(block)),
        Found::Missing { first, .. } => Ok(Chunk::Gap { first, end: wanted }),
    }
}

/// The segment, unless it is damaged.
fn open(shared: &Shared, entry: Entry) -> Result<Option<Arc<Segment>>, Error> {
    match shared.segments.open(entry) {
        Ok(segment) => Ok(Some(segment)),
        Err(Error::Damaged(error)) => {
            tracing::warn!(segment = %entry.first, error, "damaged segment");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A moment to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The first event, by offset, whose event time is at or after this.
    EventTime(Timestamp),
    /// The first event, by offset, whose ingest time is at or after this.
    IngestTime(Timestamp),
}

/// The offset of a moment; the head when no event is that late. Damaged events are passed over.
pub(crate) fn seek(shared: &Shared, seek: Seek) -> Result<Offset, Error> {
    let head = shared.head();
    for entry in shared.segments.entries() {
        // What ends earlier need not be opened.
        let times = shared.segments.facts(entry).and_then(|facts| facts.times);
        let may_hold = times.is_some_and(|times| match seek {
            Seek::EventTime(time) => times.event_last >= time,
            Seek::IngestTime(time) => times.ingest_last >= time,
        });
        if !may_hold {
            continue;
        }
        let Ok(segment) = shared.segments.open(entry) else { continue };
        let mut from = entry.first;
        loop {
            let candidate = match seek {
                Seek::EventTime(time) => segment.index().at_event_time(from, time).copied(),
                Seek::IngestTime(time) => segment.index().at_ingest_time(from, time).copied(),
            };
            let Some(candidate) = candidate.filter(|block| block.first_offset < head) else { break };
            from = candidate.first_offset.plus(candidate.events);
            // What is damaged is passed over; what this version cannot read is not: the answer might be in it.
            let Found::Block(block) = segment.read(candidate.first_offset, from)? else { continue };
            let found = block.events().find(|event| match seek {
                Seek::EventTime(time) => event.event_time >= time,
                Seek::IngestTime(time) => event.ingest_time >= time,
            });
            if let Some(event) = found {
                return Ok(event.offset);
            }
        }
    }
    Ok(head)
}

/// Where in the segment the signals come next; an inner error says what there is instead. The index can vouch
/// for the absence of a signal as far as its last block: what may be missing behind that is a gap.
fn next_wanted(segment: &Segment, from: Offset, signals: &[SignalId], end: Offset) -> Result<Offset, Chunk> {
    let index = segment.index();
    match (index.next_with(from, signals), index.end()) {
        (Some(next), _) if next < end => Ok(next),
        (_, Some(known)) if known > from => Err(Chunk::Skipped { end: known.min(end) }),
        (_, Some(_) | None) => Err(Chunk::Gap { first: from, end }),
    }
}
