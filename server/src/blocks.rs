//! Blocks of the log at hand, for those who come back to where they have been, or go on event by event.

use std::collections::VecDeque;
use std::sync::Arc;

use downlink_storage::{Block, Chunk, Error, EventRef, Log, Offset};

/// A log that is read at any place.
pub(crate) struct Blocks {
    log: Log,
    /// The one that was used last is the last.
    at_hand: VecDeque<Arc<Block>>,
    blocks_max: usize,
}

impl Blocks {
    /// None at hand yet; at most so many.
    pub(crate) const fn of(log: Log, blocks_max: usize) -> Self {
        Self { log, at_hand: VecDeque::new(), blocks_max }
    }

    /// As [`Log::read`]: the block with an offset, or that there is none.
    pub(crate) fn read(&mut self, offset: Offset) -> Result<Chunk, Error> {
        let has = |block: &Arc<Block>| (block.first_offset()..block.end_offset()).contains(&offset);
        let at_hand = self.at_hand.iter().rposition(has).and_then(|place| self.at_hand.remove(place));
        let chunk = match at_hand {
            Some(block) => Chunk::Block(block),
            None => self.log.read(offset, None)?,
        };
        if let Chunk::Block(block) = &chunk {
            if self.at_hand.len() >= self.blocks_max {
                self.at_hand.pop_front();
            }
            self.at_hand.push_back(block.clone());
        }
        Ok(chunk)
    }
}

/// The event of a block that has it.
pub(crate) fn event_at(block: &Block, offset: Offset) -> EventRef<'_> {
    block.event(usize::try_from(offset.since(block.first_offset())).expect("a block fits memory"))
}
