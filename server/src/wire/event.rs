//! An event as the `Event` of the wire, written without a message in between.

use downlink_storage::{EventRef, Timestamp, ValueRef};
use prost::encoding::{WireType, btree_map, encode_key, encode_varint, encoded_len_varint, string};

use super::wire_quality;

/// The fields of `Event`.
mod field {
    pub(super) const OFFSET: u32 = 1;
    pub(super) const SIGNAL: u32 = 2;
    pub(super) const SIGNAL_ID: u32 = 3;
    pub(super) const EVENT_TIME: u32 = 4;
    pub(super) const INGEST_TIME: u32 = 5;
    pub(super) const VALUE: u32 = 6;
    pub(super) const QUALITY: u32 = 7;
    pub(super) const SOURCE: u32 = 8;
    pub(super) const ATTRIBUTES: u32 = 9;
    pub(super) const TRACE_CONTEXT: u32 = 10;
}

/// The fields of `Value`.
mod value {
    pub(super) const DOUBLE: u32 = 1;
    pub(super) const INT: u32 = 2;
    pub(super) const BOOL: u32 = 3;
    pub(super) const STRING: u32 = 4;
    pub(super) const BYTES: u32 = 5;
}

/// Writes the event as the `Event` of the wire.
pub(crate) fn encode_event(to: &mut Vec<u8>, event: &EventRef<'_>) {
    put_number(to, field::OFFSET, event.offset.get());
    put_unless_empty(to, field::SIGNAL, event.signal.as_bytes());
    put_number(to, field::SIGNAL_ID, u64::from(event.signal_id.0));
    put_time(to, field::EVENT_TIME, event.event_time);
    put_time(to, field::INGEST_TIME, event.ingest_time);
    put_value(to, event.value);
    put_number(to, field::QUALITY, wire_quality(event.quality) as u64);
    put_unless_empty(to, field::SOURCE, event.source.as_bytes());
    if let Some(attributes) = event.attributes {
        btree_map::encode(
            string::encode,
            string::encoded_len,
            string::encode,
            string::encoded_len,
            field::ATTRIBUTES,
            attributes,
            to,
        );
    }
    put_unless_empty(to, field::TRACE_CONTEXT, event.trace_context);
}

/// A number, which is absent when it is 0.
fn put_number(to: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        encode_key(field, WireType::Varint, to);
        encode_varint(number, to);
    }
}

/// Text, bytes or a message.
pub(crate) fn put_bytes(to: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(bytes.len() as u64, to);
    to.extend_from_slice(bytes);
}

fn put_unless_empty(to: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(to, field, bytes);
    }
}

/// A `google.protobuf.Timestamp`, whose fields are 1 and 2.
fn put_time(to: &mut Vec<u8>, field: u32, time: Timestamp) {
    let (seconds, nanos) = (time.seconds().cast_unsigned(), u64::from(time.nanos()));
    let length = |number| if number == 0 { 0 } else { 1 + encoded_len_varint(number) };
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint((length(seconds) + length(nanos)) as u64, to);
    put_number(to, 1, seconds);
    put_number(to, 2, nanos);
}

fn put_value(to: &mut Vec<u8>, value: ValueRef<'_>) {
    let (kind, number) = match value {
        ValueRef::Double(value) => {
            encode_key(field::VALUE, WireType::LengthDelimited, to);
            encode_varint(9, to);
            encode_key(value::DOUBLE, WireType::SixtyFourBit, to);
            return to.extend_from_slice(&value.to_le_bytes());
        }
        ValueRef::String(text) => return put_blob(to, value::STRING, text.as_bytes()),
        ValueRef::Bytes(bytes) => return put_blob(to, value::BYTES, bytes),
        ValueRef::Int(value) => (value::INT, zigzag(value)),
        ValueRef::Bool(value) => (value::BOOL, u64::from(value)),
    };
    encode_key(field::VALUE, WireType::LengthDelimited, to);
    encode_varint(1 + encoded_len_varint(number) as u64, to);
    // A kind that is chosen is there whatever its value is.
    encode_key(kind, WireType::Varint, to);
    encode_varint(number, to);
}

fn put_blob(to: &mut Vec<u8>, kind: u32, bytes: &[u8]) {
    encode_key(field::VALUE, WireType::LengthDelimited, to);
    encode_varint((1 + encoded_len_varint(bytes.len() as u64) + bytes.len()) as u64, to);
    put_bytes(to, kind, bytes);
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}
