//! An event as a message of a topic: its key, its value, its headers.

use std::io::Write as _;

use downlink_storage::EventRef;

use crate::config::MirrorValues;
use crate::wire::{encode_event, encode_json};

/// The header that names the log, so that a topic is never taken for the mirror of another one.
pub(crate) const LOG_ID: &str = "log_id";
/// The header with the event's offset in the log, in decimal.
pub(crate) const OFFSET: &str = "offset";
/// The W3C header of the trace that the event was appended in.
const TRACEPARENT: &str = "traceparent";
/// The header that says what the value is.
pub(crate) const CONTENT_TYPE: &str = "content-type";
const PROTOBUF: &str = "application/protobuf; message=downlink.v1.Event";
/// The same, for values in JSON.
pub(crate) const JSON: &str = "application/json; message=downlink.v1.Event";

/// How far an event may be ahead of its ingestion to keep its own time in the topic: brokers refuse what is an hour ahead of
/// their clocks.
const AHEAD_NANOS_MAX: i128 = 30 * 60 * 1_000_000_000;
const NANOS_PER_MS: i128 = 1_000_000;

/// A message to be sent.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// The signal: a partition has all of it, in order.
    pub(crate) key: &'a [u8],
    /// The event.
    pub(crate) value: &'a [u8],
    /// Its event time.
    pub(crate) time_ms: i64,
    log_id: &'a str,
    content_type: &'static str,
    offset: &'a [u8],
    traceparent: &'a [u8],
}

impl Message<'_> {
    /// Its headers.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let fixed = [
            (LOG_ID, self.log_id.as_bytes()),
            (OFFSET, self.offset),
            (CONTENT_TYPE, self.content_type.as_bytes()),
        ];
        let traced = (!self.traceparent.is_empty()).then_some((TRACEPARENT, self.traceparent));
        fixed.into_iter().chain(traced)
    }
}

/// Writes messages, each into the room of the one before.
#[derive(Debug)]
pub(crate) struct Writer {
    log_id: String,
    values: MirrorValues,
    value: Vec<u8>,
    offset: Vec<u8>,
    traceparent: Vec<u8>,
}

impl Writer {
    /// For the events of this log, with values of this kind.
    pub(crate) const fn new(log_id: String, values: MirrorValues) -> Self {
        Self { log_id, values, value: Vec::new(), offset: Vec::new(), traceparent: Vec::new() }
    }

    /// `event` as a message.
    pub(crate) fn write<'a>(&'a mut self, event: &EventRef<'a>) -> Message<'a> {
        for part in [&mut self.value, &mut self.offset, &mut self.traceparent] {
            part.clear();
        }
        let content_type = match self.values {
            MirrorValues::Protobuf => {
                encode_event(&mut self.value, event);
                PROTOBUF
            }
            MirrorValues::Json => {
                encode_json(&mut self.value, event);
                JSON
            }
        };
        write!(self.offset, "{}", event.offset).expect("memory takes everything");
        write_traceparent(&mut self.traceparent, event.trace_context);
        Message {
            key: event.signal.as_bytes(),
            value: &self.value,
            time_ms: time_ms(event),
            log_id: &self.log_id,
            content_type,
            offset: &self.offset,
            traceparent: &self.traceparent,
        }
    }
}

/// Milliseconds since 1970; never 0 or less, which the protocol takes for something else.
fn time_ms(event: &EventRef<'_>) -> i64 {
    let (event_time, ingest_time) = (event.event_time.unix_nanos(), event.ingest_time.unix_nanos());
    let is_ahead = event_time - ingest_time > AHEAD_NANOS_MAX;
    let nanos = if is_ahead { ingest_time } else { event_time };
    i64::try_from(nanos / NANOS_PER_MS).unwrap_or(i64::MAX).max(1)
}

/// The 16 bytes of trace id, 8 of span id and 1 of flags, if it is these that the event has.
fn write_traceparent(to: &mut Vec<u8>, context: &[u8]) {
    const LENGTH: usize = 16 + 8 + 1;
    if context.len() != LENGTH {
        return;
    }
    to.extend_from_slice(b"00-");
    for (index, byte) in context.iter().enumerate() {
        if index == 16 || index == 24 {
            to.push(b'-');
        }
        write!(to, "{byte:02x}").expect("memory takes everything");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use downlink_storage::{Offset, Quality, SignalId, Timestamp, ValueRef};

    use super::*;

    /// Hands out an event of this time.
    fn with_event(seconds: i64, trace_context: &[u8], look: impl FnOnce(&EventRef<'_>)) {
        let (signal, source): (Arc<str>, Arc<str>) = ("iss/NODE3000005".into(), "".into());
        look(&EventRef {
            offset: Offset::new(7).unwrap(),
            signal: &signal,
            signal_id: SignalId(3),
            event_time: Timestamp::new(seconds, 250_000_000).unwrap(),
            ingest_time: Timestamp::new(1_700_000_000, 0).unwrap(),
            value: ValueRef::Int(5),
            quality: Quality::Good,
            source: &source,
            attributes: None,
            trace_context,
        });
    }

    #[test]
    fn an_event_is_keyed_by_its_signal_and_names_its_place() {
        let mut writer = Writer::new("a-log".to_owned(), MirrorValues::Protobuf);
        let context: Vec<u8> = (0..25).collect();
        with_event(1_600_000_000, &context, |event| {
            let message = writer.write(event);
            assert_eq!((message.key, message.time_ms), (b"iss/NODE3000005".as_slice(), 1_600_000_000_250));
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers: Vec<_> = message.headers().map(|(key, value)| (key, text(value))).collect();
            let traceparent = "00-000102030405060708090a0b0c0d0e0f-1011121314151617-18";
            let wanted =
                [(LOG_ID, "a-log"), (OFFSET, "7"), (CONTENT_TYPE, PROTOBUF), (TRACEPARENT, traceparent)];
            assert_eq!(headers, wanted.map(|(key, value)| (key, value.to_owned())));
        });
    }

    #[test]
    fn json_is_that_of_protobuf() {
        let mut writer = Writer::new(String::new(), MirrorValues::Json);
        with_event(1_600_000_000, b"", |event| {
            let message = writer.write(event);
            let wanted = concat!(
                r#"{"offset":"7","signal":"iss/NODE3000005","signalId":3,"eventTime":"2020-09-13T12:26:40.250Z","#,
                r#""ingestTime":"2023-11-14T22:13:20Z","value":{"intValue":"5"},"quality":"QUALITY_GOOD"}"#,
            );
            assert_eq!(std::str::from_utf8(message.value).unwrap(), wanted);
            assert!(message.headers().any(|header| header == (CONTENT_TYPE, JSON.as_bytes())));
        });
    }

    #[test]
    fn what_brokers_would_refuse_has_the_time_of_its_ingestion() {
        for (seconds, time_ms) in
            [(1_700_003_600, 1_700_000_000_000), (1_700_000_060, 1_700_000_060_250), (-5, 1)]
        {
            with_event(seconds, b"", |event| {
                assert_eq!(Writer::new(String::new(), MirrorValues::Protobuf).write(event).time_ms, time_ms);
            });
        }
    }
}
