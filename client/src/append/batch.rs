//! A batch in the making: events encoded as they come, ready to travel and to travel again.

use bytes::{Bytes, BytesMut};
use downlink_proto::v1::{Event, EventColumns, value::Kind};
use prost::Message;

use crate::columns::{ColumnsBuilder, Encoding};

/// The numbers of the fields `events` and `columns` in a batch.
const EVENTS_FIELD: u32 = 2;
const COLUMNS_FIELD: u32 = 3;

/// The most that a batch may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
}

/// A batch, encoded but for its sequence. Clones share the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedBatch {
    pub(crate) body: Bytes,
    pub(crate) events: u32,
}

/// Gathers the events of a batch.
#[derive(Debug)]
pub struct BatchBuilder {
    events: Events,
}

/// The events so far.
#[derive(Debug)]
enum Events {
    /// Encoded one behind the other.
    Rows {
        body: BytesMut,
        count: u32,
    },
    Columns(Box<ColumnsBuilder>),
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new(Encoding::default())
    }
}

impl BatchBuilder {
    /// An empty batch whose events are to travel like this.
    pub fn new(encoding: Encoding) -> Self {
        let events = match encoding {
            Encoding::Rows => Events::Rows { body: BytesMut::new(), count: 0 },
            Encoding::Columns => Events::Columns(Box::default()),
        };
        Self { events }
    }

    /// Adds an event.
    ///
    /// # Panics
    /// In columns, if it has a time of its own and the others have not, or the other way round.
    pub fn push(&mut self, event: &Event) {
        match &mut self.events {
            Events::Rows { body, count } => {
                prost::encoding::message::encode(EVENTS_FIELD, event, body);
                *count += 1;
            }
            Events::Columns(columns) => columns.push(event),
        }
    }

    /// What was added, as a batch; the builder is empty again.
    pub fn take(&mut self) -> EncodedBatch {
        match &mut self.events {
            Events::Rows { body, count } => {
                let batch = EncodedBatch { body: body.split().freeze(), events: std::mem::take(count) };
                // One allocation for the next batch instead of a dozen that grow.
                body.reserve(batch.body.len());
                batch
            }
            Events::Columns(columns) => EncodedBatch::of_columns(&columns.take()),
        }
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        match &self.events {
            Events::Rows { count, .. } => *count as usize,
            Events::Columns(columns) => columns.len(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is room for the event beside those it holds. An empty builder has room for any.
    pub(crate) fn fits(&self, event: &Event, limits: BatchLimits) -> bool {
        let joins = match &self.events {
            Events::Rows { .. } => true,
            Events::Columns(columns) => columns.fits(event),
        };
        let has_room =
            self.len() < limits.events_max && self.bytes() + bytes_at_most(event) <= limits.bytes_max;
        self.is_empty() || (joins && has_room)
    }

    pub(crate) fn is_full(&self, limits: BatchLimits) -> bool {
        self.len() >= limits.events_max || self.bytes() >= limits.bytes_max
    }

    fn bytes(&self) -> usize {
        match &self.events {
            Events::Rows { body, .. } => body.len(),
            Events::Columns(columns) => columns.bytes(),
        }
    }
}

impl EncodedBatch {
    /// A batch of events that are in columns already.
    pub fn of_columns(columns: &EventColumns) -> Self {
        let mut body = BytesMut::with_capacity(columns.encoded_len() + 16);
        prost::encoding::message::encode(COLUMNS_FIELD, columns, &mut body);
        Self { body: body.freeze(), events: columns.signal_indexes.len() as u32 }
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.events as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }
}

/// A bound on an event's encoded length that is cheaper than the length: encoding works that out anyway.
fn bytes_at_most(event: &Event) -> usize {
    let value = match event.value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text.len(),
        Some(Kind::BytesValue(bytes)) => bytes.len(),
        Some(Kind::DoubleValue(_) | Kind::IntValue(_) | Kind::BoolValue(_)) | None => 0,
    };
    let attributes: usize = event.attributes.iter().map(|(key, value)| key.len() + value.len() + 32).sum();
    event.signal.len() + event.source.len() + event.trace_context.len() + value + attributes + 160
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;
    use downlink_proto::v1::append_stream_request::Batch;

    #[test]
    fn a_body_is_a_batch_without_its_sequence() {
        let events = vec![event("a", 1.5), event("b", true), event("c", "text")];
        let mut builder = BatchBuilder::default();
        events.iter().for_each(|event| builder.push(event));
        let batch = builder.take();
        let expected = Batch { sequence: 0, events, columns: None };
        assert_eq!(Batch::decode(batch.body).unwrap(), expected);
        assert!(builder.is_empty());
    }

    #[test]
    fn a_batch_keeps_within_its_limits() {
        let limits = BatchLimits { events_max: 1000, bytes_max: 4096 };
        let mut builder = BatchBuilder::default();
        for length in (0..2000).map(|n| n * 7 % 1900) {
            let next = event("signal", "x".repeat(length));
            if !builder.fits(&next, limits) {
                assert!(builder.take().body.len() <= limits.bytes_max);
            }
            builder.push(&next);
        }
        // An event that is larger than a batch travels alone.
        builder.take();
        assert!(builder.fits(&event("signal", "x".repeat(9000)), limits));
    }
}
