//! Readers of history give way: on a disk that can be held, nobody else waits for them.

use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{
    Edge, Filter, GetLatestRequest, Position, ReadRequest, ReadResponse, SubscribeRequest, SubscribeResponse,
    position, read_response,
};
use tonic::Streaming;

use super::gate::{Gate, GatedEngine};
use super::*;

/// Batches before anybody reads: each is a block, and only the last of them is in memory.
const BATCHES: usize = 20;
/// More events than are read from memory in passing.
const BATCH_EVENTS: usize = 1_500;

/// A server with some history, at which one reader works at a time.
async fn start() -> (Fixture, Gate) {
    let (engine, gate) = (MemoryEngine::new(), Gate::default());
    let gated = Arc::new(GatedEngine(engine.clone(), gate.clone()));
    let change = |config: &mut Config| {
        config.tail_cache_bytes_max = 0;
        config.history_threads_max = 1;
        config.batch_events_max = BATCH_EVENTS;
    };
    let server = Fixture::start_on(engine, gated, change).await;
    let mut client = server.ingest().await;
    for _ in 0..BATCHES {
        client.append(append(vec![event("a/1", 1); BATCH_EVENTS])).await.unwrap();
    }
    (server, gate)
}

async fn replay(server: &Fixture) -> Streaming<ReadResponse> {
    server.query().await.read(ReadRequest::default()).await.unwrap().into_inner()
}

/// How many events a replay still has.
async fn replayed(mut stream: Streaming<ReadResponse>) -> usize {
    let mut events = 0;
    while let Some(message) = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap() {
        if let Some(read_response::Frame::Events(batch)) = message.frame {
            events += batch.events.len();
        }
    }
    events
}

async fn subscribe(server: &Fixture, signals: &[&str], from: Edge) -> Streaming<SubscribeResponse> {
    let signals = signals.iter().map(|&signal| signal.to_owned()).collect();
    let request = SubscribeRequest {
        start: Some(Position { at: Some(position::At::Edge(from.into())) }),
        filter: Some(Filter { signals, ..Filter::default() }),
        ..SubscribeRequest::default()
    };
    server.query().await.subscribe(request).await.unwrap().into_inner()
}

/// Takes so many events of a subscription.
async fn follow(stream: &mut Streaming<SubscribeResponse>, events: usize) {
    let mut taken = 0;
    while taken < events {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
        if let Some(Frame::Events(batch)) = message.frame {
            taken += batch.events.len();
        }
    }
    assert_eq!(taken, events);
}

#[tokio::test]
async fn neither_appends_nor_live_readers_nor_newest_values_wait_for_history() {
    let (server, gate) = start().await;
    let mut live = Vec::new();
    for signals in [&[][..], &["a/*"], &["a/1"]] {
        live.push(subscribe(&server, signals, Edge::Head).await);
    }
    let hold = gate.hold();
    let at_work = replay(&server).await;
    gate.reached().await;
    let (waiting, mut catching_up) = (replay(&server).await, subscribe(&server, &[], Edge::Oldest).await);

    for _ in 0..3 {
        server.ingest().await.append(append(vec![event("a/1", 2); BATCH_EVENTS])).await.unwrap();
        for stream in &mut live {
            follow(stream, BATCH_EVENTS).await;
        }
        let newest = server.query().await.get_latest(GetLatestRequest::default()).await.unwrap().into_inner();
        assert_eq!(newest.values.len(), 1);
    }

    drop(hold);
    let history = BATCHES * BATCH_EVENTS;
    assert_eq!((replayed(at_work).await, replayed(waiting).await), (history, history));
    follow(&mut catching_up, history + 3 * BATCH_EVENTS).await;
}

#[tokio::test]
async fn those_who_wait_for_history_and_go_leave_their_turns_to_others() {
    let (server, gate) = start().await;
    let hold = gate.hold();
    let at_work = replay(&server).await;
    gate.reached().await;
    let (leaving, staying) = (replay(&server).await, replay(&server).await);
    drop((at_work, leaving));
    drop(hold);
    assert_eq!(replayed(staying).await, BATCHES * BATCH_EVENTS);
}

#[tokio::test]
async fn history_is_read_by_threads_that_give_way() {
    let (server, gate) = start().await;
    let (reads, eager) = (gate.reads(), gate.eager_reads());
    assert_eq!(replayed(replay(&server).await).await, BATCHES * BATCH_EVENTS);
    follow(&mut subscribe(&server, &["a/1"], Edge::Oldest).await, BATCHES * BATCH_EVENTS).await;
    assert!(gate.reads() >= reads + 2 * (BATCHES - 1), "{} reads", gate.reads() - reads);
    assert_eq!(gate.eager_reads(), eager);
}

#[tokio::test]
async fn a_replay_ends_however_much_is_appended_meanwhile() {
    let (server, _) = start().await;
    let appending = async {
        let mut client = server.ingest().await;
        loop {
            client.append(append(vec![event("a/2", 3); BATCH_EVENTS])).await.unwrap();
        }
    };
    // What it has left to read is settled when it begins.
    let replaying = async { replayed(replay(&server).await).await };
    tokio::select! {
        () = appending => {}
        events = replaying => assert!(events >= BATCHES * BATCH_EVENTS),
    }
}
