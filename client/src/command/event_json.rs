//! Events as JSON objects: what `--output json` prints, and `put -` takes in again.
//!
//! `value` is a JSON number, boolean or text; `kind` says which of the five kinds it is. Doubles that JSON has no
//! number for are text (`"NaN"`, `"Infinity"`), bytes are base64. Times are RFC 3339.

use anyhow::{Context as _, bail};
use downlink_client::time::{parse_rfc3339, rfc3339};
use downlink_client::v1::{Event, Gap, Quality, Value, gap, value::Kind};
use serde_json::{Map, Number, Value as Json, json};

use super::value::{self, QualityWord, ValueKind};

/// An event as a JSON object.
pub(super) fn to_json(event: &Event) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("offset".to_owned(), event.offset.into());
    object.insert("signal".to_owned(), event.signal.as_str().into());
    for (name, time) in [("event_time", &event.event_time), ("ingest_time", &event.ingest_time)] {
        object.insert(name.to_owned(), time.as_ref().map(rfc3339).into());
    }
    let kind = event.value.as_ref().and_then(|value| value.kind.as_ref());
    object.insert("value".to_owned(), kind.map_or(Json::Null, value_json));
    object.insert("kind".to_owned(), kind.map(|kind| ValueKind::of(kind).name()).into());
    object.insert("quality".to_owned(), value::quality_word(event.quality()).into());
    object.insert("source".to_owned(), event.source.as_str().into());
    if !event.attributes.is_empty() {
        object.insert("attributes".to_owned(), json!(event.attributes));
    }
    if !event.trace_context.is_empty() {
        object.insert("trace_context".to_owned(), value::hex(&event.trace_context).into());
    }
    object
}

/// A gap as a JSON object, told from an event by its one field.
pub(super) fn gap_json(gap: &Gap) -> Json {
    let reason = gap_reason(gap);
    json!({"gap": {"first_offset": gap.first_offset, "last_offset": gap.last_offset, "reason": reason}})
}

/// Why events are missing, in a word.
pub(super) fn gap_reason(gap: &Gap) -> &'static str {
    match gap.reason() {
        gap::Reason::Unspecified => "unknown",
        gap::Reason::Retention => "retention",
        gap::Reason::Corruption => "corruption",
    }
}

/// A double as JSON: a number, or a word where JSON has none.
pub(super) fn number_json(double: f64) -> Json {
    match Number::from_f64(double) {
        Some(number) => number.into(),
        None => {
            let mut text = String::new();
            value::push_double(&mut text, double);
            text.into()
        }
    }
}

/// A value as JSON.
pub(super) fn value_json(kind: &Kind) -> Json {
    match kind {
        Kind::DoubleValue(double) => number_json(*double),
        Kind::IntValue(int) => (*int).into(),
        Kind::BoolValue(bool) => (*bool).into(),
        Kind::StringValue(text) => text.as_str().into(),
        Kind::BytesValue(bytes) => value::base64(bytes).into(),
    }
}

/// The event that a line of JSON means. What the log gives (offset, ingest time) may be there and is ignored.
pub(super) fn from_json(line: &str) -> anyhow::Result<Event> {
    let object: Map<String, Json> = serde_json::from_str(line).context("not a JSON object")?;
    let mut event = Event::default();
    let mut kind = None;
    let mut json_value = &Json::Null;
    for (name, field) in &object {
        match (name.as_str(), field) {
            ("offset" | "signal_id" | "ingest_time" | "trace_id", _) => {}
            ("value", value) => json_value = value,
            (_, Json::Null) => {}
            ("signal", Json::String(text)) => event.signal.clone_from(text),
            ("source", Json::String(text)) => event.source.clone_from(text),
            ("event_time", Json::String(text)) => event.event_time = Some(parse_rfc3339(text)?),
            ("kind", Json::String(text)) => kind = Some(word::<ValueKind>(text)?),
            ("quality", Json::String(text)) => {
                event.quality = Quality::from(word::<QualityWord>(text)?).into()
            }
            ("trace_context", Json::String(text)) => event.trace_context = value::parse_hex(text)?,
            ("attributes", Json::Object(attributes)) => {
                for (key, attribute) in attributes {
                    let text =
                        attribute.as_str().with_context(|| format!("attribute '{key}' is not a text"))?;
                    event.attributes.insert(key.clone(), text.to_owned());
                }
            }
            (name, _) => bail!("field '{name}' is unknown or of the wrong type"),
        }
    }
    if event.signal.is_empty() {
        bail!("no 'signal'");
    }
    event.value = Some(Value { kind: Some(value_of(json_value, kind)?) });
    Ok(event)
}

/// The word of a set that a text names.
pub(super) fn word<T: clap::ValueEnum>(text: &str) -> anyhow::Result<T> {
    T::from_str(text, false).map_err(|_| anyhow::anyhow!("'{text}' is not one of the words known here"))
}

fn value_of(json: &Json, kind: Option<ValueKind>) -> anyhow::Result<Kind> {
    Ok(match (json, kind) {
        (Json::Null, _) => bail!("no 'value'"),
        (Json::String(text), Some(kind)) => kind.parse(text)?,
        (Json::String(text), None) => Kind::StringValue(text.clone()),
        (Json::Bool(bool), None | Some(ValueKind::Bool)) => Kind::BoolValue(*bool),
        (Json::Number(number), None) => match number.as_i64() {
            Some(int) => Kind::IntValue(int),
            None => Kind::DoubleValue(number.as_f64().context("a number beyond a double")?),
        },
        (Json::Number(number), Some(ValueKind::Double)) => {
            Kind::DoubleValue(number.as_f64().context("a number beyond a double")?)
        }
        (Json::Number(number), Some(ValueKind::Int)) => {
            Kind::IntValue(number.as_i64().context("not an integer of 64 bits")?)
        }
        (Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_), _) => {
            bail!("{json} is not a value of kind {}", kind.map_or("number, boolean or text", ValueKind::name))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use downlink_client::{Timestamp, event};

    fn event_of(kind: Kind) -> Event {
        let mut event = event("iss/NODE3000005", kind);
        event.event_time = Some(Timestamp { seconds: 1_539_320_355, nanos: 120_000_000 });
        event.quality = Quality::Stale.into();
        event.source = "replay/day".to_owned();
        event.attributes.insert("k".to_owned(), "\"v\"\n".to_owned());
        event.trace_context = vec![1, 2, 255];
        event
    }

    #[test]
    fn an_event_comes_back_from_its_json() {
        let doubles = [12.0, -0.0, 0.1, f64::MAX, f64::NAN, -f64::NAN, f64::NEG_INFINITY, 5e-324];
        let kinds = doubles.map(Kind::DoubleValue).into_iter().chain([
            Kind::IntValue(i64::MAX),
            Kind::BoolValue(false),
            Kind::StringValue("12".to_owned()),
            Kind::BytesValue(vec![0, 200]),
        ]);
        for event in kinds.map(event_of) {
            let line = Json::from(to_json(&event)).to_string();
            let back = from_json(&line).unwrap();
            // NaN is not equal to itself, its bits are.
            assert_eq!(format!("{:?}", to_json(&back)), format!("{:?}", to_json(&event)), "{line}");
            assert_eq!(back.value.is_some(), event.value.is_some());
        }
    }

    #[test]
    fn numbers_are_numbers() {
        let json = Json::from(to_json(&event_of(Kind::DoubleValue(12.0)))).to_string();
        assert!(json.contains(r#""event_time":"2018-10-12T04:59:15.12Z","#), "{json}");
        assert!(json.contains(r#""value":12.0,"kind":"double","quality":"stale""#), "{json}");
    }

    #[test]
    fn kinds_are_guessed_from_json_and_nonsense_is_refused() {
        let value = |line: &str| from_json(line).map(|event| event.value.unwrap().kind.unwrap());
        assert_eq!(value(r#"{"signal":"a","value":1}"#).unwrap(), Kind::IntValue(1));
        assert_eq!(value(r#"{"signal":"a","value":1.0}"#).unwrap(), Kind::DoubleValue(1.0));
        assert_eq!(value(r#"{"signal":"a","value":1,"kind":"double"}"#).unwrap(), Kind::DoubleValue(1.0));
        for line in [
            r#"{"signal":"a"}"#,
            r#"{"value":1}"#,
            r#"{"signal":"a","value":[1]}"#,
            r#"{"signal":"a","value":1.5,"kind":"int"}"#,
            r#"{"signal":"a","value":1,"colour":"red"}"#,
            "12",
        ] {
            assert!(value(line).is_err(), "{line}");
        }
    }
}
