//! An event on its way back from where it was sent to: as the log had it.

use downlink_proto::v1::{self, value::Kind};
use downlink_storage::{CopiedEvent, Offset, SignalId, Timestamp, ValueRef};
use prost::Message as _;

use super::{EVENT_BYTES_MAX, quality};

/// The longest name of a signal or a source, with what the system puts before those of its own.
const NAME_BYTES_MAX: usize = 1024;

/// Hands out the event of the wire in `bytes`, or says why that is none of a log.
pub(crate) fn decode_event<T>(bytes: &[u8], look: impl FnOnce(CopiedEvent<'_>) -> T) -> Result<T, String> {
    if bytes.len() > EVENT_BYTES_MAX {
        return Err(format!("it has {} bytes, and no event has more than {EVENT_BYTES_MAX}", bytes.len()));
    }
    let mut event = v1::Event::decode(bytes).map_err(|error| error.to_string())?;
    let attributes = std::mem::take(&mut event.attributes);
    let value = match event.value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(Kind::DoubleValue(value)) => ValueRef::Double(*value),
        Some(Kind::IntValue(value)) => ValueRef::Int(*value),
        Some(Kind::BoolValue(value)) => ValueRef::Bool(*value),
        Some(Kind::StringValue(value)) => ValueRef::String(value),
        Some(Kind::BytesValue(value)) => ValueRef::Bytes(value),
        None => return Err("it has no value".to_owned()),
    };
    if event.signal.is_empty() || event.signal_id == 0 {
        return Err("it has no signal".to_owned());
    }
    if event.signal.len().max(event.source.len()) > NAME_BYTES_MAX {
        return Err(format!("it has a name of more than {NAME_BYTES_MAX} bytes"));
    }
    Ok(look(CopiedEvent {
        offset: Offset::new(event.offset).ok_or("it has no offset")?,
        signal_id: SignalId(event.signal_id),
        signal: &event.signal,
        event_time: time(event.event_time).ok_or("it has no event time")?,
        ingest_time: time(event.ingest_time).ok_or("it has no ingest time")?,
        value,
        quality: quality(event.quality).ok_or_else(|| format!("quality {} is unknown", event.quality))?,
        source: &event.source,
        attributes,
        trace_context: &event.trace_context,
    }))
}

fn time(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, u32::try_from(time.nanos).ok()?)
}

#[cfg(test)]
mod tests {
    use downlink_proto::v1::Event;

    use super::*;

    fn whole() -> Event {
        let time = prost_types::Timestamp { seconds: 5, nanos: 999_999_999 };
        Event {
            offset: 7,
            signal: "a".to_owned(),
            signal_id: 3,
            event_time: Some(time),
            ingest_time: Some(time),
            value: Some(v1::Value { kind: Some(Kind::BytesValue(vec![1])) }),
            ..Event::default()
        }
    }

    #[test]
    fn what_lacks_a_part_that_every_event_has_or_is_too_large_is_none() {
        let decoded = |event: Event| decode_event(&event.encode_to_vec(), |event| event.offset.get());
        assert_eq!(decoded(whole()), Ok(7));
        let no_time = Some(prost_types::Timestamp { seconds: 5, nanos: -1 });
        for (event, problem) in [
            (Event { offset: 0, ..whole() }, "offset"),
            (Event { signal: String::new(), ..whole() }, "signal"),
            (Event { signal_id: 0, ..whole() }, "signal"),
            (Event { event_time: None, ..whole() }, "event time"),
            (Event { ingest_time: no_time, ..whole() }, "ingest time"),
            (Event { value: Some(v1::Value { kind: None }), ..whole() }, "value"),
            (Event { quality: 99, ..whole() }, "quality"),
            (Event { signal: "a".repeat(NAME_BYTES_MAX + 1), ..whole() }, "name"),
            (Event { source: "a".repeat(NAME_BYTES_MAX + 1), ..whole() }, "name"),
            (Event { trace_context: vec![0; EVENT_BYTES_MAX], ..whole() }, "bytes"),
        ] {
            let error = decoded(event).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        assert!(decode_event(b"{}", |_| ()).is_err());
    }
}
