//! Every kind of position, on every method that takes one, and what is wrong with it.

use std::time::{SystemTime, UNIX_EPOCH};

use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::position::At;
use downlink_proto::v1::{
    CommitCheckpointRequest, DeleteConsumerRequest, Edge, Event, LookupOffsetRequest, LookupOffsetResponse,
    Position, ReadRequest, SubscribeRequest,
};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};

use crate::append::numbered;
use crate::harness::{Server, event};
use crate::read::{offsets, signals};
use crate::refusal::{Refusal, refused};
use crate::subscribe::Subscription;

/// Event times in seconds of the events on "a", from offset 1 on.
const TIMES: [i64; 8] = [100, 110, 105, 110, 130, 120, 130, 140];

fn place(at: At) -> Option<Position> {
    Some(Position { at: Some(at) })
}

fn time(seconds: i64, nanos: i32) -> Timestamp {
    Timestamp { seconds, nanos }
}

fn present_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// Stores where a consumer goes on, which is an event of its own.
async fn commit(server: &Server, consumer: &str, next_offset: u64) {
    let consumer = consumer.to_owned();
    let request = CommitCheckpointRequest { consumer, next_offset, ..Default::default() };
    ConsumerServiceClient::new(server.channel().await).commit_checkpoint(request).await.unwrap();
}

async fn lookup(server: &Server, at: At) -> Result<LookupOffsetResponse, Status> {
    let request = LookupOffsetRequest { position: place(at) };
    server.query().await.lookup_offset(request).await.map(tonic::Response::into_inner)
}

/// Where each method that takes a position sees this one.
async fn check(server: &Server, at: At, expected: u64) {
    let head = server.info().await.head_offset;
    let all = signals(&["**", "_**"]);
    let from = ReadRequest { start: place(at.clone()), filter: all.clone(), ..Default::default() };
    assert!(offsets(server, from).await.into_iter().eq(expected..head), "Read from {at:?}");
    let to = ReadRequest { end: place(at.clone()), filter: all.clone(), ..Default::default() };
    assert!(offsets(server, to).await.into_iter().eq(1..expected), "Read to {at:?}");
    let follow = SubscribeRequest { start: place(at.clone()), filter: all, ..Default::default() };
    let subscription = Subscription::to(server, follow).await;
    assert_eq!(subscription.next, expected, "Subscribe from {at:?}");
    let found = lookup(server, at.clone()).await.unwrap();
    assert_eq!(found.offset, expected, "LookupOffset of {at:?}");
    let at_place = server.read_everything().await.into_iter().find(|event| event.offset == expected);
    assert_eq!(found.event_time, at_place.and_then(|event| event.event_time), "LookupOffset of {at:?}");
}

#[tokio::test]
async fn offsets_edges_and_event_times_are_found_by_every_method() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for (number, seconds) in (0..).zip(TIMES) {
        server
            .append(vec![Event { event_time: Some(time(seconds, 5)), ..event("a", f64::from(number)) }])
            .await;
    }
    for (at, expected) in [
        (At::Offset(1), 1),
        (At::Offset(8), 8),
        (At::Offset(9), 9),
        (At::Edge(Edge::Oldest.into()), 1),
        (At::Edge(Edge::Head.into()), 9),
        (At::EventTime(time(i64::from(i32::MIN), 0)), 1),
        (At::EventTime(time(100, 5)), 1),
        (At::EventTime(time(100, 6)), 2),
        (At::EventTime(time(106, 0)), 2),
        (At::EventTime(time(110, 6)), 5),
        (At::EventTime(time(131, 0)), 8),
        (At::EventTime(time(140, 6)), 9),
    ] {
        check(&server, at, expected).await;
    }
}

#[tokio::test]
async fn ingest_times_and_lengths_of_time_are_found_by_every_method() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let now = present_seconds();
    for ago in [7_200, 3_600, 1_800, 5_400, 0] {
        server.append(vec![Event { event_time: Some(time(now - ago, 0)), ..event("a", 1.0) }]).await;
    }
    let events = server.read_all().await;
    for event in &events {
        let time = event.ingest_time.unwrap();
        let first = events.iter().find(|other| key(other.ingest_time.unwrap()) >= key(time)).unwrap();
        check(&server, At::IngestTime(time), first.offset).await;
        let next = Timestamp { nanos: (time.nanos + 1) % 1_000_000_000, ..time };
        if next.nanos > 0 {
            let later = events.iter().find(|other| key(other.ingest_time.unwrap()) >= key(next));
            check(&server, At::IngestTime(next), later.map_or(6, |event| event.offset)).await;
        }
    }
    check(&server, At::IngestTime(time(0, 0)), 1).await;
    check(&server, At::IngestTime(time(now + 86_400, 0)), 6).await;
    for (seconds, expected) in [(86_400, 1), (5_000, 2), (2_700, 3), (315_576_000_000, 1)] {
        check(&server, At::Ago(Duration { seconds, nanos: 0 }), expected).await;
    }
}

fn key(time: Timestamp) -> (i64, i32) {
    (time.seconds, time.nanos)
}

#[tokio::test]
async fn the_last_events_are_the_last_that_match() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    commit(&server, "x", 1).await;
    // Offsets 2 to 31: "rare" at 11, 21 and 31.
    for _ in 0..3 {
        let mut events: Vec<_> = (0..9).map(|number| event("often", f64::from(number))).collect();
        events.push(Event { source: "s".to_owned(), ..event("rare", 0.0) });
        server.append(events).await;
    }
    let rare = |events| ReadRequest {
        start: place(At::LastEvents(events)),
        filter: signals(&["ra*"]),
        ..Default::default()
    };
    for (events, expected) in
        [(0, &[][..]), (1, &[31]), (2, &[21, 31]), (3, &[11, 21, 31]), (4, &[11, 21, 31])]
    {
        assert_eq!(offsets(&server, rare(events)).await, expected, "the last {events}");
        let follow = SubscribeRequest {
            start: place(At::LastEvents(events)),
            filter: signals(&["rare"]),
            ..Default::default()
        };
        assert_eq!(Subscription::to(&server, follow).await.caught_up().await.0, expected);
    }
    let by_source = ReadRequest {
        start: place(At::LastEvents(2)),
        filter: Some(downlink_proto::v1::Filter { sources: vec!["s".to_owned()], ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(offsets(&server, by_source).await, [21, 31]);
    let until =
        ReadRequest { end: place(At::LastEvents(2)), filter: signals(&["rare"]), ..Default::default() };
    assert_eq!(offsets(&server, until).await, [11]);
    let found = |events| lookup(&server, At::LastEvents(events));
    assert_eq!(found(1).await.unwrap().offset, 31);
    assert_eq!(found(30).await.unwrap().offset, 2, "the system's own signals do not count");
    assert_eq!(found(31).await.unwrap().offset, 1);
    let unset = LookupOffsetRequest::default();
    let unset = server.query().await.lookup_offset(unset).await.unwrap().into_inner();
    assert_eq!(unset, LookupOffsetResponse { offset: 32, event_time: None });
}

#[tokio::test]
async fn a_consumer_is_where_it_has_got_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 6)).await;
    for (consumer, next_offset) in [("one", 2), ("two", 3), ("one", 5), ("gone", 2), ("late", 7)] {
        commit(&server, consumer, next_offset).await;
    }
    let gone = DeleteConsumerRequest { consumer: "gone".to_owned() };
    ConsumerServiceClient::new(server.channel().await).delete_consumer(gone).await.unwrap();
    check(&server, At::Consumer("one".to_owned()), 5).await;
    check(&server, At::Consumer("two".to_owned()), 3).await;
    check(&server, At::Consumer("late".to_owned()), 7).await;
    for name in ["nobody", "gone", "o*"] {
        for refusal in refusals(&server, At::Consumer(name.to_owned())).await {
            let refusal = refusal.0.is(Code::NotFound, "CONSUMER_UNKNOWN");
            assert_eq!(refusal.metadata["consumer"], name);
        }
    }
}

/// How each method refuses a position, and the name of its field.
async fn refusals(server: &Server, at: At) -> Vec<(Refusal, &'static str)> {
    let mut query = server.query().await;
    let start = ReadRequest { start: place(at.clone()), ..Default::default() };
    let end = ReadRequest { end: place(at.clone()), ..Default::default() };
    let back = ReadRequest { backwards: true, ..start.clone() };
    let follow = SubscribeRequest { start: place(at.clone()), ..Default::default() };
    let follow = Subscription::try_to(server, follow).await.map(|subscription| subscription.next);
    vec![
        (refused(query.read(start).await), "start"),
        (refused(query.read(end).await), "end"),
        (refused(query.read(back).await), "start"),
        (refused(follow), "start"),
        (refused(lookup(server, at).await), "position"),
    ]
}

#[tokio::test]
async fn positions_that_make_no_sense_are_refused_by_every_method() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "position_events_max=9"]);
    server.append(vec![event("a", 1.0)]).await;
    for (at, kind) in [
        (At::Offset(0), "offset"),
        (At::Edge(9), "edge"),
        (At::EventTime(time(0, -1)), "event_time"),
        (At::EventTime(time(i64::MAX, 0)), "event_time"),
        (At::IngestTime(time(0, 1_000_000_000)), "ingest_time"),
        (At::Ago(Duration { seconds: -1, nanos: 0 }), "ago"),
        (At::LastEvents(10), "last_events"),
        (At::Consumer(String::new()), "consumer"),
        (At::Consumer("_x".to_owned()), "consumer"),
    ] {
        for (refusal, field) in refusals(&server, at).await {
            refusal.is(Code::InvalidArgument, "INVALID_REQUEST").names(&[&format!("{field}.{kind}")]);
        }
    }
    for offset in [3, u64::MAX] {
        for (refusal, _) in refusals(&server, At::Offset(offset)).await {
            let refusal = refusal.is(Code::OutOfRange, "OFFSET_BEYOND_HEAD");
            assert_eq!(refusal.metadata["head"], "2");
        }
    }
}
