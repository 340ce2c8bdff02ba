//! The partitions of a topic back into one row of events, by their offsets, which are dense. Without I/O.
//!
//! Each partition is read where it is least far, so what comes in order is hardly ever kept. What comes before its turn
//! waits here, up to a bound; then only those partitions are read on that may still have what comes next.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use downlink_storage::Offset;

use crate::kafka::Place;

/// What a message that waits takes beside its value.
const WAITING_BYTES: usize = 128;

/// A message that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Where it is.
    pub(super) place: Place,
    /// The event, encoded.
    pub(super) value: Box<[u8]>,
}

/// How much may wait for its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Events.
    pub(super) events: usize,
    /// Their bytes, with what it takes to keep them.
    pub(super) bytes: usize,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It waits for its turn.
    Kept,
    /// Its turn was before.
    Past(Message),
    /// Another one with its offset waits already.
    Twice(Message),
}

/// Which offsets are awaited while later ones are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The first.
    pub(super) first: Offset,
    /// The first after it that is there.
    pub(super) end: Offset,
}

/// A partition, as far as it has been read.
#[derive(Clone, Copy, Debug)]
struct Partition {
    /// The greatest offset in it; 0 for none.
    reached: u64,
    /// The position to go on at.
    position: i64,
    /// Whether it is read on.
    is_open: bool,
}

/// The row of events in the making.
#[derive(Debug)]
pub(super) struct Merge {
    next: Offset,
    bounds: Bounds,
    partitions: Vec<Partition>,
    /// Those that are read on, the one that is least far first.
    order: BTreeSet<(u64, usize)>,
    waiting: BTreeMap<Offset, Message>,
    bytes: usize,
}

impl Merge {
    /// From `next` on, out of partitions that are read from these positions.
    pub(super) fn new(next: Offset, positions: &[i64], bounds: Bounds) -> Self {
        let partition = |&position| Partition { reached: 0, position, is_open: true };
        Self {
            next,
            bounds,
            partitions: positions.iter().map(partition).collect(),
            order: (0..positions.len()).map(|partition| (0, partition)).collect(),
            waiting: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// The offset whose turn it is.
    pub(super) const fn next(&self) -> Offset {
        self.next
    }

    /// The partitions to read on, the one that is least far first. With no room for more only those that may have what comes
    /// next, if partitions are in order.
    pub(super) fn to_read(&self) -> impl Iterator<Item = usize> {
        let bound = if self.is_full() { self.next.get() } else { u64::MAX };
        self.order.iter().take_while(move |(reached, _)| *reached < bound).map(|(_, partition)| *partition)
    }

    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.bounds.events || self.bytes >= self.bounds.bytes
    }

    /// Takes a message in, as the event that it is.
    pub(super) fn offer(&mut self, offset: Offset, message: Message) -> Offered {
        let Place { partition: number, position } = message.place;
        let partition = &mut self.partitions[number];
        partition.position = partition.position.max(position + 1);
        if offset.get() > partition.reached {
            if partition.is_open {
                self.order.remove(&(partition.reached, number));
                self.order.insert((offset.get(), number));
            }
            partition.reached = offset.get();
        }
        if offset < self.next {
            return Offered::Past(message);
        }
        match self.waiting.entry(offset) {
            Entry::Occupied(_) => Offered::Twice(message),
            Entry::Vacant(place) => {
                self.bytes += message.value.len() + WAITING_BYTES;
                place.insert(message);
                Offered::Kept
            }
        }
    }

    /// The message with this offset that waits, if one does.
    pub(super) fn waiting(&self, offset: Offset) -> Option<&Message> {
        self.waiting.get(&offset)
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The offset after the last that waits; the next if none does.
    pub(super) fn end(&self) -> Offset {
        self.waiting.last_key_value().map_or(self.next, |(last, _)| last.plus(1))
    }

    /// The event whose turn it is, if it is here.
    pub(super) fn take(&mut self) -> Option<(Offset, Message)> {
        let first = self.waiting.first_entry().filter(|first| *first.key() == self.next)?;
        let (offset, message) = first.remove_entry();
        self.bytes -= message.value.len() + WAITING_BYTES;
        self.next = offset.plus(1);
        Some((offset, message))
    }

    /// What is awaited while later events wait.
    pub(super) fn missing(&self) -> Option<Missing> {
        let (end, _) = self.waiting.first_key_value()?;
        (*end > self.next).then_some(Missing { first: self.next, end: *end })
    }

    /// Reads a partition no further.
    pub(super) fn close(&mut self, number: usize) {
        let partition = &mut self.partitions[number];
        partition.is_open = false;
        self.order.remove(&(partition.reached, number));
    }

    /// Reads every partition on again.
    pub(super) fn reopen(&mut self) {
        for (number, partition) in self.partitions.iter_mut().enumerate() {
            partition.is_open = true;
            self.order.insert((partition.reached, number));
        }
    }

    /// How far each partition has been read.
    pub(super) fn read(&self) -> impl Iterator<Item = i64> {
        self.partitions.iter().map(|partition| partition.position)
    }

    /// How far a partition has been read.
    pub(super) fn position(&self, number: usize) -> i64 {
        self.partitions[number].position
    }

    /// For each partition the position at or behind which it has everything from the next event on.
    pub(super) fn positions(&self) -> Vec<i64> {
        let mut positions: Vec<_> = self.partitions.iter().map(|partition| partition.position).collect();
        for message in self.waiting.values() {
            let position = &mut positions[message.place.partition];
            *position = message.place.position.min(*position);
        }
        positions
    }
}

#[cfg(test)]
mod tests;
