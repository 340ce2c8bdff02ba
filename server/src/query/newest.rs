//! The newest event of each signal in a stretch of the log, without reading what lies between if that can be.

use std::collections::HashSet;

use downlink_storage::{Chunk, Error, Log, Offset, SignalId};

use super::filter::Filter;
use super::kept::Kept;

/// Blocks looked at in one go.
const BLOCKS_MAX: usize = 64;

/// What there may be of it at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewestMax {
    /// Signals.
    pub(crate) signals: usize,
    /// Bytes of memory, about.
    pub(crate) bytes: usize,
}

/// Which event of a signal counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The newest that the filter wants.
    Wanted,
    /// The newest, and only if the filter wants it.
    Newest,
}

/// A search for the newest events. Blocks on the disk.
pub(crate) struct Newest {
    log: Log,
    filter: Filter,
    which: Which,
    from: Offset,
    until: Offset,
    /// Everything from here on has been looked at.
    before: Offset,
    found: Vec<Kept>,
    bytes: usize,
    most: NewestMax,
    missing: HashSet<SignalId>,
    has_begun: bool,
}

/// How a search goes.
pub(crate) enum Progress {
    /// There is more to look at.
    Searching(Box<Newest>),
    /// The newest events, in the order of their offsets.
    Found(Vec<Kept>),
    /// There are more than there may be.
    TooMany,
}

impl Newest {
    /// Looks for what `filter` wants of the events from `from` to `until`.
    pub(crate) fn new(
        log: Log,
        filter: Filter,
        which: Which,
        (from, until): (Offset, Offset),
        most: NewestMax,
    ) -> Self {
        Self {
            log,
            filter,
            which,
            from,
            until,
            before: until,
            found: Vec::new(),
            bytes: 0,
            most,
            missing: HashSet::new(),
            has_begun: false,
        }
    }

    /// About how many bytes it has found.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the stretch ends.
    pub(crate) const fn until(&self) -> Offset {
        self.until
    }

    /// Looks on, for a while.
    ///
    /// # Errors
    /// The log's.
    pub(crate) fn look(mut self: Box<Self>) -> Result<Progress, Error> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.ask_for_newest()?;
        } else {
            self.read_back()?;
        }
        if self.is_too_much() {
            return Ok(Progress::TooMany);
        }
        if !self.missing.is_empty() && self.before > self.from {
            return Ok(Progress::Searching(self));
        }
        self.found.sort_unstable_by_key(Kept::offset);
        Ok(Progress::Found(self.found))
    }

    /// What the log knows already: the newest events as of now. Those of the stretch settle their signal.
    fn ask_for_newest(&mut self) -> Result<(), Error> {
        let (log, filter) = (self.log.clone(), self.filter.clone());
        for signal in log.signals(None, |name| filter.names.wants(name)) {
            let signal = signal?;
            let newest = signal.latest.map(Kept::from);
            match newest {
                Some(newest) if newest.offset() < self.from => {}
                Some(newest) if newest.offset() < self.before => self.judge(signal.id, newest),
                // Also where it is damaged: what counts then is the one before it.
                Some(_) | None => drop(self.missing.insert(signal.id)),
            }
            if self.is_too_much() {
                break;
            }
        }
        Ok(())
    }

    fn is_too_much(&self) -> bool {
        self.found.len() + self.missing.len() > self.most.signals || self.bytes > self.most.bytes
    }

    /// The newest event of a signal in the stretch, of those that are not known yet.
    fn judge(&mut self, id: SignalId, event: Kept) {
        if self.filter.wants(&event.event()) {
            self.missing.remove(&id);
            self.bytes += event.bytes();
            self.found.push(event);
        } else if self.which == Which::Newest {
            self.missing.remove(&id);
        } else {
            self.missing.insert(id);
        }
    }

    /// Reads back from the end of the stretch, as far as needed.
    fn read_back(&mut self) -> Result<(), Error> {
        let mut signals: Vec<SignalId> = self.missing.iter().copied().collect();
        for _ in 0..BLOCKS_MAX {
            if self.missing.is_empty() || self.before <= self.from {
                return Ok(());
            }
            if signals.len() != self.missing.len() {
                signals.retain(|signal| self.missing.contains(signal));
            }
            self.before = match self.log.read_back(self.before, Some(&signals)) {
                Ok(Chunk::Block(block)) => {
                    let rows = block.rows_between(self.from, self.before);
                    for event in rows.rev().map(|row| block.event(row)) {
                        if self.missing.contains(&event.signal_id) {
                            self.judge(event.signal_id, Kept::from(&event));
                        }
                    }
                    block.first_offset()
                }
                Ok(Chunk::Gap { first, .. }) => first,
                Ok(Chunk::Skipped { end }) => end,
                // Retention has removed the rest.
                Ok(Chunk::Head) | Err(Error::Truncated { .. }) => self.from,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }
}
