//! A batch in the making: events encoded as they come, ready to travel and to travel again.

use bytes::{Bytes, BytesMut};
use downlink_proto::v1::{Event, value::Kind};

/// The number of the field `events` in a batch.
const EVENTS_FIELD: u32 = 2;

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

/// Encodes events one behind the other.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    body: BytesMut,
    events: u32,
}

impl BatchBuilder {
    /// Adds an event.
    pub fn push(&mut self, event: &Event) {
        prost::encoding::message::encode(EVENTS_FIELD, event, &mut self.body);
        self.events += 1;
    }

    /// What was added, as a batch; the builder is empty again.
    pub fn take(&mut self) -> EncodedBatch {
        let batch = EncodedBatch { body: self.body.split().freeze(), events: self.events };
        // One allocation for the next batch instead of a dozen that grow.
        self.body.reserve(batch.body.len());
        self.events = 0;
        batch
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.events as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Whether there is room for the event beside those it holds. An empty builder has room for any.
    pub(crate) fn fits(&self, event: &Event, limits: BatchLimits) -> bool {
        self.is_empty()
            || (self.len() < limits.events_max && self.body.len() + bytes_at_most(event) <= limits.bytes_max)
    }

    pub(crate) fn is_full(&self, limits: BatchLimits) -> bool {
        self.len() >= limits.events_max || self.body.len() >= limits.bytes_max
    }
}

impl EncodedBatch {
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
    use prost::Message;

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
