//! `DefineSignals`: what signals mean, kept in the log, and what is made of it by those who answer and those who ask.

mod command;
mod errors;

use std::time::{Duration, SystemTime};

use downlink_proto::v1::limit::Severity;
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{
    DefineSignalsRequest, DefineSignalsResponse, Event, GetLatestRequest, LatestValue, Limit,
    ListSignalsRequest, Quality, Signal, Value, ValueType,
};
use prost::Message as _;
use tonic::Status;

use crate::append::numbered;
use crate::harness::{Server, event};

async fn try_define(server: &Server, signals: Vec<Signal>) -> Result<DefineSignalsResponse, Status> {
    let request = DefineSignalsRequest { signals };
    server.ingest().await.define_signals(request).await.map(tonic::Response::into_inner)
}

/// The offsets from and to which the definitions are kept.
pub(crate) async fn define(server: &Server, signals: Vec<Signal>) -> (u64, u64) {
    let kept = try_define(server, signals).await.expect("the definitions are kept");
    (kept.first_offset, kept.last_offset)
}

async fn list(server: &Server, filter: &str) -> Vec<Signal> {
    let request = ListSignalsRequest { filter: filter.to_owned(), ..ListSignalsRequest::default() };
    server.query().await.list_signals(request).await.expect("a list").into_inner().signals
}

async fn latest(server: &Server, name: &str) -> LatestValue {
    let request = GetLatestRequest { signals: vec![name.to_owned()], ..GetLatestRequest::default() };
    let mut values = server.query().await.get_latest(request).await.expect("a value").into_inner().values;
    values.remove(0)
}

fn named(name: &str) -> Signal {
    Signal { name: name.to_owned(), ..Signal::default() }
}

/// A definition with everything in it.
pub(crate) fn full(name: &str) -> Signal {
    Signal {
        display_name: "Tank".to_owned(),
        description: "How full it is.\nMeasured from below.".to_owned(),
        unit: "%".to_owned(),
        value_type: ValueType::Int.into(),
        states: [(-1, "empty".to_owned()), (42, "the answer".to_owned())].into(),
        expected_period: Some(prost_types::Duration { seconds: 100, nanos: 0 }),
        limits: vec![
            Limit { severity: Severity::Watch.into(), low: Some(5.0), high: None },
            Limit { severity: Severity::Severe.into(), low: Some(2.5), high: Some(2.5) },
        ],
        ..named(name)
    }
}

#[tokio::test]
async fn a_definition_is_an_event_and_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.append(numbered("tank", 3)).await;
    // What only the log knows is not taken from the caller.
    let told = Signal { signal_id: 9, event_count: 9, latest: Some(event("x", 1.0)), ..full("tank") };
    assert_eq!(define(&server, vec![named("other"), told]).await, (4, 5));
    for _ in 0..2 {
        let kept = server.read_of(&["_signal/tank"]).await;
        let [kept] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!(kept.attributes["content-type"], "application/protobuf; proto=downlink.v1.Signal");
        let Some(Kind::BytesValue(bytes)) = kept.value.clone().unwrap().kind else { panic!("{kept:?}") };
        assert_eq!((kept.offset, Signal::decode(&*bytes).unwrap()), (5, full("tank")));
        assert_eq!(server.read_all().await.len(), 3, "not delivered to those who do not ask");

        let found = list(&server, "tank").await.remove(0);
        assert_eq!((found.signal_id, found.event_count), (1, 3));
        assert_eq!(found.latest.as_ref().unwrap().offset, 3);
        assert_eq!(Signal { signal_id: 0, event_count: 0, latest: None, ..found }, full("tank"));
        server.kill();
        server = Server::start(dir.path());
    }
}

#[tokio::test]
async fn the_same_definition_again_stores_nothing_and_another_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(define(&server, vec![full("a"), full("b"), full("c")]).await, (1, 3));
    assert_eq!(define(&server, vec![full("b")]).await, (2, 2));
    assert_eq!(define(&server, vec![full("c"), full("a")]).await, (1, 3));
    assert_eq!(server.info().await.head_offset, 4);
    let other = Signal { unit: "l".to_owned(), ..named("b") };
    assert_eq!(define(&server, vec![full("a"), other.clone(), named("d")]).await, (1, 5));
    assert_eq!(list(&server, "b").await, [other], "as a whole");
    assert_eq!(define(&server, vec![full("b")]).await, (6, 6), "back again is a change too");
}

#[tokio::test]
async fn signals_that_are_defined_but_have_no_event_are_listed_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let name = |number: usize| format!("s/{number:03}");
    // Every third has events only, every third a definition only, every third both.
    let with_events = (0..60).filter(|number| number % 3 != 1).map(|number| event(&name(number), 1.0));
    server.append(with_events.collect()).await;
    let defined = (0..60).filter(|number| number % 3 != 0);
    let defined = defined.map(|number| Signal { unit: "V".to_owned(), ..named(&name(number)) });
    define(&server, defined.chain([named("_feed/iss")]).collect()).await;
    for page_size in [1, 2, 3, 7, 59, 60, 61] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let request = ListSignalsRequest { page_size, page_token: token, ..Default::default() };
            let page = server.query().await.list_signals(request).await.unwrap().into_inner();
            assert!(page.signals.len() <= page_size as usize);
            seen.extend(page.signals);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(
            seen.iter().map(|signal| signal.name.clone()).collect::<Vec<_>>(),
            (0..60).map(name).collect::<Vec<_>>()
        );
        for (number, signal) in seen.iter().enumerate() {
            assert_eq!(signal.event_count, u64::from(number % 3 != 1), "{signal:?}");
            assert_eq!(signal.unit.is_empty(), number % 3 == 0, "{signal:?}");
            let kind = if number % 3 == 1 { ValueType::Unspecified } else { ValueType::Double };
            assert_eq!(signal.value_type(), kind);
        }
    }
    assert_eq!(list(&server, "s/00?").await.len(), 10);
    assert_eq!(list(&server, "_feed/*").await, [named("_feed/iss")]);
    assert_eq!(list(&server, "_signal/_feed/*").await.len(), 1);
}

#[tokio::test]
async fn the_type_of_a_definition_goes_before_that_of_the_newest_value() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(vec![event("a", 1.0)]).await;
    define(&server, vec![Signal { value_type: ValueType::String.into(), ..named("a") }]).await;
    assert_eq!(list(&server, "a").await[0].value_type(), ValueType::String);
}

#[tokio::test]
async fn a_value_is_stale_when_it_is_older_than_three_periods_or_says_so_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    define(&server, vec![full("defined")]).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let ago = |name: &str, seconds: u64, quality: Quality| {
        let time = now - Duration::from_secs(seconds);
        let event_time = Some(prost_types::Timestamp { seconds: time.as_secs() as i64, nanos: 0 });
        Event { event_time, quality: quality.into(), ..event(name, 1.0) }
    };
    for (name, seconds, quality, stale) in [
        ("defined", 0, Quality::Good, false),
        ("defined", 200, Quality::Good, false),
        ("defined", 310, Quality::Good, true),
        ("defined", 310, Quality::Bad, true),
        ("defined", 0, Quality::Stale, true),
        ("defined", 0, Quality::Bad, false),
        ("undefined", 1_000_000, Quality::Good, false),
        ("undefined", 0, Quality::Stale, true),
    ] {
        server.append(vec![ago(name, seconds, quality)]).await;
        assert_eq!(latest(&server, name).await.stale, stale, "{name} {seconds} s ago, {quality:?}");
    }
}

#[tokio::test]
async fn the_newest_value_comes_with_unit_and_label() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    define(&server, vec![full("tank")]).await;
    let int =
        |number| Event { value: Some(Value { kind: Some(Kind::IntValue(number)) }), ..event("tank", 0.0) };
    for (number, label) in [(42, "the answer"), (-1, "empty"), (7, "")] {
        server.append(vec![int(number)]).await;
        let found = latest(&server, "tank").await;
        assert_eq!((&*found.unit, &*found.state), ("%", label));
    }
    server.append(vec![event("tank", 42.0), event("other", 42.0)]).await;
    let found = latest(&server, "tank").await;
    assert_eq!((&*found.unit, &*found.state), ("%", ""), "a double is no code");
    let found = latest(&server, "other").await;
    assert_eq!((&*found.unit, &*found.state), ("", ""));
}

#[tokio::test]
async fn a_feed_may_say_how_its_source_is_and_nothing_else_of_the_systems_own() {
    use crate::refusal::refused;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(vec![event("_feed/iss", 1.0)]).await;
    assert_eq!(server.read_of(&["_feed/iss"]).await.len(), 1);
    assert_eq!((server.read_all().await.len(), list(&server, "").await.len()), (0, 0));
    for name in ["_feed/", "_feed", "_feeds/x", "_", "_signal/a", "_consumer/a", "__feed/x"] {
        let request =
            downlink_proto::v1::AppendRequest { events: vec![event(name, 1.0)], ..Default::default() };
        let refusal = refused(server.ingest().await.append(request).await);
        refusal.is(tonic::Code::InvalidArgument, "INVALID_EVENT").names(&["events[0].signal"]);
    }
}
