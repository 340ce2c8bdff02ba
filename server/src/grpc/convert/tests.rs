//! What passes the checks arrives bit for bit.

use std::sync::Arc;

use downlink_proto::v1::read_response::Frame;
use downlink_proto::v1::{EventBatch, ReadResponse};
use downlink_storage::{Clock as _, EventRef, Offset, SignalId};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::grpc::ingest::checks::tests::{Noon, checks};
use crate::grpc::query::encode::{Encoder, Encoding};

#[test]
fn traceparent_is_taken_only_if_well_formed() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let bytes = trace_context(good).unwrap();
    assert_eq!((bytes.len(), bytes[0], bytes[16], bytes[24]), (25, 0x4b, 0x00, 0x01));
    assert!(trace_context(&good.replacen("00", "cc", 1)).is_some());
    let bad = [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-000f067aa0ba902b7-01",
    ];
    assert!(bad.iter().all(|header| trace_context(header).is_none()));
}

fn value() -> impl Strategy<Value = Kind> {
    prop_oneof![
        any::<u64>().prop_map(|bits| Kind::DoubleValue(f64::from_bits(bits))),
        any::<i64>().prop_map(Kind::IntValue),
        any::<bool>().prop_map(Kind::BoolValue),
        ".*".prop_map(Kind::StringValue),
        proptest::collection::vec(any::<u8>(), 0..99).prop_map(Kind::BytesValue),
    ]
}

fn time() -> impl Strategy<Value = prost_types::Timestamp> {
    (Timestamp::MIN.seconds()..=Timestamp::MAX.seconds(), 0..1_000_000_000)
        .prop_map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos })
}

prop_compose! {
    fn event()(
        signal in "[a-z/é]{1,20}", kind in value(), event_time in time(), quality in 1..=4,
        source in "[a-z]{0,9}", attributes in proptest::collection::btree_map("[a-z]{1,5}", ".{0,5}", 0..4),
        trace_context in proptest::collection::vec(any::<u8>(), 1..64),
    ) -> v1::Event {
        v1::Event {
            offset: 0, signal, signal_id: 0, event_time: Some(event_time), ingest_time: None,
            value: Some(v1::Value { kind: Some(kind) }), quality, source, attributes, trace_context,
        }
    }
}

/// Numbers of all sizes, and those on both sides of what a length of time allows.
fn seconds() -> impl Strategy<Value = i64> {
    let edges = [i64::MIN, -1, 0, 1, DURATION_SECONDS_MAX, DURATION_SECONDS_MAX + 1, i64::MAX];
    prop_oneof![any::<i64>(), 0..=DURATION_SECONDS_MAX, proptest::sample::select(edges.to_vec())]
}

fn nanos() -> impl Strategy<Value = i32> {
    let edges = [i32::MIN, -1_000_000_000, -1, 0, 999_999_999, 1_000_000_000, i32::MAX];
    prop_oneof![any::<i32>(), 0..1_000_000_000, proptest::sample::select(edges.to_vec())]
}

proptest! {
    #[test]
    fn a_length_of_time_is_exact_or_refused_by_name(seconds in seconds(), nanos in nanos()) {
        let length = prost_types::Duration { seconds, nanos };
        let is_length = (0..=DURATION_SECONDS_MAX).contains(&seconds) && (0..1_000_000_000).contains(&nanos);
        match duration(length, "f") {
            Ok(read) => {
                prop_assert!(is_length);
                prop_assert_eq!(wire_duration(read), length);
            }
            Err(refusal) => {
                prop_assert!(!is_length);
                prop_assert_eq!(refusal.into_problem().field, "f");
            }
        }
        let bounds = (Duration::from_millis(100), Duration::from_secs(3_600));
        let has_one_sign = seconds.signum() * i64::from(nanos.signum()) >= 0;
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        match clamped_duration(length, "f", bounds) {
            Ok(read) => {
                prop_assert!(has_one_sign && nanos.unsigned_abs() < 1_000_000_000);
                let clamped = total.clamp(100_000_000, 3_600_000_000_000);
                prop_assert_eq!(read.as_nanos(), u128::try_from(clamped).unwrap());
            }
            Err(_) => prop_assert!(!has_one_sign || nanos.unsigned_abs() >= 1_000_000_000),
        }
    }

    #[test]
    fn an_event_comes_back_as_it_was_sent(sent in event()) {
        let (events, bad) = checks(|_| {}).rows(vec![sent.clone()], &[]);
        prop_assert!(bad.is_empty());
        let event = events.events().next().unwrap();
        let (signal, source) = (Arc::from(event.signal.as_str()), Arc::from(event.source.as_str()));
        let mut encoder = Encoder::new(Encoding::Rows);
        encoder.push(&EventRef {
            offset: Offset::new(7).unwrap(),
            signal_id: SignalId(3),
            signal: &signal,
            event_time: event.event_time,
            ingest_time: Noon.now(),
            value: event.value.as_ref(),
            quality: event.quality,
            source: &source,
            attributes: Some(&event.attributes),
            trace_context: &event.trace_context,
        });
        let read = encoder.take().into_read().encode_to_vec();
        let latest = wire_latest(Latest {
            event: event.clone(), offset: Offset::new(7).unwrap(), signal_id: SignalId(3),
            ingest_time: Noon.now(), unchanged_since: Noon.now(),
        });
        let expected = v1::Event { offset: 7, signal_id: 3, ingest_time: Some(wire_time(Noon.now())), ..sent };
        // Compared as bytes: NaN does not equal itself.
        let events = EventBatch { events: vec![expected.clone()], ..EventBatch::default() };
        let message = ReadResponse { frame: Some(Frame::Events(events)) };
        prop_assert_eq!(read, message.encode_to_vec());
        prop_assert_eq!(latest.encode_to_vec(), expected.encode_to_vec());
    }
}
