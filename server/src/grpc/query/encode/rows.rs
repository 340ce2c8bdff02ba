//! Events as rows: each is written to the wire's form as it is picked, without a message in between.

use downlink_storage::{EventRef, Offset};

use crate::wire::{encode_event, put_bytes};

/// The field of `EventBatch` that holds the events.
const EVENTS: u32 = 1;

/// The most room that is made for a message before there is anything to put in.
const KEPT_BYTES_MAX: usize = 128 << 10;

/// Rows in the making.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// The events so far, each with its key and its length.
    bytes: Vec<u8>,
    /// The present event.
    event: Vec<u8>,
    count: usize,
    last_offset: Option<Offset>,
}

impl Rows {
    /// Adds an event.
    pub(super) fn push(&mut self, event: &EventRef<'_>) {
        self.event.clear();
        encode_event(&mut self.event, event);
        put_bytes(&mut self.bytes, EVENTS, &self.event);
        self.count += 1;
        self.last_offset = Some(event.offset);
    }

    /// How many events there are.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The offset of the last of them.
    pub(super) const fn last_offset(&self) -> Option<Offset> {
        self.last_offset
    }

    /// The events as the field of an `EventBatch`.
    pub(super) fn take(&mut self) -> Vec<u8> {
        (self.count, self.last_offset) = (0, None);
        // A reader that does not get on keeps no more than this for its next message.
        self.event.shrink_to(KEPT_BYTES_MAX / 16);
        let next = Vec::with_capacity(self.bytes.len().min(KEPT_BYTES_MAX));
        std::mem::replace(&mut self.bytes, next)
    }
}
