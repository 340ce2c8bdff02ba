//! Finds the offsets of batches that were settled long ago, away from the writer: a late retry slows nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use crate::api::{Appended, Identity};
use crate::block::{BatchRecord, Block};
use crate::done::Done;
use crate::error::Error;
use crate::producer::Span;
use crate::read::{self, Chunk};
use crate::shared::Shared;

/// How many late retries may wait to be looked up.
pub(crate) const QUEUE_MAX: usize = 64;

/// A batch to look up.
pub(crate) struct Lookup {
    producer: Arc<str>,
    epoch: u64,
    sequence: u64,
    events: u64,
    done: Done<Appended>,
}

/// Queues a lookup; `Overloaded` if too many wait already.
pub(crate) fn request(queue: &SyncSender<Lookup>, identity: Identity, events: u64, done: Done<Appended>) {
    let Identity::Producer { id, epoch, sequence, .. } = identity else {
        return done.give(Err(Error::Closed));
    };
    match queue.try_send(Lookup { producer: id, epoch, sequence, events, done }) {
        Ok(()) => {}
        Err(TrySendError::Full(lookup)) => {
            lookup.done.give(Err(Error::Overloaded { waiting: QUEUE_MAX as u64 }))
        }
        Err(TrySendError::Disconnected(lookup)) => lookup.done.give(Err(Error::Closed)),
    }
}

/// Answers lookups until the queue is closed.
pub(crate) fn run(shared: &Shared, queue: Receiver<Lookup>) {
    while let Ok(lookup) = queue.recv() {
        let found = find(shared, &lookup).and_then(|span| match span {
            // A settled sequence without a record was an empty or refused batch: events under it now are others.
            None if lookup.events > 0 => {
                let (producer, found) = (lookup.producer.to_string(), lookup.sequence);
                Err(Error::SequenceGap { producer, expected: found + 1, found })
            }
            None | Some(_) => Ok(Appended::of(span, shared.head(), true)),
        });
        lookup.done.give(found);
    }
}

fn find(shared: &Shared, lookup: &Lookup) -> Result<Option<Span>, Error> {
    let mut from = shared.segments.oldest();
    while from < shared.head() {
        if shared.closing.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        from = match read::read(shared, from, None)? {
            Chunk::Block(block) => match record(&block, lookup) {
                Some(record) if record.producer.sequence == lookup.sequence => {
                    return Ok(Some(Span { first: record.first_offset, events: record.events }));
                }
                // The producer's sequences ascend: beyond it there is nothing to find.
                Some(_) => return Ok(None),
                None => block.end_offset(),
            },
            Chunk::Gap { end, .. } | Chunk::Skipped { end } => end,
            Chunk::Head => return Ok(None),
        };
    }
    Ok(None)
}

/// The first of the producer's batches in the block that is not before the one looked for.
fn record<'a>(block: &'a Block, lookup: &Lookup) -> Option<&'a BatchRecord> {
    block.batches().iter().find(|record| {
        let stamp = &record.producer;
        *stamp.id == *lookup.producer && stamp.epoch == lookup.epoch && stamp.sequence >= lookup.sequence
    })
}
