//! What `DefineSignals` refuses, and how it names it.

use tonic::Code;

use super::*;
use crate::refusal::refused;

#[tokio::test]
async fn every_rule_that_a_definition_breaks_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let with = |change: fn(&mut Signal)| {
        let mut signal = full("a");
        change(&mut signal);
        signal
    };
    let period = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let mut cases = vec![
        ("name", with(|signal| signal.name.clear())),
        ("name", with(|signal| signal.name = "x".repeat(248))),
        ("name", with(|signal| signal.name = "a\tb".to_owned())),
        ("name", with(|signal| signal.name = "_own".to_owned())),
        ("display_name", with(|signal| signal.display_name = "x".repeat(256))),
        ("display_name", with(|signal| signal.display_name = "a\nb".to_owned())),
        ("description", with(|signal| signal.description = "x".repeat(4097))),
        ("unit", with(|signal| signal.unit = "x".repeat(65))),
        ("unit", with(|signal| signal.unit = "m\0".to_owned())),
        ("value_type", with(|signal| signal.value_type = 6)),
        ("states", with(|signal| signal.value_type = ValueType::Double.into())),
        ("states", with(|signal| signal.states = (0..1_025).map(|code| (code, "x".to_owned())).collect())),
        ("states", with(|signal| signal.states = [(1, String::new())].into())),
        ("states", with(|signal| signal.states = [(1, "x".repeat(65))].into())),
    ];
    for wrong in [period(0, 0), period(-1, 0), period(0, -1), period(400_000_000, 0)] {
        cases.push(("expected_period", Signal { expected_period: wrong, ..full("a") }));
    }
    let watch = Severity::Watch as i32;
    for (severity, low, high) in [
        (watch, None, None),
        (watch, Some(2.0), Some(1.0)),
        (watch, Some(f64::NAN), None),
        (watch, Some(0.0), Some(f64::NAN)),
        (0, Some(1.0), None),
        (6, Some(1.0), None),
    ] {
        cases.push(("limits", Signal { limits: vec![Limit { severity, low, high }], ..full("a") }));
    }
    let limit = Limit { severity: watch, low: Some(0.0), high: None };
    cases.push(("limits", Signal { limits: vec![limit; 17], ..full("a") }));
    for (field, wrong) in cases {
        let refusal = refused(try_define(&server, vec![named("good"), wrong]).await);
        refusal.is(Code::InvalidArgument, "INVALID_REQUEST").names(&[&format!("signals[1].{field}")]);
    }
    assert_eq!(server.info().await.head_offset, 1, "all or none are kept");
}

#[tokio::test]
async fn what_is_just_within_the_bounds_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let infinite = Limit { severity: Severity::Watch.into(), low: Some(f64::NEG_INFINITY), high: Some(0.0) };
    let signal = Signal {
        name: "x".repeat(247),
        display_name: "x".repeat(255),
        description: "é".repeat(2048),
        unit: "x".repeat(64),
        value_type: ValueType::Unspecified.into(),
        states: (0..1_024).map(|code| (code, "x".repeat(64))).collect(),
        expected_period: Some(prost_types::Duration { seconds: 0, nanos: 1 }),
        limits: vec![infinite; 16],
        ..Signal::default()
    };
    assert_eq!(define(&server, vec![signal.clone()]).await, (1, 1));
    assert_eq!(list(&server, "x*").await, [signal]);
}

#[tokio::test]
async fn a_name_twice_in_a_call_is_named_with_all_else_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let calls = vec![named("a"), named(""), named("b"), named("a"), named("b")];
    let fields = ["signals[1].name", "signals[3].name", "signals[4].name"];
    refused(try_define(&server, calls).await).is(Code::InvalidArgument, "INVALID_REQUEST").names(&fields);
    refused(try_define(&server, vec![]).await)
        .is(Code::InvalidArgument, "INVALID_REQUEST")
        .names(&["signals"]);
}

#[tokio::test]
async fn too_many_definitions_are_too_large_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let many = |count: usize, description: usize| {
        let of = |number| Signal { description: "x".repeat(description), ..named(&format!("s/{number}")) };
        (0..count).map(of).collect::<Vec<_>>()
    };
    for calls in [many(1_001, 0), many(400, 4_000)] {
        refused(try_define(&server, calls).await).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
    }
    assert_eq!(define(&server, many(1_000, 0)).await, (1, 1_000));
}
