//! Events on their way out, as rows or as columns, encoded as soon as they are picked.

mod columns;
mod rows;

use downlink_proto::v1::{self, EventBatch};
use downlink_storage::{EventRef, Offset};
use prost::Message;
use prost::encoding::uint64;

use columns::Columns;
use rows::Rows;

use super::request::choice;
use crate::grpc::passage::Contents;
use crate::grpc::status::Refusal;
use crate::observability::Links;

/// How a reader wants its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// An `Event` each.
    Rows,
    /// Packed arrays.
    Columns,
}

impl Encoding {
    /// That of a request.
    pub(crate) fn of(number: i32) -> Result<Self, Refusal> {
        Ok(match choice::<v1::Encoding>(number, "encoding")? {
            v1::Encoding::Unspecified | v1::Encoding::Rows => Self::Rows,
            v1::Encoding::Columns => Self::Columns,
        })
    }
}

/// A message's events in the making, in the order of their offsets.
#[derive(Debug)]
pub(crate) enum Encoder {
    /// See [`Encoding::Rows`].
    Rows(Rows),
    /// See [`Encoding::Columns`].
    Columns(Box<Columns>),
}

impl Encoder {
    /// Without events.
    pub(crate) fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Rows => Self::Rows(Rows::default()),
            Encoding::Columns => Self::Columns(Box::default()),
        }
    }

    /// Adds an event.
    #[inline]
    pub(crate) fn push(&mut self, event: &EventRef<'_>) {
        match self {
            Self::Rows(rows) => rows.push(event),
            Self::Columns(columns) => columns.push(event),
        }
    }

    /// What was added, as it travels. The next message is taken to be of about that size.
    pub(crate) fn take(&mut self) -> EncodedBatch {
        let contents = Contents { events: self.len() as u64, links: Links::default() };
        let bytes = match self {
            Self::Rows(rows) => rows.take(),
            Self::Columns(columns) => {
                let next = Columns::with_capacity(columns.len());
                let columns = Some(std::mem::replace(&mut **columns, next).finish());
                EventBatch { columns, ..EventBatch::default() }.encode_to_vec()
            }
        };
        EncodedBatch { bytes, contents }
    }

    /// How many events it has.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Columns(columns) => columns.len(),
        }
    }

    /// The offset of the last of them.
    pub(crate) fn last_offset(&self) -> Option<Offset> {
        match self {
            Self::Rows(rows) => rows.last_offset(),
            Self::Columns(columns) => columns.last_offset(),
        }
    }
}

/// An `EventBatch` as it travels.
#[derive(Debug, Default)]
pub(crate) struct EncodedBatch {
    bytes: Vec<u8>,
    /// What is in it.
    pub(crate) contents: Contents,
}

impl EncodedBatch {
    /// Says in it how many events were dropped in favour of newer ones.
    pub(crate) fn note_conflated(&mut self, events: u64) {
        if events > 0 {
            uint64::encode(CONFLATED_EVENTS, &events, &mut self.bytes);
        }
    }

    /// As a message of a replay.
    pub(crate) fn into_read(self) -> ReadEvents {
        ReadEvents { events: self.bytes }
    }

    /// As a message of a subscription, which resumes at `next_offset`.
    pub(crate) fn into_subscribe(self, next_offset: Offset) -> SubscribeEvents {
        SubscribeEvents { next_offset: next_offset.get(), events: self.bytes }
    }
}

/// The field of `EventBatch` for that.
const CONFLATED_EVENTS: u32 = 2;

/// A `ReadResponse` with events. On the wire a message in a message looks as bytes do.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadEvents {
    #[prost(bytes = "vec", required, tag = "1")]
    events: Vec<u8>,
}

/// A `SubscribeResponse` with events, likewise.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SubscribeEvents {
    #[prost(uint64, tag = "1")]
    next_offset: u64,
    #[prost(bytes = "vec", required, tag = "3")]
    events: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_encoding_is_is_refused() {
        assert_eq!(Encoding::of(0).unwrap(), Encoding::Rows);
        assert_eq!(Encoding::of(2).unwrap(), Encoding::Columns);
        assert!(Encoding::of(3).is_err());
    }
}
