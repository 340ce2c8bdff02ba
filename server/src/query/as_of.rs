//! The newest events of some signals as of an earlier moment: one search backwards through the index finds them all,
//! and since when their values had been the same.

use std::collections::HashMap;
use std::sync::Arc;

use downlink_storage::{Block, Chunk, Error, EventRef, Latest, Log, Offset, SignalId, SignalInfo, Timestamp};

use super::value_bytes;

/// Blocks looked at only to find out since when values had been the same.
const UNCHANGED_BLOCKS_MAX: u32 = 64;

/// What there was of a signal.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// Its name.
    pub(crate) name: String,
    /// Its newest event then; none if it had had none. What it says about `unchanged_since` holds only if the field
    /// of this name does not say otherwise.
    pub(crate) latest: Option<Latest>,
    /// Since when the value had been the same, if that is known.
    pub(crate) unchanged_since: Option<Timestamp>,
    id: SignalId,
    is_settled: bool,
}

/// A search under way.
pub(crate) struct Search {
    log: Log,
    next: Offset,
    oldest: Offset,
    /// By name.
    signals: Vec<Past>,
    /// Whether there were more.
    is_cut: bool,
    bytes: usize,
    bytes_max: usize,
    unchanged_blocks_left: u32,
}

impl Search {
    /// Of `signals`, which are in the order of their names, as it was below `before`, which is not below the oldest
    /// offset. If the events make more than about `bytes_max` together, the last ones are given up.
    ///
    /// # Errors
    /// The first of `signals`.
    pub(crate) fn new(
        log: Log,
        signals: impl Iterator<Item = Result<SignalInfo, Error>>,
        before: Offset,
        bytes_max: usize,
    ) -> Result<Self, Error> {
        let oldest = log.oldest();
        let mut search = Self {
            log,
            next: before,
            oldest,
            signals: Vec::new(),
            is_cut: false,
            bytes: 0,
            bytes_max,
            unchanged_blocks_left: UNCHANGED_BLOCKS_MAX,
        };
        for signal in signals {
            let SignalInfo { id, name, latest, .. } = signal?;
            // If nothing has come since, it is known already.
            let known = latest.filter(|latest| latest.offset < before);
            search.bytes += known.as_ref().map_or(0, bytes_of);
            search.signals.push(Past {
                name: name.to_string(),
                is_settled: known.is_some(),
                unchanged_since: known.as_ref().map(|latest| latest.unchanged_since),
                latest: known,
                id,
            });
            search.give_up_what_is_too_much();
            if search.is_cut {
                break;
            }
        }
        Ok(search)
    }

    /// Goes on for a block of the log; whether there is more to do. Blocks on the disk.
    ///
    /// # Errors
    /// The log's.
    pub(crate) fn step(&mut self) -> Result<bool, Error> {
        let is_open = |signal: &&Past| !signal.is_settled;
        let ids: Vec<_> = self.signals.iter().filter(is_open).map(|signal| signal.id).collect();
        if ids.is_empty() {
            return Ok(false);
        }
        if self.next <= self.oldest {
            // Where events were removed before the first, the value may have been the same in them.
            if self.oldest > Offset::FIRST {
                self.lose_sight();
            }
            return Ok(false);
        }
        if self.signals.iter().filter(is_open).all(|signal| signal.latest.is_some()) {
            let Some(left) = self.unchanged_blocks_left.checked_sub(1) else {
                self.lose_sight();
                return Ok(false);
            };
            self.unchanged_blocks_left = left;
        }
        self.next = match self.log.read_back(self.next, Some(&ids))? {
            Chunk::Block(block) => {
                self.look_through(&block);
                block.first_offset()
            }
            Chunk::Gap { first, .. } => {
                self.lose_sight();
                first
            }
            Chunk::Skipped { end } => end,
            Chunk::Head => self.oldest,
        };
        Ok(true)
    }

    /// What was found, and whether the last ones that were asked for had to be given up.
    pub(crate) fn finish(self) -> (Vec<Past>, bool) {
        (self.signals, self.is_cut)
    }

    /// Since when values had been the same can no longer be told, where it is not known yet.
    fn lose_sight(&mut self) {
        let seen = |signal: &&mut Past| !signal.is_settled && signal.latest.is_some();
        for signal in self.signals.iter_mut().filter(seen) {
            signal.is_settled = true;
            signal.unchanged_since = None;
        }
    }

    fn look_through(&mut self, block: &Arc<Block>) {
        let numbers = self.signals.iter().enumerate().filter(|(_, signal)| !signal.is_settled);
        let wanted: HashMap<SignalId, usize> = numbers.map(|(number, signal)| (signal.id, number)).collect();
        let of_block: Vec<_> = block.signals().iter().map(|signal| wanted.get(&signal.id).copied()).collect();
        for row in block.rows_between(block.first_offset(), self.next).rev() {
            let Some(number) = of_block[block.signal_index(row)] else { continue };
            let signal = &mut self.signals[number];
            if !signal.is_settled {
                self.bytes += signal.see(&block.event(row));
            }
        }
        self.give_up_what_is_too_much();
    }

    fn give_up_what_is_too_much(&mut self) {
        while self.bytes > self.bytes_max && self.signals.len() > 1 {
            self.is_cut = true;
            let given_up = self.signals.pop().and_then(|signal| signal.latest);
            self.bytes -= given_up.as_ref().map_or(0, bytes_of);
        }
    }
}

impl Past {
    /// Takes in the next event on the way back; gives the bytes that are kept of it.
    fn see(&mut self, event: &EventRef<'_>) -> usize {
        match &self.latest {
            None => {
                let latest = Latest {
                    event: event.to_event(),
                    offset: event.offset,
                    ingest_time: event.ingest_time,
                    signal_id: event.signal_id,
                    unchanged_since: event.event_time,
                };
                let bytes = bytes_of(&latest);
                self.unchanged_since = Some(event.event_time);
                self.latest = Some(latest);
                bytes
            }
            Some(latest) if latest.event.value.as_ref() == event.value => {
                self.unchanged_since = Some(event.event_time);
                0
            }
            Some(_) => {
                self.is_settled = true;
                0
            }
        }
    }
}

/// About how much memory an event holds.
fn bytes_of(latest: &Latest) -> usize {
    let event = &latest.event;
    let attributes: usize = event.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    event.signal.len() + event.source.len() + value_bytes(event.value.as_ref()) + attributes
}
