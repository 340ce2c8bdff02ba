//! Reads the log for callers: bounded pieces of what they want, from memory where possible, else from disk.

pub(crate) mod aggregate;
pub(crate) mod as_of;
mod effort;
pub(crate) mod filter;
pub(crate) mod kept;
pub(crate) mod newest;
pub(crate) mod pace;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use downlink_storage::{Block, Chunk, Error, EventRef, Log, Offset, SignalId, ValueRef};
pub(crate) use effort::{Effort, Reach};
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

/// In which direction the log is read. A place in it is a boundary between two events, named by the offset of the
/// later one: forwards that is the next event, backwards the one before it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Oldest first.
    Forwards,
    /// Newest first.
    Backwards,
}

impl Way {
    /// How many events lie from one place to a later one on this way; 0 if it is not later.
    pub(crate) const fn distance(self, from: Offset, until: Offset) -> u64 {
        match self {
            Self::Forwards => until.since(from),
            Self::Backwards => from.since(until),
        }
    }

    /// Whichever place comes first on this way.
    pub(crate) fn first(self, one: Offset, other: Offset) -> Offset {
        match self {
            Self::Forwards => one.min(other),
            Self::Backwards => one.max(other),
        }
    }

    /// The offset that comes next at `place`, which is not at the end of the way.
    const fn next(self, place: Offset) -> Offset {
        match self {
            Self::Forwards => place,
            Self::Backwards => place.minus(1),
        }
    }

    /// The two ends of a gap or block as places: where one comes to it, and where one leaves it.
    pub(crate) const fn ends(self, first: Offset, end: Offset) -> (Offset, Offset) {
        match self {
            Self::Forwards => (first, end),
            Self::Backwards => (end, first),
        }
    }
}

/// What reading on has found. Everything up to the place where it leaves off is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So many events, given to the visitor.
    Events {
        /// How many.
        matched: u64,
        /// The place after what has been looked at.
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

/// Rows looked at for one piece, wanted or not: what is searched in vain must not take for ever.
const ROWS_MAX: usize = 100_000;

/// Reading so many events from memory holds nobody else up.
const QUICK_OFFSETS_MAX: u64 = 1_000;

/// To pass over so many rows, without their being decoded, takes about as long as to look at one.
const ROWS_PASSED_OVER: usize = 10;

/// A piece in the making.
struct Filling {
    next: Offset,
    matched: usize,
    bytes: usize,
    rows: usize,
    is_full: bool,
}

/// At which row of a block a piece was full.
enum Stopped {
    /// That row does not belong to it.
    Before(usize),
    /// That row was the last of it.
    Behind(usize),
}

/// What there is at some place.
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
    way: Way,
    block: Option<Held>,
    large: Option<usize>,
    narrowed: Option<Narrowed>,
}

/// The block that was read last.
struct Held {
    block: Arc<Block>,
    /// It was among the newest, which are in memory for all readers.
    is_recent: bool,
}

/// The signals wanted, by number, as of a moment: complete for everything below `head`.
struct Narrowed {
    head: Offset,
    signals: Vec<SignalId>,
}

impl Scan {
    /// What `filter` wants of `log`.
    #[must_use]
    pub(crate) const fn new(log: Log, filter: Filter, way: Way) -> Self {
        Self { log, filter, way, block: None, large: None, narrowed: None }
    }

    /// What a read from `from` takes, up to `until` or for `events` events.
    pub(crate) fn effort(&mut self, from: Offset, until: Offset, events: usize) -> Effort {
        let held = if self.is_cached(from) { self.block.as_ref() } else { None };
        let Some(Held { block, is_recent }) = held else { return Effort::History(Reach::Disk) };
        let (_, end) = self.way.ends(block.first_offset(), block.end_offset());
        // All of them are wanted, and there are enough.
        let is_run = self.filter.is_everything() && self.way.distance(from, end) >= events as u64;
        let is_short = is_run && events as u64 <= QUICK_OFFSETS_MAX
            || self.way.distance(from, until) <= QUICK_OFFSETS_MAX;
        match *is_recent {
            true if is_short && self.filter.names.is_quick() => Effort::Quick,
            true => Effort::Recent,
            false if is_run => Effort::History(Reach::Memory),
            false => Effort::History(Reach::Disk),
        }
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
    fn is_cached(&mut self, from: Offset) -> bool {
        let next = self.way.next(from);
        if self.held(next).is_none() {
            let recent = self.log.read_cached(next);
            self.block = recent.map(|block| Held { block, is_recent: true });
        }
        self.held(next).is_some()
    }

    /// Reads on from `from`, not beyond `until` and for at most `most`, giving each event that is wanted to
    /// `visit`, which says about how many bytes it makes, or that it does not belong to this piece any more, which it
    /// may not say of the first. Blocks on the disk, if that is within reach.
    ///
    /// # Errors
    /// The log's.
    pub(crate) fn read(
        &mut self,
        (from, until): (Offset, Offset),
        most: PieceMax,
        reach: Reach,
        visit: &mut dyn FnMut(&EventRef<'_>) -> Option<usize>,
    ) -> Result<Found, Error> {
        assert!(self.way.distance(from, until) > 0, "nothing to read from {from} to {until}");
        let mut piece = Filling { next: from, matched: 0, bytes: 0, rows: 0, is_full: false };
        while piece.next != until && !piece.is_full {
            let next = match self.fetch(piece.next, until, reach) {
                Ok(next) => next,
                // It will come again, when there is nothing before it.
                Err(_) if piece.next != from => break,
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
        let is_further = self.way.distance(from, piece.next) > 0;
        assert!(is_further || self.large.is_some(), "reading does not get beyond {from}");
        Ok(Found::Events { matched: piece.matched as u64, end: piece.next })
    }

    /// Gives what is wanted of `block` to `visit` until the piece is full.
    fn collect(
        &mut self,
        block: &Block,
        piece: &mut Filling,
        until: Offset,
        most: PieceMax,
        visit: &mut dyn FnMut(&EventRef<'_>) -> Option<usize>,
    ) {
        // What lies on the way to the block has nothing that is wanted.
        let way = self.way;
        let (low, high) = way.ends(piece.next, until);
        let rows = block.rows_between(low, high);
        piece.rows += block.rows_left_out() / ROWS_PASSED_OVER;
        let at = |row| (row, block.event(row));
        let stopped = match (way, self.filter.wanted_in(block)) {
            (Way::Forwards, None) => {
                self.fill(rows.clone().zip(block.events_in(rows.clone())), piece, most, visit)
            }
            (Way::Backwards, None) => self.fill(rows.clone().rev().map(at), piece, most, visit),
            (way, Some(wanted)) => {
                piece.rows += rows.len() / ROWS_PASSED_OVER;
                let rows = block.rows_of(rows.clone(), &wanted);
                match way {
                    Way::Forwards => self.fill(rows.map(at), piece, most, visit),
                    Way::Backwards => self.fill(rows.rev().map(at), piece, most, visit),
                }
            }
        };
        let ends_of = |row| way.ends(block.offset(row), block.offset(row).plus(1));
        piece.next = match stopped {
            Some(Stopped::Before(row)) => ends_of(row).0,
            Some(Stopped::Behind(row)) => ends_of(row).1,
            None => way.first(way.ends(block.first_offset(), block.end_offset()).1, until),
        };
        piece.is_full |= stopped.is_some() || piece.rows >= ROWS_MAX;
    }

    /// Gives what is wanted of `events`, each with its row, to `visit` until the piece is full: says where that was.
    fn fill<'a>(
        &mut self,
        events: impl Iterator<Item = (usize, EventRef<'a>)>,
        piece: &mut Filling,
        most: PieceMax,
        visit: &mut dyn FnMut(&EventRef<'_>) -> Option<usize>,
    ) -> Option<Stopped> {
        for (row, event) in events {
            if self.filter.wants(&event) {
                let value_bytes = value_bytes(event.value);
                if piece.matched == 0 && value_bytes > most.alone {
                    self.large = Some(value_bytes);
                    return Some(Stopped::Before(row));
                }
                // A large event does not join others.
                let joins = piece.matched == 0 || piece.bytes + value_bytes <= most.bytes;
                let Some(bytes) = joins.then(|| visit(&event)).flatten() else {
                    return Some(Stopped::Before(row));
                };
                piece.bytes += bytes;
                piece.matched += 1;
            }
            piece.rows += 1;
            if piece.matched == most.events || piece.bytes >= most.bytes || piece.rows >= ROWS_MAX {
                return Some(Stopped::Behind(row));
            }
        }
        None
    }

    fn held(&self, offset: Offset) -> Option<&Arc<Block>> {
        let block = self.block.as_ref().map(|held| &held.block);
        block.filter(|block| (block.first_offset()..block.end_offset()).contains(&offset))
    }

    /// What there is at `from`.
    fn fetch(&mut self, from: Offset, until: Offset, reach: Reach) -> Result<Next, Error> {
        if self.is_cached(from)
            && let Some(Held { block, .. }) = &self.block
        {
            return Ok(Next::Block(block.clone()));
        }
        if reach == Reach::Memory {
            return Ok(Next::OutOfReach);
        }
        let chunk = self.read_narrowed(from)?;
        let way = self.way;
        // Beyond that head the signals looked for may not be all.
        let until = match &self.narrowed {
            Some(narrowed) if way == Way::Forwards => until.min(narrowed.head),
            Some(_) | None => until,
        };
        let is_beyond = |place: Offset| way.distance(place, until) == 0;
        Ok(match chunk {
            Chunk::Block(block) if is_beyond(way.ends(block.first_offset(), block.end_offset()).0) => {
                Next::Nothing { end: until }
            }
            Chunk::Block(block) => {
                self.block = Some(Held { block: block.clone(), is_recent: false });
                Next::Block(block)
            }
            Chunk::Gap { first, end } if is_beyond(way.ends(first, end).0) => Next::Nothing { end: until },
            Chunk::Gap { first, end } => {
                let (low, high) = way.ends(from, until);
                Next::Gap { first: first.max(low), end: end.min(high) }
            }
            Chunk::Skipped { end } => Next::Nothing { end: way.first(end, until) },
            Chunk::Head => Next::OutOfReach,
        })
    }

    /// What there is at `from`, or the next that holds one of the signals wanted.
    fn read_narrowed(&mut self, from: Offset) -> Result<Chunk, Error> {
        loop {
            self.narrow(from);
            let signals = self.narrowed.as_ref().map(|narrowed| narrowed.signals.as_slice());
            let chunk = match self.way {
                Way::Forwards => self.log.read(from, signals)?,
                Way::Backwards => self.log.read_back(from, signals)?,
            };
            match (&chunk, &self.narrowed) {
                // It has grown since by sealing: what was added may be on signals that were not known then.
                (Chunk::Block(block), Some(narrowed)) if block.end_offset() > narrowed.head => {
                    self.narrowed = None;
                }
                _ => return Ok(chunk),
            }
        }
    }

    /// Finds out which signals are wanted, so that blocks without them need not be read.
    fn narrow(&mut self, from: Offset) {
        let is_known = |narrowed: &Narrowed| match self.way {
            Way::Forwards => from < narrowed.head,
            Way::Backwards => from <= narrowed.head,
        };
        if self.filter.names.is_everything() || self.narrowed.as_ref().is_some_and(is_known) {
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
