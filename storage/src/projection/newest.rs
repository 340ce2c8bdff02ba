//! The newest event of a signal: in memory, or, where it is large and there is no room, its place in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Latest;
use crate::bytes::{Fault, Reader, Writer};
use crate::event::{Event, EventRef, Offset, Quality, SignalId, Timestamp, Value, ValueRef};

/// Whatever has no more than this is kept in memory, for each of `signals_max`.
const SMALL_BYTES: usize = 256;

/// In place of the kind of a value: the event is in the log, and this is the value.
const PLACED: u64 = 6;
/// In place of the kind of a value: the event is in the log, and so is its value.
const PLACED_LARGE: u64 = 7;

/// The newest event of a signal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Newest {
    /// All of it.
    Whole(Latest),
    /// Where it is.
    Placed(Place),
}

/// Where a newest event is, and what it takes to judge the next one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) offset: Offset,
    pub(crate) ingest_time: Timestamp,
    pub(crate) unchanged_since: Timestamp,
    value: Trace,
}

/// What tells a value from another one.
#[derive(Clone, Debug, PartialEq)]
enum Trace {
    Value(Value),
    /// Of a large one. Two that are equally long and have the same hash pass for the same.
    Hash {
        bytes: u64,
        hash: u64,
    },
}

impl Newest {
    pub(crate) fn whole(event: &EventRef<'_>, unchanged_since: Timestamp) -> Self {
        Self::Whole(Latest {
            event: event.to_event(),
            offset: event.offset,
            ingest_time: event.ingest_time,
            signal_id: event.signal_id,
            unchanged_since,
        })
    }

    pub(crate) fn placed(event: &EventRef<'_>, unchanged_since: Timestamp) -> Self {
        let (offset, ingest_time) = (event.offset, event.ingest_time);
        Self::Placed(Place { offset, ingest_time, unchanged_since, value: Trace::of(event.value) })
    }

    /// Keeps only the place.
    pub(crate) fn give_up(&mut self) {
        if let Self::Whole(latest) = self {
            *self = Self::Placed(Place {
                offset: latest.offset,
                ingest_time: latest.ingest_time,
                unchanged_since: latest.unchanged_since,
                value: Trace::of(latest.event.value.as_ref()),
            });
        }
    }

    pub(crate) fn is_placed(&self) -> bool {
        matches!(self, Self::Placed(_))
    }

    /// What it counts for among the large ones in memory.
    pub(crate) fn large_bytes(&self) -> usize {
        match self {
            Self::Whole(Latest { event, .. }) => {
                let (value, trace_context) = (event.value.as_ref(), event.trace_context.len());
                large(value, Some(&event.attributes), event.source.len() + trace_context)
            }
            Self::Placed(_) => 0,
        }
    }

    pub(crate) fn offset(&self) -> Offset {
        match self {
            Self::Whole(Latest { offset, .. }) | Self::Placed(Place { offset, .. }) => *offset,
        }
    }

    pub(crate) fn ingest_time(&self) -> Timestamp {
        match self {
            Self::Whole(Latest { ingest_time, .. }) | Self::Placed(Place { ingest_time, .. }) => *ingest_time,
        }
    }

    pub(crate) fn unchanged_since(&self) -> Timestamp {
        match self {
            Self::Whole(Latest { unchanged_since, .. }) | Self::Placed(Place { unchanged_since, .. }) => {
                *unchanged_since
            }
        }
    }

    /// Whether this is its value.
    pub(crate) fn has_value(&self, value: ValueRef<'_>) -> bool {
        match self {
            Self::Whole(latest) => latest.event.value.as_ref() == value,
            Self::Placed(Place { value: Trace::Value(kept), .. }) => kept.as_ref() == value,
            Self::Placed(Place { value: kept, .. }) => *kept == Trace::of(value),
        }
    }

    pub(crate) fn encode(&self, writer: &mut Writer, name: &str) {
        writer.u64(self.offset().get()).time(self.ingest_time()).time(self.unchanged_since());
        match self {
            Self::Whole(Latest { event, .. }) => {
                encode_event(writer, event);
                encode_value(writer, &event.value);
            }
            Self::Placed(place) => {
                encode_event(writer, &nothing(name));
                match &place.value {
                    Trace::Value(value) => encode_value(writer.u64(PLACED), value),
                    Trace::Hash { bytes, hash } => drop(writer.u64(PLACED_LARGE).u64(*bytes).u64(*hash)),
                }
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>, signal_id: SignalId) -> Result<(Arc<str>, Self), Fault> {
        let (offset, ingest_time, unchanged_since) = (reader.offset()?, reader.time()?, reader.time()?);
        let event = decode_event(reader)?;
        let name = Arc::from(event.signal.as_str());
        let placed = |value| Self::Placed(Place { offset, ingest_time, unchanged_since, value });
        let newest = match reader.u64()? {
            PLACED => {
                let kind = reader.u64()?;
                placed(Trace::Value(decode_value(reader, kind)?))
            }
            PLACED_LARGE => placed(Trace::Hash { bytes: reader.u64()?, hash: reader.u64()? }),
            kind => {
                let event = Event { value: decode_value(reader, kind)?, ..event };
                Self::Whole(Latest { event, offset, ingest_time, signal_id, unchanged_since })
            }
        };
        Ok((name, newest))
    }
}

impl Trace {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::String(text) if text.len() > SMALL_BYTES => Self::hash(text.as_bytes(), 1),
            ValueRef::Bytes(bytes) if bytes.len() > SMALL_BYTES => Self::hash(bytes, 2),
            ValueRef::Double(_)
            | ValueRef::Int(_)
            | ValueRef::Bool(_)
            | ValueRef::String(_)
            | ValueRef::Bytes(_) => Self::Value(value.to_value()),
        }
    }

    /// By FNV-1a, which is the same on every machine; text and bytes begin differently.
    fn hash(bytes: &[u8], kind: u64) -> Self {
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let hash =
            bytes.iter().fold(BASIS ^ kind, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        Self::Hash { bytes: bytes.len() as u64, hash }
    }
}

/// What an event would count for among the large ones in memory.
pub(crate) fn large_bytes(event: &EventRef<'_>) -> usize {
    large(event.value, event.attributes, event.source.len() + event.trace_context.len())
}

fn large(value: ValueRef<'_>, attributes: Option<&BTreeMap<String, String>>, others: usize) -> usize {
    let value = match value {
        ValueRef::Double(_) | ValueRef::Int(_) | ValueRef::Bool(_) => 8,
        ValueRef::String(text) => text.len(),
        ValueRef::Bytes(bytes) => bytes.len(),
    };
    let attributes: usize =
        attributes.into_iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
    let bytes = value + attributes + others;
    if bytes > SMALL_BYTES { bytes } else { 0 }
}

/// An event that says no more than its name.
fn nothing(name: &str) -> Event {
    Event {
        signal: name.to_owned(),
        event_time: Timestamp::EPOCH,
        value: Value::Bool(false),
        quality: Quality::Good,
        source: String::new(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    }
}

/// All but the value.
fn encode_event(writer: &mut Writer, event: &Event) {
    writer.bytes(event.signal.as_bytes()).time(event.event_time).u64(event.quality as u64);
    writer.bytes(event.source.as_bytes()).bytes(&event.trace_context);
    writer.u64(event.attributes.len() as u64);
    for (key, value) in &event.attributes {
        writer.bytes(key.as_bytes()).bytes(value.as_bytes());
    }
}

fn encode_value(writer: &mut Writer, value: &Value) {
    match value {
        Value::Double(value) => writer.u64(1).bytes(&value.to_bits().to_le_bytes()),
        Value::Int(value) => writer.u64(2).i64(*value),
        Value::Bool(value) => writer.u64(3).u64(u64::from(*value)),
        Value::String(value) => writer.u64(4).bytes(value.as_bytes()),
        Value::Bytes(value) => writer.u64(5).bytes(value),
    };
}

/// With nothing for a value.
fn decode_event(reader: &mut Reader<'_>) -> Result<Event, Fault> {
    let mut event = nothing(&reader.text()?);
    event.event_time = reader.time()?;
    event.quality = match reader.u64()? {
        0 => Quality::Good,
        1 => Quality::Stale,
        2 => Quality::Uncertain,
        3 => Quality::Bad,
        _ => return Err(Fault::Malformed),
    };
    event.source = reader.text()?.to_string();
    event.trace_context = reader.bytes()?.to_vec();
    for _ in 0..reader.count()? {
        event.attributes.insert(reader.text()?.to_string(), reader.text()?.to_string());
    }
    Ok(event)
}

fn decode_value(reader: &mut Reader<'_>, kind: u64) -> Result<Value, Fault> {
    Ok(match kind {
        1 => {
            let bits = reader.bytes()?.try_into().map_err(|_| Fault::Malformed)?;
            Value::Double(f64::from_bits(u64::from_le_bytes(bits)))
        }
        2 => Value::Int(reader.i64()?),
        3 => Value::Bool(reader.u64()? != 0),
        4 => Value::String(reader.text()?.to_string()),
        5 => Value::Bytes(reader.bytes()?.to_vec()),
        _ => return Err(Fault::Malformed),
    })
}
