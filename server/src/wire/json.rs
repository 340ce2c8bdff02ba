//! An event as JSON, in the form that protobuf gives its messages: any protobuf library reads it back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use downlink_storage::{EventRef, ValueRef};
use serde::Serialize;

use super::{wire_quality, wire_time};

/// `downlink.v1.Event`. Numbers of 64 bits are strings there, bytes are base64.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    offset: String,
    signal: &'a str,
    signal_id: u32,
    event_time: String,
    ingest_time: String,
    value: Value<'a>,
    quality: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_context: String,
}

#[derive(Serialize)]
enum Value<'a> {
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[serde(rename = "doubleValue")]
    NoNumber(&'static str),
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    #[serde(rename = "stringValue")]
    String(&'a str),
    #[serde(rename = "bytesValue")]
    Bytes(String),
}

impl<'a> Value<'a> {
    fn of(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Double(number) if number.is_nan() => Self::NoNumber("NaN"),
            ValueRef::Double(f64::INFINITY) => Self::NoNumber("Infinity"),
            ValueRef::Double(f64::NEG_INFINITY) => Self::NoNumber("-Infinity"),
            ValueRef::Double(number) => Self::Double(number),
            ValueRef::Int(number) => Self::Int(number.to_string()),
            ValueRef::Bool(is_true) => Self::Bool(is_true),
            ValueRef::String(text) => Self::String(text),
            ValueRef::Bytes(bytes) => Self::Bytes(BASE64_STANDARD.encode(bytes)),
        }
    }
}

/// Writes the event as JSON.
pub(crate) fn encode_json(to: &mut Vec<u8>, event: &EventRef<'_>) {
    let event = Event {
        offset: event.offset.to_string(),
        signal: event.signal,
        signal_id: event.signal_id.0,
        event_time: wire_time(event.event_time).to_string(),
        ingest_time: wire_time(event.ingest_time).to_string(),
        value: Value::of(event.value),
        quality: wire_quality(event.quality).as_str_name(),
        source: event.source,
        attributes: event.attributes,
        trace_context: BASE64_STANDARD.encode(event.trace_context),
    };
    serde_json::to_writer(to, &event).expect("text and numbers can be written to memory");
}
