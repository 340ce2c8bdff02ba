//! `GetLatest`, `ListSignals` with their pages, and `GetLogInfo`.

use downlink_proto::v1::get_log_info_response::State;
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{
    Event, GetLatestRequest, GetLatestResponse, ListSignalsRequest, ListSignalsResponse, Value, ValueType,
};
use prost_types::Timestamp;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::append::numbered;
use crate::harness::{Server, event};
use crate::refusal::refused;

async fn latest(server: &Server, request: GetLatestRequest) -> Result<GetLatestResponse, Status> {
    server.query().await.get_latest(request).await.map(tonic::Response::into_inner)
}

async fn list(server: &Server, request: ListSignalsRequest) -> Result<ListSignalsResponse, Status> {
    server.query().await.list_signals(request).await.map(tonic::Response::into_inner)
}

fn of(patterns: &[&str]) -> GetLatestRequest {
    let signals = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    GetLatestRequest { signals, ..GetLatestRequest::default() }
}

/// The names and offsets of the newest values.
async fn newest(server: &Server, patterns: &[&str]) -> Vec<(String, u64)> {
    let values = latest(server, of(patterns)).await.unwrap().values;
    values.into_iter().map(|value| value.event.unwrap()).map(|event| (event.signal, event.offset)).collect()
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|&(name, offset)| (name.to_owned(), offset)).collect()
}

#[tokio::test]
async fn the_latest_value_is_the_newest_by_offset_also_after_kill_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let old = |signal, number| Event {
        event_time: Some(Timestamp { seconds: 5, nanos: 0 }),
        ..event(signal, number)
    };
    server.append(vec![event("iss/b", 1.0), event("iss/a", 2.0), event("moon", 3.0)]).await;
    server.append(vec![old("iss/b", 4.0)]).await;
    for _ in 0..2 {
        let all = [("iss/a", 2), ("iss/b", 4), ("moon", 3)];
        assert_eq!(newest(&server, &[]).await, pairs(&all));
        assert_eq!(newest(&server, &["**"]).await, pairs(&all));
        assert_eq!(newest(&server, &["iss/*"]).await, pairs(&all[..2]));
        assert_eq!(newest(&server, &["moon", "iss/b"]).await, pairs(&all[1..]));
        assert_eq!(newest(&server, &["moon", "mo*"]).await, pairs(&all[2..]));
        assert_eq!(newest(&server, &["nothing/*"]).await, []);
        server.kill();
        server = Server::start(dir.path());
    }
    let answer = latest(&server, of(&["iss/b"])).await.unwrap();
    assert_eq!((answer.as_of_offset, answer.values[0].stale), (5, false));
    assert_eq!(answer.values[0].event.as_ref().unwrap().value, event("", 4.0).value);
    let age = answer.values[0].age.unwrap().seconds;
    assert!((1_500_000_000..10_000_000_000).contains(&age), "since 1970: {age}");
}

#[tokio::test]
async fn a_name_that_the_log_has_never_seen_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("known", 1)).await;
    for patterns in [&["unknown"][..], &["known", "unknown"], &["unknown", "k*"]] {
        let refusal = refused(latest(&server, of(patterns)).await).is(Code::NotFound, "SIGNAL_UNKNOWN");
        assert!(refusal.message.contains("unknown"), "{refusal:?}");
    }
}

#[tokio::test]
async fn unchanged_since_is_the_event_time_of_the_first_event_with_that_value() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let at =
        |seconds, number| Event { event_time: Some(Timestamp { seconds, nanos: 0 }), ..event("a", number) };
    let since =
        async || latest(&server, of(&["a"])).await.unwrap().values[0].unchanged_since.unwrap().seconds;
    for (seconds, number, expected) in
        [(10, 1.0, 10), (20, 1.0, 10), (30, 2.0, 30), (40, 2.0, 30), (50, 1.0, 50)]
    {
        server.append(vec![at(seconds, number)]).await;
        assert_eq!(since().await, expected, "at {seconds}");
    }
}

#[tokio::test]
async fn signals_are_listed_by_name_with_kind_count_number_and_newest_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let kind = |signal: &str, kind| Event { value: Some(Value { kind: Some(kind) }), ..event(signal, 0.0) };
    let events = vec![
        kind("t", Kind::StringValue("x".to_owned())),
        kind("d", Kind::DoubleValue(1.0)),
        kind("i", Kind::IntValue(1)),
        kind("b", Kind::BoolValue(true)),
        kind("y", Kind::BytesValue(vec![1])),
        kind("d", Kind::DoubleValue(2.0)),
    ];
    server.append(events).await;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let signals = list(&server, Default::default()).await.unwrap().signals;
        let facts: Vec<_> = signals
            .iter()
            .map(|signal| {
                (
                    &*signal.name,
                    signal.value_type(),
                    signal.event_count,
                    signal.latest.as_ref().unwrap().offset,
                )
            })
            .collect();
        let expected = [
            ("b", ValueType::Bool, 1, 4),
            ("d", ValueType::Double, 2, 6),
            ("i", ValueType::Int, 1, 3),
            ("t", ValueType::String, 1, 1),
            ("y", ValueType::Bytes, 1, 5),
        ];
        assert_eq!(facts, expected);
        assert!(signals.iter().all(|signal| signal.latest.as_ref().unwrap().signal_id == signal.signal_id));
        numbers.push(signals.iter().map(|signal| signal.signal_id).collect::<Vec<_>>());
        server.kill();
        server = Server::start(dir.path());
    }
    assert_eq!(numbers[0], numbers[1], "a signal keeps its number");
    assert_eq!(numbers[0].iter().collect::<std::collections::HashSet<_>>().len(), 5);
}

#[tokio::test]
async fn pages_cover_everything_once_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let names: Vec<String> = (0..25).map(|number| format!("page/é{number:02}")).collect();
    let mut events: Vec<Event> = names.iter().rev().map(|name| event(name, 1.0)).collect();
    events.push(event("other", 1.0));
    server.append(events).await;
    for page_size in [1, 7, 25, 26, 10_000, i32::MAX] {
        let (mut seen, mut latest_seen, mut token) = (Vec::new(), Vec::new(), String::new());
        loop {
            let request = ListSignalsRequest { filter: "page/*".to_owned(), page_size, page_token: token };
            let page = list(&server, request).await.unwrap();
            assert!(page.signals.len() <= page_size as usize);
            seen.extend(page.signals.into_iter().map(|signal| signal.name));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        loop {
            let request = GetLatestRequest { page_size, page_token: token, ..of(&["page/*"]) };
            let page = latest(&server, request).await.unwrap();
            assert!(page.values.len() <= page_size as usize);
            latest_seen.extend(page.values.into_iter().map(|value| value.event.unwrap().signal));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((&seen, &latest_seen), (&names, &names), "pages of {page_size}");
    }
}

#[tokio::test]
async fn a_page_has_1000_entries_unless_asked_and_10000_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for thousand in 0..11 {
        let named = |number| event(&format!("{:05}", thousand * 1_000 + number), 0.0);
        server.append((0..1_000).map(named).collect()).await;
    }
    for (page_size, expected) in [(0, 1_000), (999, 999), (10_000, 10_000), (20_000, 10_000)] {
        let request = ListSignalsRequest { page_size, ..Default::default() };
        let page = list(&server, request).await.unwrap();
        // A page is bounded in bytes as well.
        let found = page.signals.len();
        assert!(found == expected || (found < expected && found > 5_000), "{page_size}: {found}");
        assert!(!page.next_page_token.is_empty());
    }
}

#[tokio::test]
async fn what_makes_no_sense_in_a_page_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let size = GetLatestRequest { page_size: -1, ..Default::default() };
    refused(latest(&server, size).await).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["page_size"]);
    let token = ListSignalsRequest { page_token: "nonsense".to_owned(), ..Default::default() };
    refused(list(&server, token).await).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["page_token"]);
}

#[tokio::test]
async fn log_info_tells_identity_ends_size_and_state() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let empty = server.info().await;
    Uuid::parse_str(&empty.log_id).unwrap();
    assert_eq!((empty.oldest_offset, empty.head_offset, empty.durable_offset), (1, 1, 1));
    assert_eq!((empty.oldest_time, empty.newest_time, empty.signals), (None, None, 0));
    assert_eq!((empty.state(), empty.mirrored_offset), (State::Serving, 0));
    assert!(!empty.server_version.is_empty());

    server.append(numbered("a", 10)).await;
    server.append(numbered("b", 5)).await;
    let before = server.info().await;
    let events = server.read_all().await;
    assert_eq!((before.head_offset, before.durable_offset, before.signals), (16, 16, 2));
    assert_eq!((before.oldest_time, before.newest_time), (events[0].ingest_time, events[14].ingest_time));
    assert!(before.payload_bytes > 0 && before.bytes_on_disk >= before.payload_bytes);
    server.kill();
    server = Server::start(dir.path());
    let after = server.info().await;
    assert_eq!((after.log_id, after.head_offset, after.totals), (empty.log_id, 16, before.totals));

    let elsewhere = tempfile::tempdir().unwrap();
    assert_ne!(Server::start(elsewhere.path()).info().await.log_id, server.info().await.log_id);
}
