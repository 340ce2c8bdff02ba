//! `Read` at a pace: which events come together, how long the whole takes at least, and how it is ended on the way.

use std::time::{Duration, Instant};

use downlink_proto::v1::read_response::Frame;
use downlink_proto::v1::{Event, Pacing, ReadRequest, ReadResponse};
use prost_types::Timestamp;
use tonic::{Code, Streaming};

use crate::harness::{Server, event, soon};
use crate::read::{signals, try_read};
use crate::refusal::{Refusal, refused};

fn at_pace(speed: f64, max_gap_ms: Option<i64>) -> ReadRequest {
    let length =
        |ms: i64| prost_types::Duration { seconds: ms / 1_000, nanos: (ms % 1_000) as i32 * 1_000_000 };
    ReadRequest { pacing: Some(Pacing { speed, max_gap: max_gap_ms.map(length) }), ..Default::default() }
}

/// A log of events at these milliseconds.
async fn log_of(server: &Server, times_ms: &[i64]) {
    let events = times_ms.iter().map(|ms| Event {
        event_time: Some(Timestamp { seconds: ms / 1_000, nanos: (ms % 1_000) as i32 * 1_000_000 }),
        ..event("a", 0.0)
    });
    server.append(events.collect()).await;
}

/// The offsets of each message, and how long they took.
async fn paced(server: &Server, request: ReadRequest) -> (Vec<Vec<u64>>, Duration) {
    let started = Instant::now();
    let (batches, _) = try_read(server, request).await.unwrap();
    let offsets = |batch: &Vec<Event>| batch.iter().map(|event| event.offset).collect();
    (batches.iter().map(offsets).collect(), started.elapsed())
}

#[tokio::test]
async fn events_come_one_after_the_other_as_their_times_say() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // Offset 4 is late, 7 comes after a long silence.
    log_of(&server, &[0, 5, 100, 60, 140, 144, 9_000_000]).await;
    let (batches, took) = paced(&server, at_pace(1.0, Some(200))).await;
    assert_eq!(batches, [vec![1, 2], vec![3, 4], vec![5, 6], vec![7]]);
    assert!(took >= Duration::from_millis(344), "{took:?}");

    let back = ReadRequest { backwards: true, ..at_pace(1.0, Some(50)) };
    let (batches, took) = paced(&server, back).await;
    // Offset 4 lies further back than 3: what follows is counted from there.
    assert_eq!(batches, [vec![7], vec![6, 5], vec![4, 3], vec![2, 1]]);
    assert!(took >= Duration::from_millis(150), "{took:?}");

    let (batches, took) = paced(&server, at_pace(2.0, Some(200))).await;
    assert_eq!(batches, [vec![1, 2], vec![3, 4], vec![5, 6], vec![7]]);
    assert!(took >= Duration::from_millis(270), "{took:?}");
    assert_eq!(paced(&server, at_pace(1_000.0, Some(0))).await.0, [[1, 2, 3, 4, 5, 6, 7]]);
    assert_eq!(paced(&server, at_pace(0.0, None)).await.0, [[1, 2, 3, 4, 5, 6, 7]]);
    let bounded = ReadRequest { max_batch_events: 1, max_events: 4, ..at_pace(100.0, None) };
    assert_eq!(paced(&server, bounded).await.0, [[1], [2], [3], [4]]);
}

/// A replay that has delivered its first event, and whose second is due in an hour.
async fn waiting(server: &Server) -> Streaming<ReadResponse> {
    let mut request = at_pace(1e-9, Some(3_600_000));
    request.filter = signals(&["a"]);
    let mut stream = server.query().await.read(request).await.unwrap().into_inner();
    let first = soon("the first event", stream.message()).await.unwrap().unwrap().frame.unwrap();
    assert!(matches!(first, Frame::Events(batch) if batch.events.len() == 1));
    stream
}

#[tokio::test]
async fn a_replay_that_waits_ends_at_once_when_the_server_stops_and_says_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    log_of(&server, &[0, 1_000]).await;
    let mut stream = waiting(&server).await;
    server.signal("TERM");
    let status = soon("the end", stream.message()).await.unwrap_err();
    let refusal = Refusal::read(&status).is(Code::Unavailable, "DRAINING");
    assert_eq!(refusal.metadata["next_offset"], "2");
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_replay_that_nobody_waits_for_gives_its_place_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "read_streams_max=1"]);
    log_of(&server, &[0, 1_000]).await;
    for _ in 0..3 {
        let stream = waiting(&server).await;
        refused(server.query().await.read(ReadRequest::default()).await).is(Code::ResourceExhausted, "QUOTA");
        drop(stream);
        let free = async {
            while server.query().await.read(ReadRequest::default()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        soon("a free place", free).await;
    }
}

#[tokio::test]
async fn a_pace_that_makes_no_sense_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for speed in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refusal = refused(try_read(&server, at_pace(speed, None)).await);
        refusal.is(Code::InvalidArgument, "INVALID_REQUEST").names(&["pacing.speed"]);
    }
    for max_gap_ms in [-1, -1_000] {
        let refusal = refused(try_read(&server, at_pace(1.0, Some(max_gap_ms))).await);
        refusal.is(Code::InvalidArgument, "INVALID_REQUEST").names(&["pacing.max_gap"]);
    }
}
