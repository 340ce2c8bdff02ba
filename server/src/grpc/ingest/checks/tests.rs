//! What is refused, and by which name.

use downlink_storage::Quality;

use super::*;

/// A clock that stands still.
pub(in crate::grpc) struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::new(1_700_000_000, 5).unwrap()
    }
}

pub(in crate::grpc) fn checks(change: impl FnOnce(&mut Config)) -> Checks {
    let mut config = Config::standard();
    change(&mut config);
    Checks::new(&config, Arc::new(Noon))
}

fn good() -> v1::Event {
    let value = Some(v1::Value { kind: Some(Kind::DoubleValue(1.0)) });
    v1::Event { signal: "iss/a".to_owned(), value, ..v1::Event::default() }
}

fn problem(checks: &Checks, event: v1::Event) -> (String, String) {
    let (events, bad) = checks.rows(vec![good(), event], &[]);
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
    assert!(checks.rows(vec![at(-60), at(10), at(0)], &[]).1.is_empty());
    assert!(problem(&checks, at(-61)).1.contains("lies 61 s in the past, the most is 60 s"));
    assert!(problem(&checks, at(11)).1.contains("lies 11 s in the future, the most is 10 s"));
}

#[test]
fn what_is_unset_gets_its_default() {
    let (events, _) = checks(|_| {}).rows(vec![good()], &[7; 25]);
    let event = events.events().next().unwrap();
    assert_eq!(event.event_time, Noon.now());
    assert_eq!((event.quality, event.trace_context.as_slice()), (Quality::Good, [7; 25].as_slice()));
}
