//! Wire to log and back: conversion and all checks of an event's shape in one step.

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::{self, ErrorReason, Rejection, value::Kind};
use downlink_storage::{Clock, Event, EventRef, Latest, Quality, Timestamp, Value, ValueRef};

use super::status::Refusal;
use crate::config::Config;

/// The checks of one server.
pub(crate) struct Checks {
    clock: Arc<dyn Clock>,
    signal_bytes_max: usize,
    source_bytes_max: usize,
    value_bytes_max: usize,
    attributes_max: usize,
    attributes_bytes_max: usize,
    trace_context_bytes_max: usize,
    past_max: Option<Duration>,
    future_max: Option<Duration>,
}

impl Checks {
    /// Those of `config`, by `clock`.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            signal_bytes_max: config.signal_bytes_max,
            source_bytes_max: config.source_bytes_max,
            value_bytes_max: config.value_bytes_max,
            attributes_max: config.attributes_max,
            attributes_bytes_max: config.attributes_bytes_max,
            trace_context_bytes_max: config.trace_context_bytes_max,
            past_max: config.event_time_past_seconds_max.map(Duration::from_secs),
            future_max: config.event_time_future_seconds_max.map(Duration::from_secs),
        }
    }

    /// The events as the log wants them. `trace_context` is for those that bring none. The refusals name the
    /// index of their event.
    pub(crate) fn events(
        &self,
        events: Vec<v1::Event>,
        trace_context: &[u8],
    ) -> (Vec<Event>, Vec<(u32, Refusal)>) {
        let now = self.clock.now();
        let mut good = Vec::with_capacity(events.len());
        let mut bad = Vec::new();
        for (index, event) in (0..).zip(events) {
            match self.event(event, now, trace_context) {
                Ok(event) => good.push(event),
                Err((field, problem)) => {
                    let field = format!("events[{index}].{field}");
                    bad.push((index, Refusal::field(ErrorReason::InvalidEvent, field, problem)));
                }
            }
        }
        (good, bad)
    }

    fn event(
        &self,
        event: v1::Event,
        now: Timestamp,
        trace_context: &[u8],
    ) -> Result<Event, (&'static str, String)> {
        self.check_signal(&event.signal)?;
        at_most("source", event.source.len(), self.source_bytes_max)?;
        self.check_attributes(&event)?;
        at_most("trace_context", event.trace_context.len(), self.trace_context_bytes_max)?;
        let trace_context =
            if event.trace_context.is_empty() { trace_context.to_owned() } else { event.trace_context };
        Ok(Event {
            event_time: self.event_time(event.event_time, now)?,
            value: self.value(event.value)?,
            quality: quality(event.quality)
                .ok_or_else(|| ("quality", format!("{} is no quality", event.quality)))?,
            signal: event.signal,
            source: event.source,
            attributes: event.attributes,
            trace_context,
        })
    }

    fn check_signal(&self, signal: &str) -> Result<(), (&'static str, String)> {
        if signal.is_empty() {
            return Err(("signal", "must not be empty".to_owned()));
        }
        at_most("signal", signal.len(), self.signal_bytes_max)?;
        if signal.chars().any(char::is_control) {
            return Err(("signal", "must not have control characters".to_owned()));
        }
        if signal.starts_with('_') {
            return Err(("signal", "names beginning with \"_\" are the system's own".to_owned()));
        }
        Ok(())
    }

    fn check_attributes(&self, event: &v1::Event) -> Result<(), (&'static str, String)> {
        if event.attributes.is_empty() {
            return Ok(());
        }
        if event.attributes.len() > self.attributes_max {
            let (found, most) = (event.attributes.len(), self.attributes_max);
            return Err(("attributes", format!("has {found} entries, the most is {most}")));
        }
        let bytes = event.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        at_most("attributes", bytes, self.attributes_bytes_max)
    }

    fn event_time(
        &self,
        time: Option<prost_types::Timestamp>,
        now: Timestamp,
    ) -> Result<Timestamp, (&'static str, String)> {
        const FIELD: &str = "event_time";
        let Some(time) = time else { return Ok(now) };
        let time = u32::try_from(time.nanos)
            .ok()
            .and_then(|nanos| Timestamp::new(time.seconds, nanos))
            .ok_or_else(|| (FIELD, "must be in the years 1 to 9999, with nanos below a second".to_owned()))?;
        let seconds = |nanos: i128| nanos / 1_000_000_000;
        let before = now.unix_nanos() - time.unix_nanos();
        if let Some(most) = self.past_max
            && before > i128::try_from(most.as_nanos()).unwrap_or(i128::MAX)
        {
            let (found, most) = (seconds(before), most.as_secs());
            return Err((FIELD, format!("lies {found} s in the past, the most is {most} s")));
        }
        if let Some(most) = self.future_max
            && -before > i128::try_from(most.as_nanos()).unwrap_or(i128::MAX)
        {
            let (found, most) = (seconds(-before), most.as_secs());
            return Err((FIELD, format!("lies {found} s in the future, the most is {most} s")));
        }
        Ok(time)
    }

    fn value(&self, value: Option<v1::Value>) -> Result<Value, (&'static str, String)> {
        let kind =
            value.and_then(|value| value.kind).ok_or_else(|| ("value", "must have a kind".to_owned()))?;
        Ok(match kind {
            Kind::DoubleValue(value) => Value::Double(value),
            Kind::IntValue(value) => Value::Int(value),
            Kind::BoolValue(value) => Value::Bool(value),
            Kind::StringValue(value) => {
                at_most("value.string_value", value.len(), self.value_bytes_max)?;
                Value::String(value)
            }
            Kind::BytesValue(value) => {
                at_most("value.bytes_value", value.len(), self.value_bytes_max)?;
                Value::Bytes(value)
            }
        })
    }
}

fn at_most(field: &'static str, found: usize, most: usize) -> Result<(), (&'static str, String)> {
    if found <= most { Ok(()) } else { Err((field, format!("has {found} bytes, the most is {most}"))) }
}

/// The quality of an event; unset means good.
fn quality(wire: i32) -> Option<Quality> {
    Some(match v1::Quality::try_from(wire).ok()? {
        v1::Quality::Unspecified | v1::Quality::Good => Quality::Good,
        v1::Quality::Stale => Quality::Stale,
        v1::Quality::Uncertain => Quality::Uncertain,
        v1::Quality::Bad => Quality::Bad,
    })
}

/// The worst quality that a filter wants; unset means any.
pub(crate) fn quality_worst(wire: i32) -> Option<Quality> {
    if wire == v1::Quality::Unspecified as i32 { Some(Quality::Bad) } else { quality(wire) }
}

const fn wire_quality(quality: Quality) -> v1::Quality {
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

/// A length of time on the wire; the longest there is for one that is longer.
pub(crate) fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).min(315_576_000_000),
        nanos: i32::try_from(duration.subsec_nanos()).expect("nanoseconds are below a second"),
    }
}

/// A value on the wire.
fn wire_value(value: ValueRef<'_>) -> v1::Value {
    let kind = match value {
        ValueRef::Double(value) => Kind::DoubleValue(value),
        ValueRef::Int(value) => Kind::IntValue(value),
        ValueRef::Bool(value) => Kind::BoolValue(value),
        ValueRef::String(value) => Kind::StringValue(value.to_owned()),
        ValueRef::Bytes(value) => Kind::BytesValue(value.to_owned()),
    };
    v1::Value { kind: Some(kind) }
}

/// An event on the wire, as a reader gets it.
pub(crate) fn wire_event(event: &EventRef<'_>) -> v1::Event {
    v1::Event {
        offset: event.offset.get(),
        signal: String::from(&**event.signal),
        signal_id: event.signal_id.0,
        event_time: Some(wire_time(event.event_time)),
        ingest_time: Some(wire_time(event.ingest_time)),
        value: Some(wire_value(event.value)),
        quality: wire_quality(event.quality).into(),
        source: String::from(&**event.source),
        attributes: event.attributes.cloned().unwrap_or_default(),
        trace_context: event.trace_context.to_owned(),
    }
}

/// A signal's newest event on the wire.
pub(crate) fn wire_latest(latest: Latest) -> v1::Event {
    let event = latest.event;
    let kind = match event.value {
        Value::Double(value) => Kind::DoubleValue(value),
        Value::Int(value) => Kind::IntValue(value),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::String(value) => Kind::StringValue(value),
        Value::Bytes(value) => Kind::BytesValue(value),
    };
    v1::Event {
        offset: latest.offset.get(),
        signal: event.signal,
        signal_id: latest.signal_id.0,
        event_time: Some(wire_time(event.event_time)),
        ingest_time: Some(wire_time(latest.ingest_time)),
        value: Some(v1::Value { kind: Some(kind) }),
        quality: wire_quality(event.quality).into(),
        source: event.source,
        attributes: event.attributes,
        trace_context: event.trace_context,
    }
}

/// The 25 bytes of a W3C `traceparent` header: trace id, span id, flags. `None` if it is not well-formed.
pub(crate) fn trace_context(traceparent: &str) -> Option<Vec<u8>> {
    let mut parts = traceparent.trim().split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_version = version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
    if !is_version
        || hex(version).is_none()
        || trace_id.len() != 32
        || span_id.len() != 16
        || flags.len() != 2
    {
        return None;
    }
    let (trace_id, span_id) = (hex(trace_id)?, hex(span_id)?);
    let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    (!is_zero(&trace_id) && !is_zero(&span_id)).then_some([trace_id, span_id, hex(flags)?].concat())
}

/// The bytes that lower-case hexadecimal digits stand for.
pub(crate) fn hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// A refused event on the wire.
pub(crate) fn rejection((index, refusal): (u32, Refusal)) -> Rejection {
    Rejection { index, problem: Some(refusal.into_problem()) }
}

#[cfg(test)]
mod tests;
