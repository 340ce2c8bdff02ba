//! Reads the log for callers: bounded pieces of what they want, from memory where possible, else from disk.

pub(crate) mod filter;
pub(crate) mod kept;
pub(crate) mod newest;

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
    /// Bytes of the value of an event that goes alone; before a larger one the piece ends.
    pub(crate) alone: usize,
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

/// How far a read may go for what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Memory only: it never blocks.
    Memory,
    /// The disk as well.
    Disk,
}

/// Rows looked at for one piece, wanted or not: what is searched in vain must not take for ever.
const ROWS_MAX: usize = 100_000;

/// A piece in the making.
struct Filling {
    next: Offset,
    matched: usize,
    bytes: usize,
    rows: usize,
    is_full: bool,
}

/// What there is at some offset.
enum Next {
    Block(Arc<Block>),
    /// Nothing that is wanted, up to here.
    Nothing {
        end: Offset,
    },
    Gap {
        first: Offset,
        end: Offset,
    },
    OutOfReach,
}

/// One reader's way through the log.
pub(crate) struct Scan {
    log: Log,
    filter: Filter,
    block: Option<Arc<Block>>,
    large: Option<usize>,
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
        Self { log, filter, block: None, large: None, narrowed: None }
    }

    /// Whether events are judged fast enough to do so on the runtime's threads.
    pub(crate) fn is_quick(&self) -> bool {
        self.filter.names.is_quick()
    }

    /// Gives the block back that it read last; it is found again if it is wanted.
    pub(crate) fn forget(&mut self) {
        self.block = None;
    }

    /// How large the value is, if the last piece ended before an event too large to go alone.
    pub(crate) const fn take_large(&mut self) -> Option<usize> {
        self.large.take()
    }

    /// Whether what comes at `from` is in memory, so that a read within memory finds something.
    pub(crate) fn is_cached(&mut self, from: Offset) -> bool {
        if self.held(from).is_none() {
            self.block = self.log.read_cached(from);
        }
        self.held(from).is_some()
    }

    /// Reads on from `from`, not beyond `until` and for at most `most`, giving each event that is wanted to
    /// `visit`, which says about how many bytes it makes. Blocks on the disk, if that is within reach.
    ///
    /// # Errors
    /// The log's.
    pub(crate) fn read(
        &mut self,
        (from, until): (Offset, Offset),
        most: PieceMax,
        reach: Reach,
        visit: &mut dyn FnMut(&EventRef<'_>) -> usize,
    ) -> Result<Found, Error> {
        assert!(from < until, "nothing to read from {from} to {until}");
        let mut piece = Filling { next: from, matched: 0, bytes: 0, rows: 0, is_full: false };
        while piece.next < until && !piece.is_full {
            let next = match self.fetch(piece.next, until, reach) {
                Ok(next) => next,
                // It will come again, when there is nothing before it.
                Err(_) if piece.next > from => break,
                Err(error) => return Err(error),
            };
            match next {
                Next::Block(block) => self.collect(&block, &mut piece, until, most, visit),
                Next::Nothing { end } => piece.next = end,
                Next::Gap { first, end } if piece.next == from => {
                    return Ok(Found::Gap { first, end, reason: Missing::Damage });
                }
                Next::Gap { .. } | Next::OutOfReach => break,
            }
        }
        assert!(piece.next > from || self.large.is_some(), "reading does not get beyond {from}");
        Ok(Found::Events { matched: piece.matched as u64, end: piece.next })
    }

    /// Gives what is wanted of `block` to `visit` until the piece is full.
    fn collect(
        &mut self,
        block: &Block,
        piece: &mut Filling,
        until: Offset,
        most: PieceMax,
        visit: &mut dyn FnMut(&EventRef<'_>) -> usize,
    ) {
        // What lies before the block has nothing that is wanted.
        let first = piece.next.max(block.first_offset()).min(until);
        let row = |offset: Offset| usize::try_from(offset.since(block.first_offset())).unwrap_or(usize::MAX);
        let (mut next, last) = (row(first), row(until.min(block.end_offset())));
        while next < last && !piece.is_full {
            let event = block.event(next);
            if self.filter.wants(&event) {
                if piece.matched == 0 && value_bytes(event.value) > most.alone {
                    self.large = Some(value_bytes(event.value));
                    piece.is_full = true;
                    break;
                }
                // A large event does not join others.
                if piece.matched > 0 && piece.bytes + value_bytes(event.value) > most.bytes {
                    piece.is_full = true;
                    break;
                }
                piece.bytes += visit(&event);
                piece.matched += 1;
            }
            next += 1;
            piece.rows += 1;
            piece.is_full =
                piece.matched == most.events || piece.bytes >= most.bytes || piece.rows == ROWS_MAX;
        }
        piece.next =
            if first < block.first_offset() { first } else { block.first_offset().plus(next as u64) };
    }

    fn held(&self, offset: Offset) -> Option<&Arc<Block>> {
        self.block.as_ref().filter(|block| (block.first_offset()..block.end_offset()).contains(&offset))
    }

    /// What there is at `from`.
    fn fetch(&mut self, from: Offset, until: Offset, reach: Reach) -> Result<Next, Error> {
        if self.is_cached(from)
            && let Some(block) = &self.block
        {
            return Ok(Next::Block(block.clone()));
        }
        if reach == Reach::Memory {
            return Ok(Next::OutOfReach);
        }
        self.narrow(from);
        // Beyond that head the signals looked for may not be all.
        let until = self.narrowed.as_ref().map_or(until, |narrowed| until.min(narrowed.head));
        let signals = self.narrowed.as_ref().map(|narrowed| narrowed.signals.as_slice());
        Ok(match self.log.read(from, signals)? {
            Chunk::Block(block) if block.first_offset() >= until => Next::Nothing { end: until },
            Chunk::Block(block) => {
                self.block = Some(block.clone());
                Next::Block(block)
            }
            Chunk::Gap { first, .. } if first >= until => Next::Nothing { end: until },
            Chunk::Gap { first, end } => Next::Gap { first: first.max(from), end: end.min(until) },
            Chunk::Skipped { end } => Next::Nothing { end: end.min(until) },
            Chunk::Head => Next::OutOfReach,
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
