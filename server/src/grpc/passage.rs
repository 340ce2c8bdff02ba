//! A message on its way to its reader, what it carries besides, and how that reader gets on.

use bytes::Bytes;
use downlink_storage::Offset;
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::observability::Links;

/// How many messages wait for a reader: one on its way out, one ready, one in the making.
pub(crate) const MESSAGES_MAX: usize = 2;

/// What a message brings to its reader.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Events in it.
    pub(crate) events: u64,
    /// The traces that they belong to, if anybody traces.
    pub(crate) links: Links,
}

/// What a message with events carries besides: the stretch of the log it covers, and its room if it is large.
#[derive(Debug, Default)]
pub(crate) struct Passage {
    pub(crate) from: Option<Offset>,
    pub(crate) end: Option<Offset>,
    pub(crate) room: Option<OwnedSemaphorePermit>,
    pub(crate) contents: Contents,
    /// Events that its reader has not got with it, and is to get.
    pub(crate) lag_events: u64,
}

impl Passage {
    /// From `from` to before `end`.
    pub(crate) fn new(from: Offset, end: Offset, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { from: Some(from), end: Some(end), room, ..Self::default() }
    }

    /// With these events, so many before the last one that its reader wants.
    #[must_use]
    pub(crate) fn with(self, contents: Contents, lag_events: u64) -> Self {
        Self { contents, lag_events, ..self }
    }
}

/// A message as it travels, and what it carries besides.
pub(crate) struct Parcel {
    pub(crate) bytes: Bytes,
    pub(crate) passage: Passage,
}

impl Parcel {
    /// The message itself is gone by the time its parcel waits.
    pub(crate) fn new(message: impl Message, passage: Passage) -> Self {
        let length = message.encoded_len();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + length);
        // Not compressed.
        bytes.push(0);
        bytes.extend_from_slice(&u32::try_from(length).expect("a message is below 4 GiB").to_be_bytes());
        message.encode_raw(&mut bytes);
        Self { bytes: bytes.into(), passage }
    }
}

/// What gRPC writes before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// How a reader gets on.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When it last took something, or was given room without having any.
    pub(crate) moved: Instant,
    /// What it has not yet got begins here.
    pub(crate) next_offset: Option<Offset>,
    /// How many of its messages hold room.
    pub(crate) rooms: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { moved: Instant::now(), next_offset: None, rooms: 0 }
    }
}

impl Pace {
    /// One more of its messages holds room.
    pub(crate) fn take_room(&mut self) {
        if self.rooms == 0 {
            self.moved = Instant::now();
        }
        self.rooms += 1;
    }

    pub(crate) fn left(&mut self, passage: &Passage) {
        self.moved = Instant::now();
        self.next_offset = passage.end.or(self.next_offset);
        self.rooms -= usize::from(passage.room.is_some());
    }
}
