//! Reads the log for callers: bounded pieces of what they want, from memory where possible, else from disk.

pub(crate) mod filter;

use std::ops::ControlFlow;
use std::sync::Arc;

use downlink_storage::{Block, Chunk, Error, EventRef, Log, Offset, SignalId, ValueRef};
use filter::Filter;

use crate::follow::Missing;

/// How much one piece may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PieceMax {
    /// Events.
    pub(crate) events: usize,
    /// Bytes, about; a single larger event goes alone.
    pub(crate) bytes: usize,
}

/// What reading on has found. Everything up to `end` is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So many events, given to the visitor.
    Events {
        /// How many.
        matched: u64,
        /// The offset after what has been looked at.
        end: Offset,
    },
    /// Offsets that cannot be read.
    Gap {
        /// The first of them.
        first: Offset,
        /// The offset after the last of them.
        end: Offset,
        /// Why.
        reason: Missing,
    },
}

/// One reader's way through the log.
pub(crate) struct Scan {
    log: Log,
    filter: Filter,
    block: Option<Arc<Block>>,
    narrowed: Option<Narrowed>,
}

/// The signals wanted, by number, as of a moment: complete for everything below `head`.
struct Narrowed {
    head: Offset,
    signals: Vec<SignalId>,
}

impl Scan {
    /// What `filter` wants of `log`.
    #[must_use]
    pub(crate) const fn new(log: Log, filter: Filter) -> Self {
        Self { log, filter, block: None, narrowed: None }
    }

    /// Whether what comes at `from` is in memory, so that [`Self::read`] will not block.
    pub(crate) fn is_cached(&mut self, from: Offset) -> bool {
        if self.block_at(from).is_none() {
            self.block = self.log.read_cached(from);
        }
        self.block_at(from).is_some()
    }

    /// Reads on from `from`, not beyond `until` and for at most `most`, giving each event that is wanted to `visit`; blocks on the disk
    /// unless [`Self::is_cached`]. `visit` says about how many bytes the event makes.
    ///
    /// # Errors
    /// The log's.
    pub(crate) fn read(
        &mut self,
        from: Offset,
        until: Offset,
        most: PieceMax,
        visit: &mut dyn FnMut(&EventRef<'_>) -> usize,
    ) -> Result<Found, Error> {
        assert!(from < until, "nothing to read from {from} to {until}");
        let mut until = until;
        if !self.is_cached(from) {
            self.narrow(from);
            // Beyond that head the signals looked for may not be all.
            until = self.narrowed.as_ref().map_or(until, |narrowed| until.min(narrowed.head));
            match self.fetch(from, until)? {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(found) => return Ok(found),
            }
        }
        let Some(block) = self.block.clone() else { return Ok(Found::Events { matched: 0, end: until }) };
        // What lies before the block has nothing that is wanted.
        let from = from.max(block.first_offset());
        if from >= until {
            return Ok(Found::Events { matched: 0, end: until });
        }
        Ok(self.collect(&block, from, until, most, visit))
    }

    /// Gives what is wanted of `block` to `visit` until the piece is full.
    fn collect(
        &mut self,
        block: &Block,
        from: Offset,
        until: Offset,
        most: PieceMax,
        visit: &mut dyn FnMut(&EventRef<'_>) -> usize,
    ) -> Found {
        let row = |offset: Offset| usize::try_from(offset.since(block.first_offset())).unwrap_or(usize::MAX);
        let last = row(until.min(block.end_offset()));
        let (mut next, mut events, mut bytes) = (row(from), 0, 0);
        while next < last && events < most.events && bytes < most.bytes {
            let event = block.event(next);
            if self.filter.wants(&event) {
                // A large event does not join others.
                if events > 0 && bytes + value_bytes(event.value) > most.bytes {
                    break;
                }
                bytes += visit(&event);
                events += 1;
            }
            next += 1;
        }
        let end = block.first_offset().plus(next as u64);
        Found::Events { matched: events as u64, end }
    }

    fn block_at(&self, offset: Offset) -> Option<&Arc<Block>> {
        self.block.as_ref().filter(|block| (block.first_offset()..block.end_offset()).contains(&offset))
    }

    /// Gets the next block from disk, or says what there is instead.
    fn fetch(&mut self, from: Offset, until: Offset) -> Result<ControlFlow<Found>, Error> {
        let signals = self.narrowed.as_ref().map(|narrowed| narrowed.signals.as_slice());
        let nothing = |end: Offset| ControlFlow::Break(Found::Events { matched: 0, end: end.min(until) });
        Ok(match self.log.read(from, signals)? {
            Chunk::Block(block) => {
                self.block = Some(block);
                ControlFlow::Continue(())
            }
            Chunk::Gap { first, .. } if first >= until => nothing(until),
            Chunk::Gap { first, end } => {
                let (first, end) = (first.max(from), end.min(until));
                ControlFlow::Break(Found::Gap { first, end, reason: Missing::Damage })
            }
            Chunk::Skipped { end } => nothing(end),
            Chunk::Head => nothing(from),
        })
    }

    /// Finds out which signals are wanted, so that blocks without them need not be read.
    fn narrow(&mut self, from: Offset) {
        if self.filter.names.is_everything()
            || self.narrowed.as_ref().is_some_and(|narrowed| from < narrowed.head)
        {
            return;
        }
        // The head first: whatever signal is below it is known by the time they are listed.
        let head = self.log.head();
        let signals = self.log.match_signals(|name| self.filter.names.wants(name));
        self.narrowed = Some(Narrowed { head, signals });
    }
}

/// How long a value is, where that varies.
pub(crate) const fn value_bytes(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Double(_) | ValueRef::Int(_) | ValueRef::Bool(_) => 8,
        ValueRef::String(text) => text.len(),
        ValueRef::Bytes(bytes) => bytes.len(),
    }
}
