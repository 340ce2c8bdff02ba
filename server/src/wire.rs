//! An event as the `Event` of the API, encoded, and back: what the gRPC side and the mirror's topic have in common.

mod decode;
mod differ;
mod event;
mod json;

use downlink_proto::v1;
use downlink_storage::{Quality, Timestamp};

/// What an encoded event is, in the language of protobuf.
pub(crate) use downlink_proto::TYPES_PROTO as EVENT_SCHEMA;

pub(crate) use decode::decode_event;
pub(crate) use differ::differing_field;
pub(crate) use event::{encode_event, put_bytes};
pub(crate) use json::encode_json;

/// The most bytes of an encoded event that comes from elsewhere. The settings let none become so large.
pub(crate) const EVENT_BYTES_MAX: usize = 4 << 20;

/// The quality of an event; unset means good.
pub(crate) fn quality(wire: i32) -> Option<Quality> {
    Some(match v1::Quality::try_from(wire).ok()? {
        v1::Quality::Unspecified | v1::Quality::Good => Quality::Good,
        v1::Quality::Stale => Quality::Stale,
        v1::Quality::Uncertain => Quality::Uncertain,
        v1::Quality::Bad => Quality::Bad,
    })
}

/// A quality on the wire.
pub(crate) const fn wire_quality(quality: Quality) -> v1::Quality {
    match quality {
        Quality::Good => v1::Quality::Good,
        Quality::Stale => v1::Quality::Stale,
        Quality::Uncertain => v1::Quality::Uncertain,
        Quality::Bad => v1::Quality::Bad,
    }
}

/// A time on the wire.
pub(crate) fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.nanos()).expect("nanoseconds are below a second");
    prost_types::Timestamp { seconds: time.seconds(), nanos }
}
