//! The newest event of each signal, as of an offset: a fold over the blocks, so it can be made again at any time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::block::Block;
use crate::bytes::{Fault, Reader, Writer};
use crate::event::{Event, Offset, Quality, SYSTEM_PREFIX, SignalId, Timestamp, Value};

/// The newest event of a signal, by offset.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The event.
    pub event: Event,
    /// Its offset.
    pub offset: Offset,
    /// Its ingest time.
    pub ingest_time: Timestamp,
    /// The number of its signal.
    pub signal_id: SignalId,
    /// Event time of the first event since which the value has been the same.
    pub unchanged_since: Timestamp,
}

/// A signal that has had an event.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalInfo {
    /// Its number.
    pub id: SignalId,
    /// Its name.
    pub name: Arc<str>,
    /// How many events it has had.
    pub events: u64,
    /// The newest of them.
    pub latest: Latest,
}

/// Every signal by number.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Projection {
    signals: HashMap<SignalId, SignalInfo>,
    by_name: BTreeMap<Arc<str>, SignalId>,
    /// Offset and ingest time of the newest event that is not the system's own.
    newest_telemetry: Option<(Offset, Timestamp)>,
}

impl Projection {
    /// Takes the next block in.
    pub(crate) fn apply(&mut self, block: &Block) {
        for (signal, fold) in block.signals().iter().zip(self.fold(block)) {
            let Some(last) = fold.last else { continue };
            let event = block.event(last);
            self.note_newest(&signal.name, event.offset, event.ingest_time);
            let latest = Latest {
                event: event.to_event(),
                offset: event.offset,
                ingest_time: event.ingest_time,
                signal_id: signal.id,
                unchanged_since: fold.unchanged_since,
            };
            if let Some(info) = self.signals.get_mut(&signal.id) {
                info.events += fold.events;
                info.latest = latest;
            } else {
                let info =
                    SignalInfo { id: signal.id, name: signal.name.clone(), events: fold.events, latest };
                self.signals.insert(signal.id, info);
                self.by_name.insert(signal.name.clone(), signal.id);
            }
        }
    }

    fn note_newest(&mut self, name: &str, offset: Offset, ingest_time: Timestamp) {
        if !name.starts_with(SYSTEM_PREFIX) {
            self.newest_telemetry = self.newest_telemetry.max(Some((offset, ingest_time)));
        }
    }

    /// For each signal of the block: how many events, the last, and since when its value is the same.
    fn fold(&self, block: &Block) -> Vec<Fold> {
        let mut folds =
            vec![Fold { events: 0, last: None, unchanged_since: Timestamp::EPOCH }; block.signals().len()];
        for row in 0..block.len() {
            let index = block.signal_index(row);
            let fold = &mut folds[index];
            let event = block.event(row);
            let known = match fold.last {
                Some(last) => Some((block.event(last).value == event.value, fold.unchanged_since)),
                None => self.signals.get(&block.signals()[index].id).map(|info| {
                    (info.latest.event.value.as_ref() == event.value, info.latest.unchanged_since)
                }),
            };
            fold.unchanged_since = match known {
                Some((true, since)) => since,
                Some((false, _)) | None => event.event_time,
            };
            fold.events += 1;
            fold.last = Some(row);
        }
        folds
    }

    pub(crate) fn len(&self) -> usize {
        self.signals.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&SignalInfo> {
        self.signals.get(self.by_name.get(name)?)
    }

    /// The names that begin with `prefix` and are greater than `after`, in order.
    pub(crate) fn names(&self, prefix: &str, after: Option<&str>) -> Vec<(Arc<str>, SignalId)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let named = self.by_name.range::<str, _>((from, Bound::Unbounded));
        let named = named.take_while(|(name, _)| name.starts_with(prefix));
        named.map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// Offset and ingest time of the newest event that is not the system's own.
    pub(crate) fn newest_telemetry(&self) -> Option<(Offset, Timestamp)> {
        self.newest_telemetry
    }

    pub(crate) fn by_id(&self, id: SignalId) -> Option<&SignalInfo> {
        self.signals.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SignalInfo> {
        self.signals.values()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        let mut signals: Vec<_> = self.signals.values().collect();
        signals.sort_by_key(|info| info.id);
        writer.u64(signals.len() as u64);
        for info in signals {
            let latest = &info.latest;
            writer.u64(u64::from(info.id.0)).u64(info.events).u64(latest.offset.get());
            writer.time(latest.ingest_time).time(latest.unchanged_since);
            encode_event(writer, &latest.event);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut projection = Self::default();
        for _ in 0..reader.count()? {
            let id = SignalId(reader.u32()?);
            let events = reader.u64()?;
            let offset = reader.offset()?;
            let ingest_time = reader.time()?;
            let unchanged_since = reader.time()?;
            let event = decode_event(reader)?;
            let name: Arc<str> = Arc::from(event.signal.as_str());
            let latest = Latest { event, offset, ingest_time, signal_id: id, unchanged_since };
            projection.note_newest(&name, offset, ingest_time);
            projection.by_name.insert(name.clone(), id);
            projection.signals.insert(id, SignalInfo { id, name, events, latest });
        }
        Ok(projection)
    }
}

#[derive(Clone)]
struct Fold {
    events: u64,
    last: Option<usize>,
    unchanged_since: Timestamp,
}

fn encode_event(writer: &mut Writer, event: &Event) {
    writer.bytes(event.signal.as_bytes()).time(event.event_time).u64(event.quality as u64);
    writer.bytes(event.source.as_bytes()).bytes(&event.trace_context);
    writer.u64(event.attributes.len() as u64);
    for (key, value) in &event.attributes {
        writer.bytes(key.as_bytes()).bytes(value.as_bytes());
    }
    match &event.value {
        Value::Double(value) => writer.u64(1).bytes(&value.to_bits().to_le_bytes()),
        Value::Int(value) => writer.u64(2).i64(*value),
        Value::Bool(value) => writer.u64(3).u64(u64::from(*value)),
        Value::String(value) => writer.u64(4).bytes(value.as_bytes()),
        Value::Bytes(value) => writer.u64(5).bytes(value),
    };
}

fn decode_event(reader: &mut Reader<'_>) -> Result<Event, Fault> {
    let signal = reader.text()?.to_string();
    let event_time = reader.time()?;
    let quality = match reader.u64()? {
        0 => Quality::Good,
        1 => Quality::Stale,
        2 => Quality::Uncertain,
        3 => Quality::Bad,
        _ => return Err(Fault::Malformed),
    };
    let source = reader.text()?.to_string();
    let trace_context = reader.bytes()?.to_vec();
    let mut attributes = std::collections::BTreeMap::new();
    for _ in 0..reader.count()? {
        attributes.insert(reader.text()?.to_string(), reader.text()?.to_string());
    }
    let value = match reader.u64()? {
        1 => {
            let bits = reader.bytes()?.try_into().map_err(|_| Fault::Malformed)?;
            Value::Double(f64::from_bits(u64::from_le_bytes(bits)))
        }
        2 => Value::Int(reader.i64()?),
        3 => Value::Bool(reader.u64()? != 0),
        4 => Value::String(reader.text()?.to_string()),
        5 => Value::Bytes(reader.bytes()?.to_vec()),
        _ => return Err(Fault::Malformed),
    };
    Ok(Event { signal, event_time, value, quality, source, attributes, trace_context })
}
