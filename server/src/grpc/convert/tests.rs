//! What is refused, by which name, and that all else arrives bit for bit.

use std::collections::BTreeMap;

use downlink_storage::{Offset, SignalId};
use proptest::prelude::*;

use super::*;

/// A clock that stands still.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::new(1_700_000_000, 5).unwrap()
    }
}

fn checks(change: impl FnOnce(&mut Config)) -> Checks {
    let mut config = Config::standard();
    change(&mut config);
    Checks::new(&config, Arc::new(Noon))
}

fn good() -> v1::Event {
    let value = Some(v1::Value { kind: Some(Kind::DoubleValue(1.0)) });
    v1::Event { signal: "iss/a".to_owned(), value, ..v1::Event::default() }
}

fn problem(checks: &Checks, event: v1::Event) -> (String, String) {
    let (events, bad) = checks.events(vec![good(), event], &[]);
    assert_eq!((events.len(), bad.len(), bad[0].0), (1, 1, 1));
    let problem = bad[0].1.clone().into_problem();
    assert_eq!(problem.reason(), ErrorReason::InvalidEvent);
    (problem.field, problem.message)
}

#[test]
fn bad_events_are_refused_with_index_and_field() {
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let text = |bytes: usize| Some(v1::Value { kind: Some(Kind::StringValue("x".repeat(bytes))) });
    let blob = |bytes: usize| Some(v1::Value { kind: Some(Kind::BytesValue(vec![0; bytes])) });
    let many = |count: usize| (0..count).map(|key| (key.to_string(), String::new())).collect();
    let cases = [
        ("signal", v1::Event { signal: String::new(), ..good() }),
        ("signal", v1::Event { signal: "x".repeat(256), ..good() }),
        ("signal", v1::Event { signal: "a\nb".to_owned(), ..good() }),
        ("signal", v1::Event { signal: "a\u{85}b".to_owned(), ..good() }),
        ("signal", v1::Event { signal: "_signal/a".to_owned(), ..good() }),
        ("value", v1::Event { value: None, ..good() }),
        ("value", v1::Event { value: Some(v1::Value { kind: None }), ..good() }),
        ("value.string_value", v1::Event { value: text((1 << 20) + 1), ..good() }),
        ("value.bytes_value", v1::Event { value: blob((1 << 20) + 1), ..good() }),
        ("event_time", v1::Event { event_time: time(Timestamp::MIN.seconds() - 1, 0), ..good() }),
        ("event_time", v1::Event { event_time: time(Timestamp::MAX.seconds() + 1, 0), ..good() }),
        ("event_time", v1::Event { event_time: time(0, -1), ..good() }),
        ("event_time", v1::Event { event_time: time(0, 1_000_000_000), ..good() }),
        ("quality", v1::Event { quality: 9, ..good() }),
        ("source", v1::Event { source: "x".repeat(256), ..good() }),
        ("attributes", v1::Event { attributes: many(65), ..good() }),
        (
            "attributes",
            v1::Event { attributes: BTreeMap::from([("k".to_owned(), "x".repeat(1 << 14))]), ..good() },
        ),
        ("trace_context", v1::Event { trace_context: vec![0; 65], ..good() }),
    ];
    let checks = checks(|_| {});
    for (field, event) in cases {
        let (found, message) = problem(&checks, event);
        assert_eq!(found, format!("events[1].{field}"));
        assert!(message.len() < 200, "{message}");
    }
}

#[test]
fn the_window_of_event_times_is_kept() {
    let checks = checks(|config| {
        config.event_time_past_seconds_max = Some(60);
        config.event_time_future_seconds_max = Some(10);
    });
    let at = |seconds: i64| v1::Event {
        event_time: Some(prost_types::Timestamp { seconds: 1_700_000_000 + seconds, nanos: 5 }),
        ..good()
    };
    assert!(checks.events(vec![at(-60), at(10), at(0)], &[]).1.is_empty());
    assert!(problem(&checks, at(-61)).1.contains("lies 61 s in the past, the most is 60 s"));
    assert!(problem(&checks, at(11)).1.contains("lies 11 s in the future, the most is 10 s"));
}

#[test]
fn what_is_unset_gets_its_default() {
    let (events, _) = checks(|_| {}).events(vec![good()], &[7; 25]);
    assert_eq!(events[0].event_time, Noon.now());
    assert_eq!((events[0].quality, events[0].trace_context.as_slice()), (Quality::Good, [7; 25].as_slice()));
}

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

proptest! {
    #[test]
    fn an_event_comes_back_as_it_was_sent(sent in event()) {
        let (events, bad) = checks(|_| {}).events(vec![sent.clone()], &[]);
        prop_assert!(bad.is_empty());
        let event = &events[0];
        let (signal, source) = (Arc::from(event.signal.as_str()), Arc::from(event.source.as_str()));
        let read = wire_event(&EventRef {
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
        let latest = wire_latest(Latest {
            event: event.clone(), offset: Offset::new(7).unwrap(), signal_id: SignalId(3),
            ingest_time: Noon.now(), unchanged_since: Noon.now(),
        });
        let expected = v1::Event { offset: 7, signal_id: 3, ingest_time: Some(wire_time(Noon.now())), ..sent };
        // Compared as bytes: NaN does not equal itself.
        use prost::Message as _;
        prop_assert_eq!(read.encode_to_vec(), expected.encode_to_vec());
        prop_assert_eq!(latest.encode_to_vec(), expected.encode_to_vec());
    }
}
