//! In which field two events differ that were encoded, as rows or as JSON.

use downlink_proto::v1::Event;
use prost::Message as _;
use serde_json::{Map, Value as Json};

use super::EVENT_BYTES_MAX;
use crate::config::MirrorValues;

/// JSON writes some characters as six.
const VALUE_BYTES_MAX: usize = 6 * EVENT_BYTES_MAX;

/// The first field in which they differ; `None` if they mean the same, however it is written. What is too large for an event
/// differs as a whole.
pub(crate) fn differing_field(values: MirrorValues, expected: &[u8], found: &[u8]) -> Option<String> {
    if found.len() > VALUE_BYTES_MAX {
        return Some("value".to_owned());
    }
    let differing = match values {
        MirrorValues::Protobuf => in_rows(expected, found),
        MirrorValues::Json => in_json(expected, found),
    };
    // What cannot be decoded is no event.
    differing.unwrap_or_else(|| Some("value".to_owned()))
}

/// `None` if one of them is no event.
fn in_rows(expected: &[u8], found: &[u8]) -> Option<Option<String>> {
    let (a, b) = (Event::decode(expected).ok()?, Event::decode(found).ok()?);
    // NaN equals nothing, not even itself; its bytes do.
    let bytes = |event: &Event| event.value.as_ref().map(prost::Message::encode_to_vec);
    let fields = [
        ("offset", a.offset == b.offset),
        ("signal", a.signal == b.signal),
        ("signal_id", a.signal_id == b.signal_id),
        ("event_time", a.event_time == b.event_time),
        ("ingest_time", a.ingest_time == b.ingest_time),
        ("value", bytes(&a) == bytes(&b)),
        ("quality", a.quality == b.quality),
        ("source", a.source == b.source),
        ("attributes", a.attributes == b.attributes),
        ("trace_context", a.trace_context == b.trace_context),
    ];
    Some(fields.into_iter().find(|(_, is_same)| !is_same).map(|(name, _)| name.to_owned()))
}

fn in_json(expected: &[u8], found: &[u8]) -> Option<Option<String>> {
    let object = |bytes| serde_json::from_slice::<Map<String, Json>>(bytes).ok();
    let (a, b) = (object(expected)?, object(found)?);
    Some(a.keys().chain(b.keys()).find(|key| a.get(*key) != b.get(*key)).cloned())
}

#[cfg(test)]
mod tests {
    use downlink_proto::v1::{Value, value::Kind};

    use super::*;

    #[test]
    fn the_first_field_that_differs_is_named_and_what_is_no_event_too() {
        let with = |number| Event {
            offset: 7,
            value: Some(Value { kind: Some(Kind::DoubleValue(number)) }),
            ..Event::default()
        };
        let rows = |expected: &Event, found: &[u8]| {
            differing_field(MirrorValues::Protobuf, &expected.encode_to_vec(), found)
        };
        let event = with(f64::NAN);
        assert_eq!(rows(&event, &event.encode_to_vec()), None);
        assert_eq!(rows(&event, &with(1.0).encode_to_vec()).as_deref(), Some("value"));
        let other = Event { source: "elsewhere".to_owned(), ..event.clone() };
        assert_eq!(rows(&event, &other.encode_to_vec()).as_deref(), Some("source"));
        assert_eq!(rows(&event, b"\xff").as_deref(), Some("value"));

        let json = |found: &str| differing_field(MirrorValues::Json, br#"{"a":1,"b":[2]}"#, found.as_bytes());
        assert_eq!(json(r#"{ "b": [2], "a": 1 }"#), None);
        assert_eq!(json(r#"{"a":1,"b":[3]}"#).as_deref(), Some("b"));
        assert_eq!(json(r#"{"a":1,"b":[2],"c":0}"#).as_deref(), Some("c"));
        assert_eq!(json("{").as_deref(), Some("value"));
    }
}
