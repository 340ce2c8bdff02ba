//! Events of this very log that were kept elsewhere, on their way back: with the offsets, the ingest times and the
//! numbers of their signals that the log gave them.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::api::{Append, Identity};
use crate::batch::{Batch, Row};
use crate::error::Error;
use crate::event::{EventRef, Offset, Quality, SignalId, Timestamp, ValueRef};

/// Which log a new directory is to hold, and from where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The log's identity.
    pub log_id: Uuid,
    /// The oldest offset it will have. [`Offset::FIRST`], unless what came before is not to be had any more.
    pub first: Offset,
}

/// One fact, as the log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct CopiedEvent<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// The number of its signal.
    pub signal_id: SignalId,
    /// The name of its signal.
    pub signal: &'a str,
    /// When the source says it happened.
    pub event_time: Timestamp,
    /// When the log took it in.
    pub ingest_time: Timestamp,
    /// What it says.
    pub value: ValueRef<'a>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// Where it comes from; may be empty.
    pub source: &'a str,
    /// Sparse extras.
    pub attributes: BTreeMap<String, String>,
    /// The trace context of its append; may be empty.
    pub trace_context: &'a [u8],
}

impl<'a> From<EventRef<'a>> for CopiedEvent<'a> {
    fn from(event: EventRef<'a>) -> Self {
        Self {
            offset: event.offset,
            signal_id: event.signal_id,
            signal: event.signal,
            event_time: event.event_time,
            ingest_time: event.ingest_time,
            value: event.value,
            quality: event.quality,
            source: event.source,
            attributes: event.attributes.cloned().unwrap_or_default(),
            trace_context: event.trace_context,
        }
    }
}

/// Adjacent events in the order of their offsets.
#[derive(Debug)]
pub struct Copied {
    first: Offset,
    batch: Batch,
}

impl Copied {
    /// None yet; the first will have the offset `first`.
    #[must_use]
    pub fn new(first: Offset, capacity_events: usize) -> Self {
        Self { first, batch: Batch::with_capacity(capacity_events) }
    }

    /// Adds the next event.
    ///
    /// # Errors
    /// If no log can have it behind the others: then it is not added.
    ///
    /// # Panics
    /// If its offset is not [`Self::end`], or if the batch then held more than [`crate::batch::BATCH_BYTES_MAX`].
    pub fn push(&mut self, event: CopiedEvent<'_>) -> Result<(), Error> {
        assert_eq!(event.offset, self.end(), "copied events are adjacent");
        if let Some(before) = self.batch.last_ingest_time().filter(|before| event.ingest_time < *before) {
            return Err(runs_backwards(event.offset, event.ingest_time, before));
        }
        let signal = self.batch.numbered_signal(event.signal, event.signal_id)?;
        let source = self.batch.source(event.source);
        let row = Row {
            signal,
            event_time: event.event_time,
            value: event.value,
            quality: event.quality,
            source,
            attributes: event.attributes,
            trace_context: event.trace_context,
        };
        self.batch.push_ingested(row, event.ingest_time);
        Ok(())
    }

    /// The offset of the first.
    #[must_use]
    pub const fn first(&self) -> Offset {
        self.first
    }

    /// The offset after the last.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.first.plus(self.batch.len() as u64)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// As the writer takes it.
    pub(crate) fn into_append(self) -> Append {
        Append {
            events: self.batch,
            identity: Identity::Anonymous,
            expected_head: Some(self.first),
            note: None,
        }
    }
}

/// Whether copies, the first at `first`, may follow what came in at `least`. Others always may.
pub(crate) fn check_order(batch: &Batch, first: Offset, least: Timestamp) -> Result<(), Error> {
    match batch.first_ingest_time() {
        Some(time) if time < least => Err(runs_backwards(first, time, least)),
        Some(_) | None => Ok(()),
    }
}

/// That an event is from another history than the one before it.
fn runs_backwards(offset: Offset, time: Timestamp, before: Timestamp) -> Error {
    let [time, before] = [time, before].map(Timestamp::unix_nanos);
    Error::NotACopy(format!(
        "event {offset} came in at {time} ns, but an earlier one at {before} ns since 1970"
    ))
}
