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
    /// Ingest time of its first event that can be read.
    pub(crate) ingest_time_first: Option<Timestamp>,
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
        let first = index.blocks().first();
        Self {
            payload_bytes: index.payload_bytes(),
            ingest_time_first: first.map(|block| block.ingest_time_first),
        }
    }

    fn encode(&self, log_id: Uuid) -> Vec<u8> {
        let mut writer = Writer::new(FORMAT_VERSION);
        writer.bytes(log_id.as_bytes()).u64(self.payload_bytes);
        writer.u64(u64::from(self.ingest_time_first.is_some()));
        writer.time(self.ingest_time_first.unwrap_or(Timestamp::EPOCH));
        writer.finish()
    }

    /// `None` for those of another log.
    fn decode(bytes: &[u8], log_id: Uuid) -> Result<Option<Self>, Fault> {
        let mut reader = Reader::new(bytes, FORMAT_VERSION)?;
        let is_ours = reader.bytes()? == log_id.as_bytes();
        let (payload_bytes, has_time) = (reader.u64()?, reader.u64()? != 0);
        let time = reader.time()?;
        Ok(is_ours.then_some(Self { payload_bytes, ingest_time_first: has_time.then_some(time) }))
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
        for ingest_time_first in [None, Some(Timestamp::MAX), Some(Timestamp::MIN)] {
            let facts = Facts { payload_bytes: u64::MAX, ingest_time_first };
            assert_eq!(Facts::decode(&facts.encode(ours), ours), Ok(Some(facts)));
            assert_eq!(Facts::decode(&facts.encode(other), ours), Ok(None));
        }
    }
}
