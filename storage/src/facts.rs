//! What is asked of sealed segments again and again, remembered so that they need not be opened for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::bytes::{Fault, Reader, Writer};
use crate::engine::Store;
use crate::event::{Offset, Timestamp};
use crate::index::SegmentIndex;
use crate::keys::{self, FORMAT_VERSION};

/// Of one sealed segment, which never changes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Bytes of its stored blocks.
    pub(crate) payload_bytes: u64,
    /// Of its events that can be read; `None` if there are none.
    pub(crate) times: Option<FactTimes>,
}

/// When the events of a segment were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FactTimes {
    /// Ingest time of the first.
    pub(crate) ingest_first: Timestamp,
    /// Ingest time of the last, which is the latest.
    pub(crate) ingest_last: Timestamp,
    /// The latest event time.
    pub(crate) event_last: Timestamp,
}

/// The facts by segment, in memory and in the store of derived state. What is missing there is found out again by
/// opening the segment.
pub(crate) struct FactBook {
    log_id: Uuid,
    /// Synced whenever derived state is written down.
    store: Arc<dyn Store>,
    known: Mutex<HashMap<Offset, Facts>>,
}

impl Facts {
    /// As the index of the segment has it.
    pub(crate) fn of(index: &SegmentIndex) -> Self {
        let blocks = index.blocks();
        let times = blocks.first().zip(blocks.last()).zip(index.event_time_last());
        let times = times.map(|((first, last), event_last)| FactTimes {
            ingest_first: first.ingest_time_first,
            ingest_last: last.ingest_time_last,
            event_last,
        });
        Self { payload_bytes: index.payload_bytes(), times }
    }

    fn encode(&self, log_id: Uuid) -> Vec<u8> {
        let mut writer = Writer::new(FORMAT_VERSION);
        writer.bytes(log_id.as_bytes()).u64(self.payload_bytes);
        writer.u64(u64::from(self.times.is_some()));
        if let Some(FactTimes { ingest_first, ingest_last, event_last }) = self.times {
            writer.time(ingest_first).time(ingest_last).time(event_last);
        }
        writer.finish()
    }

    /// `None` for those of another log. Those of an earlier version, which knew less, are malformed.
    fn decode(bytes: &[u8], log_id: Uuid) -> Result<Option<Self>, Fault> {
        let mut reader = Reader::new(bytes, FORMAT_VERSION)?;
        let is_ours = reader.bytes()? == log_id.as_bytes();
        let (payload_bytes, has_times) = (reader.u64()?, reader.u64()? != 0);
        let times = match has_times {
            true => Some(FactTimes {
                ingest_first: reader.time()?,
                ingest_last: reader.time()?,
                event_last: reader.time()?,
            }),
            false => None,
        };
        Ok(is_ours.then_some(Self { payload_bytes, times }))
    }
}

impl FactBook {
    /// What `store` remembers of segments of this log.
    pub(crate) fn load(log_id: Uuid, store: Arc<dyn Store>) -> Self {
        let mut known = HashMap::new();
        let mut from = keys::facts(Offset::FIRST);
        while let Ok(Some((key, value))) = store.at_or_after(&from) {
            let Some(first) = keys::facts_offset(&key) else { break };
            if let Ok(Some(facts)) = Facts::decode(&value, log_id) {
                known.insert(first, facts);
            }
            from = keys::facts(first.plus(1));
        }
        Self { log_id, store, known: Mutex::new(known) }
    }

    /// The facts of the sealed segment that begins at `first`, if they are known.
    pub(crate) fn get(&self, first: Offset) -> Option<Facts> {
        self.known().get(&first).copied()
    }

    /// Remembers the facts of a sealed segment.
    pub(crate) fn put(&self, first: Offset, facts: Facts) {
        self.known().insert(first, facts);
        if let Err(error) = self.store.insert(&keys::facts(first), &facts.encode(self.log_id)) {
            tracing::warn!(segment = %first, %error, "facts are not remembered: they will be found out again");
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Offset, Facts>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_round_trip_and_those_of_another_log_are_not_taken() {
        let (ours, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let times = FactTimes {
            ingest_first: Timestamp::MIN,
            ingest_last: Timestamp::EPOCH,
            event_last: Timestamp::MAX,
        };
        for times in [None, Some(times)] {
            let facts = Facts { payload_bytes: u64::MAX, times };
            assert_eq!(Facts::decode(&facts.encode(ours), ours), Ok(Some(facts)));
            assert_eq!(Facts::decode(&facts.encode(other), ours), Ok(None));
        }
    }
}
