//! `GetLatest` as of earlier moments, compared with what a reader of the log finds.

use std::collections::BTreeMap;

use downlink_proto::v1::{Event, GetLatestRequest, GetLatestResponse, LatestValue};
use prost_types::Timestamp;
use tonic::{Code, Status};

use crate::harness::{Server, event};
use crate::random::Random;
use crate::refusal::refused;

async fn latest(server: &Server, request: GetLatestRequest) -> Result<GetLatestResponse, Status> {
    server.query().await.get_latest(request).await.map(tonic::Response::into_inner)
}

fn as_of(offset: u64) -> GetLatestRequest {
    GetLatestRequest { as_of_offset: Some(offset), ..GetLatestRequest::default() }
}

fn nanos(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// What the answer should be: the newest of each signal among `events`, and since when its value was the same.
fn expected(events: &[Event]) -> Vec<(Event, Timestamp)> {
    let mut newest: BTreeMap<&str, (Event, Timestamp)> = BTreeMap::new();
    for event in events {
        let time = event.event_time.unwrap();
        let since = match newest.get(event.signal.as_str()) {
            Some((before, since)) if before.value == event.value => *since,
            Some(_) | None => time,
        };
        newest.insert(&event.signal, (event.clone(), since));
    }
    newest.into_values().collect()
}

fn found(values: &[LatestValue]) -> Vec<(Event, Timestamp)> {
    let pair = |value: &LatestValue| (value.event.clone().unwrap(), value.unchanged_since.expect("known"));
    values.iter().map(pair).collect()
}

/// Events on a few signals whose values seldom change, in small commits.
async fn fill(server: &Server, random: &mut Random, events: u64) {
    let mut left = events;
    while left > 0 {
        let count = (1 + random.below(5)).min(left);
        let one = |random: &mut Random| Event {
            event_time: Some(Timestamp { seconds: random.below(1_000) as i64, nanos: 0 }),
            ..event(["a", "b", "c/d", "e", "f"][random.below(5) as usize], random.below(2) as f64)
        };
        server.append((0..count).map(|_| one(random)).collect()).await;
        left -= count;
    }
}

#[tokio::test]
async fn the_newest_events_of_any_earlier_moment_are_those_a_reader_would_find() {
    let mut random =
        Random::announced("the_newest_events_of_any_earlier_moment_are_those_a_reader_would_find");
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    fill(&server, &mut random, 60).await;
    let events = server.read_all().await;
    for is_cached in [true, false] {
        for offset in 1..=61_u64 {
            let below = &events[..offset as usize - 1];
            let answer = latest(&server, as_of(offset)).await.unwrap();
            assert_eq!(found(&answer.values), expected(below), "below {offset}, cached: {is_cached}");
            assert_eq!((answer.as_of_offset, &*answer.next_page_token), (offset, ""));
            let Some(last) = below.last() else { continue };
            let present = last.ingest_time.unwrap();
            for value in &answer.values {
                let age = nanos(present) - nanos(value.event.as_ref().unwrap().event_time.unwrap());
                let said = value.age.unwrap();
                assert_eq!(i128::from(said.seconds) * 1_000_000_000 + i128::from(said.nanos), age.max(0));
            }
            let by_time = GetLatestRequest { as_of_time: Some(present), ..Default::default() };
            let answer = latest(&server, by_time).await.unwrap();
            let came =
                events.iter().filter(|event| nanos(event.ingest_time.unwrap()) <= nanos(present)).count();
            assert_eq!(answer.as_of_offset, came as u64 + 1);
            assert_eq!(found(&answer.values), expected(&events[..came]));
        }
        server.kill();
        server = Server::start_with(dir.path(), ["--set", "tail_cache_bytes_max=0"]);
    }
    let future = Timestamp { seconds: 100_000_000_000, nanos: 0 };
    for (time, head) in [(Timestamp::default(), 1), (future, 61)] {
        let by_time = GetLatestRequest { as_of_time: Some(time), ..Default::default() };
        assert_eq!(latest(&server, by_time).await.unwrap().as_of_offset, head);
    }
}

#[tokio::test]
async fn pages_and_names_hold_for_earlier_moments_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let names: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
    // Those with odd numbers have their first event only later.
    server.append(names.iter().step_by(2).map(|name| event(name, 1.0)).collect()).await;
    server.append(names.iter().map(|name| event(name, 2.0)).collect()).await;
    for page_size in 1..=10 {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = GetLatestRequest { page_size, page_token, ..as_of(6) };
            let answer = latest(&server, request).await.unwrap();
            seen.extend(answer.values.into_iter().map(|value| value.event.unwrap().signal));
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, ["s0", "s2", "s4", "s6", "s8"], "pages of {page_size}");
    }
    let named = |names: &[&str]| GetLatestRequest {
        signals: names.iter().map(|&name| name.to_owned()).collect(),
        ..as_of(6)
    };
    let of = async |names: &[&str]| {
        let values = latest(&server, named(names)).await.unwrap().values;
        values.into_iter().map(|value| value.event.unwrap().offset).collect::<Vec<_>>()
    };
    assert_eq!(of(&["s4", "s1"]).await, [3]);
    assert_eq!(of(&["s?"]).await, [1, 2, 3, 4, 5]);
    refused(latest(&server, named(&["s4", "nobody"])).await).is(Code::NotFound, "SIGNAL_UNKNOWN");
}

#[tokio::test]
async fn large_values_of_earlier_moments_come_a_page_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "page_bytes_max=2048"]);
    let large = |name: &str| Event {
        value: Some(downlink_proto::v1::Value {
            kind: Some(downlink_proto::v1::value::Kind::StringValue("x".repeat(900))),
        }),
        ..event(name, 0.0)
    };
    let names = ["a", "b", "c", "d", "e"];
    server.append(names.iter().map(|name| large(name)).collect()).await;
    server.append(names.iter().map(|name| event(name, 1.0)).collect()).await;
    let (mut seen, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer = latest(&server, GetLatestRequest { page_token, ..as_of(6) }).await.unwrap();
        seen.extend(answer.values.into_iter().map(|value| value.event.unwrap().signal));
        pages += 1;
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, names);
    assert!(pages >= 3, "{pages}");
}

#[tokio::test]
async fn a_value_that_has_been_the_same_for_too_long_does_not_say_since_when() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(vec![event("a", 1.0), event("b", 1.0)]).await;
    for _ in 0..100 {
        server.append(vec![event("a", 1.0)]).await;
    }
    server.append(vec![event("a", 2.0), event("b", 2.0)]).await;
    let values = latest(&server, as_of(103)).await.unwrap().values;
    assert_eq!(values[0].event.as_ref().unwrap().offset, 102);
    assert_eq!(values[1].event.as_ref().unwrap().offset, 2);
    // The search for "b" leads past all of "a".
    assert!(values.iter().all(|value| value.unchanged_since.is_some()));
    let request = GetLatestRequest { signals: vec!["a".to_owned()], ..as_of(103) };
    assert_eq!(latest(&server, request).await.unwrap().values[0].unchanged_since, None);
}

#[tokio::test]
async fn moments_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(vec![event("a", 1.0)]).await;
    for offset in [3, u64::MAX] {
        let refusal =
            refused(latest(&server, as_of(offset)).await).is(Code::OutOfRange, "OFFSET_BEYOND_HEAD");
        assert_eq!(refusal.metadata["head"], "2");
    }
    let time = |seconds, nanos| Some(Timestamp { seconds, nanos });
    for (as_of_offset, as_of_time, field) in [
        (Some(0), None, "as_of_offset"),
        (Some(1), time(0, 0), "as_of_time"),
        (None, time(0, -1), "as_of_time"),
        (None, time(i64::MAX, 0), "as_of_time"),
    ] {
        let request = GetLatestRequest { as_of_offset, as_of_time, ..Default::default() };
        refused(latest(&server, request).await).is(Code::InvalidArgument, "INVALID_REQUEST").names(&[field]);
    }
}
