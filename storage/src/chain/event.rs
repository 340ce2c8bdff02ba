//! An event as the hash chain has it: everything that a reader sees of it, in bytes that no other event has.

use crate::event::{EventRef, Quality, Timestamp, ValueRef};

/// Bytes that every event begins with.
const FIXED: usize = 8 + 4 + 2 * (8 + 4) + 1 + 1;

/// Writes an event behind others, as the API says that it is hashed. Numbers of qualities and kinds are the API's.
pub(crate) fn encode(to: &mut Vec<u8>, event: &EventRef<'_>) {
    let mut fixed = [0; FIXED];
    let mut rest = &mut fixed[..];
    put(&mut rest, event.offset.get().to_le_bytes());
    put(&mut rest, event.signal_id.0.to_le_bytes());
    put_time(&mut rest, event.ingest_time);
    put_time(&mut rest, event.event_time);
    put(&mut rest, [quality(event.quality), kind(event.value)]);
    debug_assert!(rest.is_empty(), "it is as long as its parts");
    to.extend_from_slice(&fixed);
    match event.value {
        ValueRef::Double(value) => to.extend_from_slice(&value.to_bits().to_le_bytes()),
        ValueRef::Int(value) => to.extend_from_slice(&value.to_le_bytes()),
        ValueRef::Bool(value) => to.push(u8::from(value)),
        ValueRef::String(value) => put_bytes(to, value.as_bytes()),
        ValueRef::Bytes(value) => put_bytes(to, value),
    }
    put_bytes(to, event.signal.as_bytes());
    put_bytes(to, event.source.as_bytes());
    put_bytes(to, event.trace_context);
    put_length(to, event.attributes.map_or(0, |attributes| attributes.len()));
    // They are kept in the order of their names' bytes.
    for (name, value) in event.attributes.into_iter().flatten() {
        put_bytes(to, name.as_bytes());
        put_bytes(to, value.as_bytes());
    }
}

fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    let (here, behind) = std::mem::take(rest).split_first_chunk_mut().expect("there is room for all parts");
    *here = bytes;
    *rest = behind;
}

fn put_time(rest: &mut &mut [u8], time: Timestamp) {
    put(rest, time.seconds().to_le_bytes());
    put(rest, time.nanos().to_le_bytes());
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_length(to, bytes.len());
    to.extend_from_slice(bytes);
}

fn put_length(to: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("bounded by BLOCK_BYTES_MAX");
    to.extend_from_slice(&length.to_le_bytes());
}

const fn quality(quality: Quality) -> u8 {
    match quality {
        Quality::Good => 1,
        Quality::Stale => 2,
        Quality::Uncertain => 3,
        Quality::Bad => 4,
    }
}

const fn kind(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Double(_) => 1,
        ValueRef::Int(_) => 2,
        ValueRef::Bool(_) => 3,
        ValueRef::String(_) => 4,
        ValueRef::Bytes(_) => 5,
    }
}
