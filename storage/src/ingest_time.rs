//! When the log took an event in: from the index where that is enough, else from its block.

use crate::error::Error;
use crate::event::{Offset, Timestamp};
use crate::segment::{Found, Segment};
use crate::shared::Shared;

/// Ingest time of the first event at or after `from`; `None` at the head. Where that event is damaged, the time at
/// which its block begins, as the index knows it, or else of what can be read behind it.
pub(crate) fn ingest_time(shared: &Shared, from: Offset) -> Result<Option<Timestamp>, Error> {
    let mut from = from.max(shared.segments.oldest());
    while from < shared.head() {
        if let Some(block) = shared.cached(from) {
            let row = usize::try_from(from.since(block.first_offset())).expect("a row of a block in memory");
            return Ok(Some(block.event(row).ingest_time));
        }
        let Some((entry, end)) = shared.segments.locate(from) else { return Ok(None) };
        let time = match shared.segments.open(entry) {
            Ok(segment) => in_segment(&segment, from)?,
            Err(Error::Damaged(_)) => None,
            Err(error) => return Err(error),
        };
        match (time, end) {
            (None, Some(end)) => from = end,
            (time, _) => return Ok(time),
        }
    }
    Ok(None)
}

fn in_segment(segment: &Segment, from: Offset) -> Result<Option<Timestamp>, Error> {
    let block = {
        let index = segment.index();
        index.blocks().get(index.position_of(from)).copied()
    };
    let Some(block) = block else { return Ok(None) };
    if from <= block.first_offset || block.ingest_time_first == block.ingest_time_last {
        return Ok(Some(block.ingest_time_first));
    }
    let end = block.first_offset.plus(block.events);
    let found = match segment.read(from, end)? {
        Found::Block(block) => {
            block.events().find(|event| event.offset >= from).map(|event| event.ingest_time)
        }
        Found::Missing { .. } => None,
    };
    Ok(Some(found.unwrap_or(block.ingest_time_first)))
}
