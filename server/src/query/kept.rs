//! An event that outlives its block.

use std::collections::BTreeMap;
use std::sync::Arc;

use downlink_storage::{EventRef, Latest, Offset, Quality, SignalId, Timestamp, Value};

use super::value_bytes;

/// An event of its own.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    offset: Offset,
    signal_id: SignalId,
    signal: Arc<str>,
    event_time: Timestamp,
    ingest_time: Timestamp,
    value: Value,
    quality: Quality,
    source: Arc<str>,
    attributes: Option<BTreeMap<String, String>>,
    trace_context: Vec<u8>,
}

impl Kept {
    /// The event, as readers see it.
    pub(crate) fn event(&self) -> EventRef<'_> {
        EventRef {
            offset: self.offset,
            signal_id: self.signal_id,
            signal: &self.signal,
            event_time: self.event_time,
            ingest_time: self.ingest_time,
            value: self.value.as_ref(),
            quality: self.quality,
            source: &self.source,
            attributes: self.attributes.as_ref(),
            trace_context: &self.trace_context,
        }
    }

    /// Its place in the log.
    pub(crate) const fn offset(&self) -> Offset {
        self.offset
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        /// What a small allocation costs on top.
        const EXTRA: usize = 48;
        let attributes =
            self.attributes.iter().flatten().map(|(key, value)| key.len() + value.len() + 2 * EXTRA);
        size_of::<Self>()
            + value_bytes(self.value.as_ref())
            + attributes.sum::<usize>()
            + self.trace_context.len()
            + EXTRA
    }
}

impl From<&EventRef<'_>> for Kept {
    fn from(event: &EventRef<'_>) -> Self {
        Self {
            offset: event.offset,
            signal_id: event.signal_id,
            signal: event.signal.clone(),
            event_time: event.event_time,
            ingest_time: event.ingest_time,
            value: event.value.to_value(),
            quality: event.quality,
            source: event.source.clone(),
            attributes: event.attributes.cloned(),
            trace_context: event.trace_context.to_owned(),
        }
    }
}

impl From<Latest> for Kept {
    fn from(latest: Latest) -> Self {
        let event = latest.event;
        Self {
            offset: latest.offset,
            signal_id: latest.signal_id,
            signal: event.signal.into(),
            event_time: event.event_time,
            ingest_time: latest.ingest_time,
            value: event.value,
            quality: event.quality,
            source: event.source.into(),
            attributes: Some(event.attributes).filter(|attributes| !attributes.is_empty()),
            trace_context: event.trace_context,
        }
    }
}
