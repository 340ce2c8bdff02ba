//! Aggregates that nobody waits for any more, that meet the drain, and that miss events; on a disk that can be held.

use downlink_proto::v1::aggregate_request::{Function, Resolution};
use downlink_proto::v1::{AggregateRequest, AggregateResponse, Bucket, ReadRequest, read_response::Frame};
use tonic::{Code, Streaming};

use super::gate::{Gate, GatedEngine};
use super::*;

/// Blocks of the log: a reader of all of them has to look at the disk more often than this.
const BLOCKS: usize = 300;
/// Looks at the disk that an aggregate may still do when nobody waits for it.
const LEFT_OVER_MAX: usize = 30;

/// A server with a block for each event, none of them in memory, and one aggregate at a time.
async fn start() -> (Fixture, Gate) {
    let (engine, gate) = (MemoryEngine::new(), Gate::default());
    let gated = Arc::new(GatedEngine(engine.clone(), gate.clone()));
    let change = |config: &mut Config| {
        config.tail_cache_bytes_max = 0;
        config.aggregates_max = 1;
    };
    let server = Fixture::start_on(engine, gated, change).await;
    let mut client = server.ingest().await;
    for second in 0..BLOCKS {
        client.append(append(vec![at(second, "a")])).await.unwrap();
    }
    client.append(append(vec![at(0, "b")])).await.unwrap();
    (server, gate)
}

fn at(second: usize, signal: &str) -> Event {
    let event_time = Some(time(second));
    Event { event_time, ..event(signal, second as i64) }
}

fn time(second: usize) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: 1_700_000_000 + second as i64, nanos: 0 }
}

/// What no rollup can answer.
fn by_the_second(signal: &str) -> AggregateRequest {
    AggregateRequest {
        signals: vec![signal.to_owned()],
        start_time: Some(time(0)),
        end_time: Some(time(BLOCKS)),
        resolution: Some(Resolution::Step(prost_types::Duration { seconds: 1, nanos: 0 })),
        functions: vec![Function::Count.into()],
    }
}

async fn collect(mut stream: Streaming<AggregateResponse>) -> Result<Vec<Bucket>, Status> {
    let mut buckets = Vec::new();
    while let Some(message) = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap()? {
        buckets.extend(message.buckets);
    }
    Ok(buckets)
}

#[tokio::test]
async fn a_cancelled_aggregate_stops_its_work_on_the_disk_and_gives_its_turn_back() {
    let (server, gate) = start().await;
    let mut client = server.query().await;
    let before = gate.reads();
    let buckets = collect(client.aggregate(by_the_second("a")).await.unwrap().into_inner()).await.unwrap();
    assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), BLOCKS as u64);
    assert!(gate.reads() - before >= BLOCKS, "{} reads", gate.reads() - before);

    let hold = gate.hold();
    let stream = client.aggregate(by_the_second("a")).await.unwrap().into_inner();
    gate.reached().await;
    drop(stream);
    // The server has heard of it when it answers what was asked later on the same connection.
    client.get_latest(downlink_proto::v1::GetLatestRequest::default()).await.unwrap();
    // Longer than a piece of work may take, so that this one is over with the read that waits.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = gate.reads();
    drop(hold);
    let other = collect(client.aggregate(by_the_second("b")).await.unwrap().into_inner()).await.unwrap();
    assert_eq!(other.iter().map(|bucket| bucket.count).sum::<u64>(), 1);
    assert!(gate.reads() - before < LEFT_OVER_MAX, "{} more reads", gate.reads() - before);
}

#[tokio::test]
async fn the_drain_ends_aggregates_at_work_and_those_that_wait_for_their_turn() {
    let (mut server, gate) = start().await;
    let mut client = server.query().await;
    let hold = gate.hold();
    let at_work = client.aggregate(by_the_second("a")).await.unwrap().into_inner();
    gate.reached().await;
    let waiting = client.aggregate(by_the_second("b")).await.unwrap().into_inner();
    server.stop();
    let refused = |status: Status| (status.code(), reason(&status));
    let draining = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!(refused(collect(waiting).await.unwrap_err()), draining);
    drop(hold);
    assert_eq!(refused(collect(at_work).await.unwrap_err()), draining);
    server.stopped().await;
}

#[tokio::test]
async fn a_bucket_whose_events_are_lost_says_that_it_is_incomplete() {
    let (mut server, _) = start().await;
    let engine = server.engine.clone();
    server.stop();
    server.stopped().await;
    drop(server);
    // One block in the middle. A key of a block is a 1 and its first offset.
    let key = [&[1][..], &(BLOCKS as u64 / 2).to_be_bytes()].concat();
    let name = engine.list().unwrap().into_iter().find(|name| name.starts_with('0')).unwrap();
    assert!(engine.corrupt(&name, &key, 200));
    let server = Fixture::start_on(engine.clone(), Arc::new(engine), |_| {}).await;
    let mut frames = server.query().await.read(ReadRequest::default()).await.unwrap().into_inner();
    let mut gaps = Vec::new();
    while let Some(frame) = frames.message().await.unwrap() {
        if let Some(Frame::Gap(gap)) = frame.frame {
            gaps.push((gap.first_offset, gap.last_offset));
        }
    }
    assert_eq!(gaps, [(BLOCKS as u64 / 2, BLOCKS as u64 / 2)]);
    let found = server.query().await.aggregate(by_the_second("a")).await.unwrap().into_inner();
    let buckets = collect(found).await.unwrap();
    let lost = BLOCKS / 2 - 1;
    for (second, bucket) in buckets.iter().enumerate() {
        // What is missing lies between the block before and the block behind it.
        let may_miss = (lost - 1..=lost + 1).contains(&second);
        assert_eq!(bucket.incomplete, may_miss, "second {second}");
        assert_eq!(bucket.count, u64::from(second != lost), "second {second}");
    }
}
