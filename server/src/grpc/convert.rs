//! Between the wire and the log: what is the same in both, in the words of each.

use std::time::Duration;

use downlink_proto::v1::{self, Rejection, value::Kind};
use downlink_storage::{Latest, Quality, Timestamp, Value, ValueRef};

use super::status::Refusal;
pub(crate) use crate::wire::{quality, wire_quality, wire_time};

/// The field numbers of the kinds in `Value`.
pub(crate) mod kind {
    pub(crate) const DOUBLE: u32 = 1;
    pub(crate) const INT: u32 = 2;
    pub(crate) const BOOL: u32 = 3;
    pub(crate) const STRING: u32 = 4;
    pub(crate) const BYTES: u32 = 5;
}

/// The worst quality that a filter wants; unset means any.
pub(crate) fn quality_worst(wire: i32) -> Option<Quality> {
    if wire == v1::Quality::Unspecified as i32 { Some(Quality::Bad) } else { quality(wire) }
}

/// A time from the wire, in `field`.
pub(crate) fn timestamp(time: prost_types::Timestamp, field: &str) -> Result<Timestamp, Refusal> {
    let time = u32::try_from(time.nanos).ok().and_then(|nanos| Timestamp::new(time.seconds, nanos));
    let problem = "must be in the years 1 to 9999, with nanos below a second";
    time.ok_or_else(|| Refusal::field(v1::ErrorReason::InvalidRequest, field, problem))
}

/// The longest length of time on the wire, about 10,000 years, as its own rules have it.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// A length of time from the wire, in `field`.
pub(crate) fn duration(length: prost_types::Duration, field: &str) -> Result<Duration, Refusal> {
    let seconds = u64::try_from(length.seconds).ok().filter(|_| length.seconds <= DURATION_SECONDS_MAX);
    let nanos = u32::try_from(length.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let problem = "must be a length of time: not below 0, in seconds and nanos below a second";
    let length = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
    length.ok_or_else(|| Refusal::field(v1::ErrorReason::InvalidRequest, field, problem))
}

/// The same where what is too short or too long, also below 0, is the shortest or the longest.
pub(crate) fn clamped_duration(
    length: prost_types::Duration,
    field: &str,
    (shortest, longest): (Duration, Duration),
) -> Result<Duration, Refusal> {
    if length.seconds <= 0 && (-999_999_999..=0).contains(&length.nanos) {
        return Ok(shortest);
    }
    let seconds = length.seconds.min(DURATION_SECONDS_MAX);
    let length = duration(prost_types::Duration { seconds, nanos: length.nanos }, field)?;
    Ok(length.clamp(shortest, longest))
}

/// How long after `earlier`; zero if it is not.
pub(crate) fn since(later: Timestamp, earlier: Timestamp) -> Duration {
    let nanos = u128::try_from(later.unix_nanos() - earlier.unix_nanos()).unwrap_or_default();
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or_default())
}

/// A length of time on the wire; the longest there is for one that is longer.
pub(crate) fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).min(DURATION_SECONDS_MAX),
        nanos: i32::try_from(duration.subsec_nanos()).expect("nanoseconds are below a second"),
    }
}

/// A value on the wire.
pub(crate) fn wire_value(value: ValueRef<'_>) -> v1::Value {
    let kind = match value {
        ValueRef::Double(value) => Kind::DoubleValue(value),
        ValueRef::Int(value) => Kind::IntValue(value),
        ValueRef::Bool(value) => Kind::BoolValue(value),
        ValueRef::String(value) => Kind::StringValue(value.to_owned()),
        ValueRef::Bytes(value) => Kind::BytesValue(value.to_owned()),
    };
    v1::Value { kind: Some(kind) }
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
