//! Reads what the log holds from disk, from one end of a range to the other, and compares it with what is kept of its hash.

use std::sync::Arc;

use crate::block::{Block, Part};
use crate::chain::{Chain, Hashed, end_of, link_of};
use crate::error::Error;
use crate::event::Offset;
use crate::read::{self, Chunk};
use crate::shared::Shared;

/// A verification under way.
pub struct Verification {
    shared: Arc<Shared>,
    next: Offset,
    end: Offset,
    block: Option<Arc<Block>>,
    /// The hash of what was read; `None` while what came before is not known.
    chain: Option<Chain>,
    /// Whether the chain is that of all events from the oldest on, as they were read.
    is_whole: bool,
    /// How far the log was hashed when this began.
    known: Option<Hashed>,
}

/// What a step of a verification has come to: it is about the offsets from `first` on, below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The first of them.
    pub first: Offset,
    /// The first after them.
    pub end: Offset,
    /// What is to be said of them.
    pub outcome: Outcome,
    /// Bytes of memory that they came to.
    pub bytes: usize,
}

/// What is to be said of some offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Their events were read.
    Whole,
    /// Their events are lost to damage, or are there twice and not the same.
    Damaged,
    /// Their events were read, but those from here on are not what was hashed when they had come, or the hash that was kept of
    /// them is not what it was.
    Changed {
        /// The first offset whose event it may be.
        since: Offset,
    },
}

impl Verification {
    /// Of the offsets from `first` on, below `end`.
    pub(crate) fn new(shared: Arc<Shared>, first: Offset, end: Offset) -> Result<Self, Error> {
        let (oldest, head) = (shared.segments.oldest(), shared.head());
        if let Some(offset) = [first, end].into_iter().find(|offset| *offset > head) {
            return Err(Error::BeyondHead { offset, head });
        }
        if first < oldest {
            return Err(Error::Truncated { offset: first, oldest });
        }
        let (known, is_whole) = (shared.chain.hashed(), first == oldest);
        let mut new = Self { shared, next: first, end, block: None, chain: None, is_whole, known };
        new.chain = if is_whole { Some(Chain::new(first)) } else { new.resumed(first) };
        Ok(new)
    }

    /// Everything below this has been dealt with.
    #[must_use]
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// The hash of all events that were read, if they are all from the oldest on, and none is damaged or changed.
    pub fn hashed(&mut self) -> Option<Hashed> {
        self.chain.as_mut().filter(|_| self.is_whole).map(Chain::hashed)
    }

    /// Goes on, for no more than a link of the chain; `None` at the end. Blocks on the disk.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn step(&mut self) -> Result<Option<Verified>, Error> {
        let first = self.next;
        if first >= self.end {
            return Ok(None);
        }
        let block = match self.block.take().filter(|block| block.end_offset() > first) {
            Some(block) => block,
            None => match read::stored(&self.shared, first, Part::Compared)? {
                Chunk::Block(block) => block,
                Chunk::Gap { end, .. } | Chunk::Skipped { end } => {
                    (self.chain, self.is_whole) = (None, false);
                    self.next = end.min(self.end);
                    let outcome = Outcome::Damaged;
                    return Ok(Some(Verified { first, end: self.next, outcome, bytes: 0 }));
                }
                Chunk::Head => return Ok(None),
            },
        };
        let end = self.next_stop().min(block.end_offset());
        let outcome = self.take(&block, end);
        let bytes = block.memory_bytes() / block.len() * end.since(first) as usize;
        (self.next, self.block) = (end, Some(block));
        Ok(Some(Verified { first, end, outcome, bytes }))
    }

    /// Where the hash may be known, or the range ends.
    fn next_stop(&self) -> Offset {
        let known = self.known.map(|known| known.end).filter(|end| *end > self.next);
        known.into_iter().fold(end_of(link_of(self.next)).min(self.end), Offset::min)
    }

    /// Takes the events in that come next, and compares.
    fn take(&mut self, block: &Block, end: Offset) -> Outcome {
        if let Some(chain) = &mut self.chain {
            chain.take(block, end, |_, _| ());
        }
        let Some(expected) = self.expected(end) else { return Outcome::Whole };
        match self.chain.as_mut().map(Chain::hashed) {
            Some(found) if found == expected => Outcome::Whole,
            Some(_) => {
                (self.chain, self.is_whole) = (self.resumed(end), false);
                let link = link_of(end.minus(1));
                Outcome::Changed { since: end_of(link - 1).max(self.shared.segments.oldest()) }
            }
            None => {
                self.chain = self.resumed(end);
                Outcome::Whole
            }
        }
    }

    /// The chain from `place` on, if a link ends there whose hash is known.
    fn resumed(&self, place: Offset) -> Option<Chain> {
        let link = link_of(place) - 1;
        let expected = self.expected(place).filter(|_| end_of(link) == place)?;
        Some(Chain::after(link, expected.digest))
    }

    /// The hash of all events below `end` as it was found when they had come.
    fn expected(&self, end: Offset) -> Option<Hashed> {
        let known = self.known.filter(|known| known.end >= end)?;
        if known.end == end {
            return Some(known);
        }
        let link = link_of(end.minus(1));
        let digest = (end == end_of(link)).then(|| self.shared.chain.links.get(link)).flatten()?;
        Some(Hashed { end, digest })
    }
}
