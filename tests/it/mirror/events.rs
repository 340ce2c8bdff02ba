//! What an event becomes in the topic, and what the server says of the mirror.

use std::time::Duration;

use downlink_proto::v1::append_stream_request::{Batch, Message as Request};
use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{CommitCheckpointRequest, Consumer, Event};
use prost_types::Timestamp;

use super::{CHECKPOINTS, caught_up, consumer, is_mirrored, mirrored, partitions_used};
use crate::append::numbered;
use crate::bench::{bench, number};
use crate::columns::columns_of;
use crate::definitions::{define, full};
use crate::harness::{Server, event, soon};
use crate::kafka::Broker;
use crate::producer::{Producer, named};
use crate::values::{self, TRACE_CONTEXT, TRACEPARENT};

fn millis(time: Timestamp) -> i64 {
    time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
}

/// Waits until the log keeps that the mirror has come so far.
async fn checkpointed(server: &Server, next_offset: u64) -> Consumer {
    let waited = async {
        loop {
            match consumer(server).await {
                Some(consumer) if consumer.next_offset >= next_offset => break consumer,
                Some(_) | None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    soon("a checkpoint", waited).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_and_field_and_the_systems_own_events_are_in_the_topic_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=10"]);
    // Some before the mirror has begun, some after.
    server.append(values::all()).await;
    checkpointed(&server, 1 + values::all().len() as u64).await;
    for event in values::large().into_iter().chain(values::all().into_iter().rev()) {
        server.append(vec![event]).await;
    }
    define(&server, vec![full("tank")]).await;
    let checkpoint =
        CommitCheckpointRequest { consumer: "bot".to_owned(), next_offset: 4, ..Default::default() };
    let mut consumers = ConsumerServiceClient::new(server.channel().await);
    consumers.commit_checkpoint(checkpoint).await.unwrap();
    let (mut producer, _) = Producer::open(&server, named("columns", 1)).await;
    producer.say(Request::Batch(Batch {
        sequence: 1,
        events: Vec::new(),
        columns: columns_of(&values::all()),
    }));
    producer.answer().await;

    let (log, messages) = is_mirrored(&server, &topic).await;
    assert!(log.len() > 3 * values::all().len());
    for signal in ["_signal/tank", "_consumer/bot", CHECKPOINTS] {
        assert!(messages.iter().any(|message| message.key == signal), "{signal}");
    }
    assert!(partitions_used(&messages) > 1, "the keys are spread");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_the_time_of_its_event_and_headers_that_say_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let server = mirrored(dir.path(), &topic, &[]);
    let at = |seconds, nanos| Event { event_time: Some(Timestamp { seconds, nanos }), ..event("at", 1.0) };
    let traced = Event { trace_context: TRACE_CONTEXT.to_vec(), ..at(1_539_344_528, 0) };
    let otherwise_traced = Event { trace_context: vec![7; 24], ..at(1_539_344_529, 0) };
    // Before 1970 and far ahead are times that brokers do not take.
    let (ancient, ahead) = (at(-1, 999_999_999), at(253_402_300_799, 999_999_999));
    server.append(vec![at(1_539_344_528, 123_999_999), traced, otherwise_traced, ancient, ahead]).await;

    let (log, messages) = is_mirrored(&server, &topic).await;
    let mut found: Vec<_> = messages.iter().filter(|message| message.key == "at").collect();
    found.sort_by_key(|message| message.position);
    let times: Vec<_> = found.iter().map(|message| message.timestamp_ms).collect();
    let ingested = millis(log[4].ingest_time.unwrap());
    assert_eq!(times, [1_539_344_528_123, 1_539_344_528_000, 1_539_344_529_000, 1, ingested]);
    let header = |index: usize, name: &str| found[index].headers.get(name).map(String::as_str);
    let traceparents: Vec<_> = (0..5).map(|index| header(index, "traceparent")).collect();
    assert_eq!(traceparents, [None, Some(TRACEPARENT), None, None, None]);
    for index in 0..5 {
        let content_type = header(index, "content-type");
        assert_eq!(content_type, Some("application/protobuf; message=downlink.v1.Event"));
    }
    // As an independent client decodes them.
    let of_first = ["eventTime", "traceContext"].map(|field| found[0].event[field].as_str());
    assert_eq!(of_first, [Some("2018-10-12T11:42:08.123999999Z"), None]);
    assert_eq!(found[3].event["value"]["doubleValue"].as_f64(), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_leaves_a_checkpoint_at_the_end_and_nothing_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let mut appended = 0;
    for round in 1..=3_u64 {
        // So rarely that only the end makes one.
        let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=3600000"]);
        server.says(&["the mirror goes on", "held_events=0"]).await;
        caught_up(&server).await;
        let ends = topic.ends();
        let checkpoints = server.read_of(&[CHECKPOINTS]).await;
        assert_eq!(checkpoints.len() as u64, round - 1, "{checkpoints:?}");
        server.append(numbered(&format!("round/{round}"), 500)).await;
        appended += 500;
        caught_up(&server).await;
        let head = server.info().await.head_offset;
        assert_eq!(head, appended + round);
        assert!(ends.iter().map(|(_, end)| end).sum::<u64>() < head);
        let (status, _) = server.terminate();
        assert!(status.success(), "{status}");
        is_where_the_topic_ends(dir.path(), head, &topic.ends()).await;
    }
    let server = mirrored(dir.path(), &topic, &[]);
    is_mirrored(&server, &topic).await;
}

/// That the newest checkpoint in the log of `dir` is this offset, and has these ends of the partitions.
async fn is_where_the_topic_ends(dir: &std::path::Path, head: u64, ends: &[(u64, u64)]) {
    let server = Server::start(dir);
    let checkpoint = server.read_of(&[CHECKPOINTS]).await.pop().expect("a checkpoint");
    assert_eq!(checkpoint.value.unwrap().kind, Some(Kind::IntValue(head as i64)));
    let positions: Vec<_> = ends.iter().map(|(_, end)| end.to_string()).collect();
    assert_eq!(checkpoint.attributes["positions"], positions.join(","));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_is_a_consumer_whose_lag_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let server = mirrored(dir.path(), &topic, &[]);
    server.append(numbered("a", 100)).await;
    assert_eq!(checkpointed(&server, 101).await.events_behind, 0);
    assert_eq!(server.terminate().0.code(), Some(0));

    // Without its mirror the server counts what it lacks.
    let server = Server::start(dir.path());
    assert_eq!(server.info().await.mirrored_offset, 0, "there is no mirror");
    server.append(numbered("a", 50)).await;
    let behind = consumer(&server).await.unwrap();
    assert!(behind.events_behind >= 50 && behind.time_behind.is_some(), "{behind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bench_measures_the_mirror_and_counts_its_checkpoints_apart() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=10"]);
    caught_up(&server).await;
    let size = ["ingest", "--events", "20500", "--runs", "2", "--signals", "7", "--mirror"];
    let report = bench(&server, &size);
    assert_eq!(number(&report, "/acknowledged_events"), 41_000.0);
    assert!(number(&report, "/mirror/events_per_second") > 0.0, "{report}");
    assert!(number(&report, "/mirror/lag_ms/p50") <= number(&report, "/mirror/lag_ms/max"));
    assert!(!server.read_of(&[CHECKPOINTS]).await.is_empty(), "it has kept something");
}
