//! The newest event of each signal, as of an offset: a fold over the blocks, so it can be made again at any time.

pub(crate) mod newest;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::block::Block;
use crate::bytes::{Fault, Reader, Writer};
use crate::event::{Event, Offset, SYSTEM_PREFIX, SignalId, Timestamp};
use crate::signal_map::SignalMap;
use newest::Newest;

/// The newest event of a signal, by offset.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The event.
    pub event: Event,
    /// Its offset.
    pub offset: Offset,
    /// Its ingest time.
    pub ingest_time: Timestamp,
    /// The number of its signal.
    pub signal_id: SignalId,
    /// Event time of the first event since which the value has been the same.
    pub unchanged_since: Timestamp,
}

/// A signal that has had an event.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalInfo {
    /// Its number.
    pub id: SignalId,
    /// Its name.
    pub name: Arc<str>,
    /// How many events it has had.
    pub events: u64,
    /// The newest of them; `None` if it is damaged on disk.
    pub latest: Option<Latest>,
}

/// Every signal by number.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Projection {
    signals: SignalMap<Known>,
    by_name: BTreeMap<Arc<str>, SignalId>,
    /// Offset and ingest time of the newest event that is not the system's own.
    newest_telemetry: Option<(Offset, Timestamp)>,
    /// What the large ones of the newest events have together.
    large_bytes: usize,
    /// Newest events that are not in memory.
    placed: usize,
}

/// What is known of a signal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) id: SignalId,
    pub(crate) name: Arc<str>,
    /// How many events it has had.
    pub(crate) events: u64,
    pub(crate) newest: Newest,
}

impl Projection {
    /// Takes the next block in. Newest events that are large take up `large_bytes_max` at most: of further ones only
    /// the places are kept.
    pub(crate) fn apply(&mut self, block: &Block, large_bytes_max: usize) {
        for (signal, fold) in block.signals().iter().zip(self.fold(block)) {
            let Some(last) = fold.last else { continue };
            let event = block.event(last);
            self.note_newest(&signal.name, event.offset, event.ingest_time);
            let known = self.signals.get_mut(&signal.id);
            let before = known.as_ref().map(|known| &known.newest);
            let others_bytes = self.large_bytes - before.map_or(0, Newest::large_bytes);
            self.placed -= usize::from(before.is_some_and(Newest::is_placed));
            let bytes = newest::large_bytes(&event);
            let newest = if others_bytes + bytes <= large_bytes_max {
                Newest::whole(&event, fold.unchanged_since)
            } else {
                Newest::placed(&event, fold.unchanged_since)
            };
            self.large_bytes = others_bytes + newest.large_bytes();
            self.placed += usize::from(newest.is_placed());
            if let Some(known) = known {
                known.events += fold.events;
                known.newest = newest;
            } else {
                let name = signal.name.clone();
                self.by_name.insert(name.clone(), signal.id);
                self.signals.insert(signal.id, Known { id: signal.id, name, events: fold.events, newest });
            }
        }
    }

    /// Gives up as many of the large newest events as it takes to hold no more than this.
    pub(crate) fn limit(&mut self, large_bytes_max: usize) {
        for known in self.signals.values_mut() {
            let bytes = known.newest.large_bytes();
            if self.large_bytes > large_bytes_max && bytes > 0 {
                known.newest.give_up();
                self.large_bytes -= bytes;
                self.placed += 1;
            }
        }
    }

    /// Whether every newest event is in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.placed == 0
    }

    fn note_newest(&mut self, name: &str, offset: Offset, ingest_time: Timestamp) {
        if !name.starts_with(SYSTEM_PREFIX) {
            self.newest_telemetry = self.newest_telemetry.max(Some((offset, ingest_time)));
        }
    }

    /// For each signal of the block: how many events, the last, and since when its value is the same.
    fn fold(&self, block: &Block) -> Vec<Fold> {
        let mut folds =
            vec![Fold { events: 0, last: None, unchanged_since: Timestamp::EPOCH }; block.signals().len()];
        for row in 0..block.len() {
            let index = block.signal_index(row);
            let fold = &mut folds[index];
            let value = block.value(row);
            let known = match fold.last {
                Some(last) => Some((block.value(last) == value, fold.unchanged_since)),
                None => self
                    .signals
                    .get(&block.signals()[index].id)
                    .map(|known| (known.newest.has_value(value), known.newest.unchanged_since())),
            };
            fold.unchanged_since = match known {
                Some((true, since)) => since,
                Some((false, _)) | None => block.event_time(row),
            };
            fold.events += 1;
            fold.last = Some(row);
        }
        folds
    }

    pub(crate) fn len(&self) -> usize {
        self.signals.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Known> {
        self.signals.get(self.by_name.get(name)?)
    }

    /// The names that begin with `prefix` and are greater than `after`, in order.
    pub(crate) fn names(&self, prefix: &str, after: Option<&str>) -> Vec<(Arc<str>, SignalId)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let named = self.by_name.range::<str, _>((from, Bound::Unbounded));
        let named = named.take_while(|(name, _)| name.starts_with(prefix));
        named.map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// Offset and ingest time of the newest event that is not the system's own.
    pub(crate) fn newest_telemetry(&self) -> Option<(Offset, Timestamp)> {
        self.newest_telemetry
    }

    pub(crate) fn by_id(&self, id: SignalId) -> Option<&Known> {
        self.signals.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.signals.values()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        let mut signals: Vec<_> = self.signals.values().collect();
        signals.sort_by_key(|known| known.id);
        writer.u64(signals.len() as u64);
        for known in signals {
            writer.u64(u64::from(known.id.0)).u64(known.events);
            known.newest.encode(writer, &known.name);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut projection = Self::default();
        for _ in 0..reader.count()? {
            let id = SignalId(reader.u32()?);
            let events = reader.u64()?;
            let (name, newest) = Newest::decode(reader, id)?;
            projection.note_newest(&name, newest.offset(), newest.ingest_time());
            projection.large_bytes += newest.large_bytes();
            projection.placed += usize::from(newest.is_placed());
            projection.by_name.insert(name.clone(), id);
            projection.signals.insert(id, Known { id, name, events, newest });
        }
        Ok(projection)
    }
}

#[derive(Clone)]
struct Fold {
    events: u64,
    last: Option<usize>,
    unchanged_since: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::tests::{any_commits, build_all};

    proptest! {
        #[test]
        fn the_newest_event_of_each_signal_is_its_last(commits in any_commits()) {
            let blocks = build_all(&commits);
            let mut projection = Projection::default();
            blocks.iter().for_each(|block| projection.apply(block, usize::MAX));
            let mut events = 0;
            for known in projection.iter() {
                let of_signal = blocks.iter().flat_map(Block::events).filter(|event| event.signal_id == known.id);
                let of_signal: Vec<_> = of_signal.collect();
                let last = &of_signal[of_signal.len() - 1];
                let run = of_signal.iter().rev().take_while(|event| event.value == last.value);
                let unchanged_since = run.map(|event| event.event_time).last().unwrap();
                prop_assert_eq!(&known.newest, &Newest::whole(last, unchanged_since));
                prop_assert_eq!(known.events, of_signal.len() as u64);
                events += of_signal.len();
            }
            prop_assert_eq!(events, commits.iter().map(Vec::len).sum::<usize>(), "of no other signal");
        }
    }
}
