//! kill -9 with millions of events in the log: the server is back soon, and small.

use std::time::{Duration, Instant};

use downlink_proto::v1::append_stream_request::{Batch, Message as Request, Open};
use downlink_proto::v1::append_stream_response::Message as Response;
use downlink_proto::v1::{AppendStreamRequest, Event, ReadRequest, Value, read_response, value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{PATIENCE, Server, slow};
use crate::random::Random;

const BATCH_EVENTS: u64 = 1_000;
const SIGNALS: u64 = 150;
const WINDOW: usize = 32;

/// What is promised for 100 million events on a machine that has nothing else to do, and what is asked of a
/// normal run, where other tests share the cores.
const SERVING_WITHIN: Duration = Duration::from_secs(2);
const SERVING_WITHIN_SHARED: Duration = Duration::from_secs(10);
const RESIDENT_BYTES_MAX: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_with_millions_of_events_the_server_is_back_soon_and_small() {
    let events = if slow() { 100_000_000 } else { 3_000_000 };
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let appending = Instant::now();
    append(&server, events / BATCH_EVENTS).await;
    let appended = appending.elapsed();
    let grown_bytes = resident_bytes(&server, "VmHWM:");
    server.kill();

    let starting = Instant::now();
    let server = Server::start(dir.path());
    let info = server.info().await;
    let back = starting.elapsed();
    assert_eq!(info.head_offset, events + 1);
    let resident = resident_bytes(&server, "VmHWM:");
    read_all(&server, events).await;
    let read_bytes = resident_bytes(&server, "VmHWM:");
    let rate = events as f64 / appended.as_secs_f64();
    println!(
        "{events} events in {appended:?} ({rate:.0}/s), {} segments, {} bytes on disk; back in {back:?}; at most \
         {} MiB resident while appending, {} when back, {} after reading everything",
        info.segments,
        info.bytes_on_disk,
        grown_bytes >> 20,
        resident >> 20,
        read_bytes >> 20
    );
    let promised = if slow() { SERVING_WITHIN } else { SERVING_WITHIN_SHARED };
    assert!(back < promised, "serving after {back:?}");
    for bytes in [grown_bytes, resident, read_bytes] {
        assert!(bytes < RESIDENT_BYTES_MAX, "{bytes} bytes resident");
    }
}

/// Many batches in flight over one stream; returns when all are on disk.
async fn append(server: &Server, batches: u64) {
    let (requests, received) = mpsc::channel(WINDOW);
    let open = Open { producer_id: "synthetic".to_owned(), producer_epoch: 1, allow_partial: false };
    requests.send(AppendStreamRequest { message: Some(Request::Open(open)) }).await.expect("room");
    let mut answers = server
        .ingest()
        .await
        .append_stream(ReceiverStream::new(received))
        .await
        .expect("a stream")
        .into_inner();
    let sending = tokio::spawn(async move {
        let names: Vec<_> = (0..SIGNALS).map(|number| format!("synthetic/{number:03}")).collect();
        let mut random = Random::seeded(1);
        for sequence in 1..=batches {
            let events = (0..BATCH_EVENTS).map(|_| event(&names, &mut random)).collect();
            let batch = Batch { sequence, events, columns: None };
            requests
                .send(AppendStreamRequest { message: Some(Request::Batch(batch)) })
                .await
                .expect("a server");
        }
        requests
    });
    loop {
        let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("no progress");
        match answer.expect("an answer").and_then(|answer| answer.message) {
            Some(Response::Ack(ack)) if ack.through_sequence == batches => break,
            Some(Response::Opened(_) | Response::Ack(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(sending.await);
}

/// A value as sensors have them: of a few digits, near the last.
fn event(names: &[String], random: &mut Random) -> Event {
    let signal = random.below(SIGNALS);
    let number = signal as f64 + random.below(1_000) as f64 / 8.0;
    let value = Some(Value { kind: Some(value::Kind::DoubleValue(number)) });
    Event { signal: names[signal as usize].clone(), value, ..Event::default() }
}

/// Reads the whole log once and counts.
async fn read_all(server: &Server, events: u64) {
    let mut replay = server.query().await.read(ReadRequest::default()).await.expect("a replay").into_inner();
    let mut next = 1;
    while let Some(response) = replay.message().await.expect("a frame") {
        if let Some(read_response::Frame::Events(batch)) = response.frame {
            for event in batch.events {
                assert_eq!(event.offset, next);
                next += 1;
            }
        }
    }
    assert_eq!(next, events + 1);
}

/// A line of /proc/PID/status, in bytes.
fn resident_bytes(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}
