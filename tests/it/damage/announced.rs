//! What a reader over gRPC is told of damage.

use std::sync::Arc;

use downlink_proto::v1::gap::Reason;
use downlink_proto::v1::ingest_service_client::IngestServiceClient;
use downlink_proto::v1::query_service_client::QueryServiceClient;
use downlink_proto::v1::{AppendRequest, Gap, OnDamage, ReadRequest, ReadResponse, read_response};
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Log, Options, SystemClock};
use tonic::{Code, Status, Streaming};

use crate::harness::event;
use crate::in_process::InProcess;
use crate::refusal::refused;

const BATCHES: u64 = 3;
const BATCH_EVENTS: u64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_skips_damage_gets_a_gap_and_the_events_around_it() {
    let server = damaged().await;
    let mut query = QueryServiceClient::new(server.channel().await);
    let replay = query.read(ReadRequest::default()).await.expect("a replay").into_inner();
    let (offsets, gaps, end) = read(replay).await;
    assert_eq!(end.expect("an end").code(), Code::Ok);
    assert_eq!(offsets, [1, 2, 5, 6]);
    let reason = Reason::Corruption.into();
    assert_eq!(gaps, [Gap { first_offset: 3, last_offset: 4, reason }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_fails_on_damage_gets_data_loss_with_the_offsets() {
    let server = damaged().await;
    let mut query = QueryServiceClient::new(server.channel().await);
    let request = ReadRequest { on_damage: OnDamage::Fail.into(), ..ReadRequest::default() };
    let replay = query.read(request).await.expect("a replay").into_inner();
    let (offsets, gaps, end) = read(replay).await;
    let refusal = refused::<()>(Err(end.expect("an end"))).is(Code::DataLoss, "BLOCK_CORRUPT");
    assert_eq!(offsets, [1, 2], "what comes before is whole");
    assert_eq!(gaps, []);
    let place = |key: &str| refusal.metadata.get(key).map(String::as_str);
    assert_eq!((place("first_offset"), place("last_offset")), (Some("3"), Some("4")), "{refusal:?}");
}

/// A server whose log has three blocks, the one in the middle damaged.
async fn damaged() -> InProcess {
    let engine = MemoryEngine::new();
    let open = || Log::open(Arc::new(engine.clone()), Arc::new(SystemClock), Options::standard());
    let server = InProcess::serve(open().expect("a log")).await;
    let mut ingest = IngestServiceClient::new(server.channel().await);
    for batch in 0..BATCHES {
        let events = (0..BATCH_EVENTS).map(|index| event("tank", (batch * BATCH_EVENTS + index) as f64));
        let request = AppendRequest { events: events.collect(), ..AppendRequest::default() };
        ingest.append(request).await.expect("appended");
    }
    drop(ingest);
    server.stop().await;
    let block = [&[1][..], &(1 + BATCH_EVENTS).to_be_bytes()].concat();
    assert!(engine.corrupt("00000000000000000001", &block, 100), "there is a block");
    // Opened anew, so that the block does not come from memory.
    InProcess::serve(open().expect("a log")).await
}

/// The offsets of the events, the gaps, and how it ended.
async fn read(mut replay: Streaming<ReadResponse>) -> (Vec<u64>, Vec<Gap>, Option<Status>) {
    let (mut offsets, mut gaps, mut end) = (Vec::new(), Vec::new(), None);
    loop {
        match replay.message().await {
            Ok(Some(ReadResponse { frame: Some(frame) })) => match frame {
                read_response::Frame::Events(batch) => {
                    offsets.extend(batch.events.iter().map(|event| event.offset))
                }
                read_response::Frame::Gap(gap) => gaps.push(gap),
                read_response::Frame::End(_) => end = Some(Status::ok("")),
            },
            Ok(Some(empty)) => panic!("{empty:?}"),
            Ok(None) => return (offsets, gaps, end),
            Err(status) => return (offsets, gaps, Some(status)),
        }
    }
}
